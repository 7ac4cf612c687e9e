//! `gnp-run checkpoint`: what is in a training checkpoint of ONNX Runtime, and its parameters in another format.

use crate::checkpoint::{Checkpoint, Group, Property, Value};
use crate::{Error, Result, cli, escaped, files};
use comfy_table::CellAlignment;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  gnp-run checkpoint show artifacts/checkpoint
      See what trains, what is frozen, and what the optimizer knows
  gnp-run checkpoint convert artifacts/checkpoint weights.safetensors
      Take the parameters to PyTorch, or to anything else that reads safetensors
  gnp-run checkpoint convert weights.safetensors new/checkpoint --like artifacts/checkpoint
      Train on from the parameters of a safetensors file";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List parameters, optimizer state and properties
    Show {
        /// The checkpoint: the file `checkpoint` beside a training model, or one that a run has saved
        #[arg(value_name = "CHECKPOINT")]
        checkpoint: PathBuf,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Take the parameters from a checkpoint to a safetensors file, or back
    ///
    /// A safetensors file holds parameters alone. Back to a checkpoint, --like names the one that says which of them
    /// train, and has the optimizer's state and the properties.
    #[command(after_help = EXAMPLES)]
    Convert(Convert),
}

#[derive(clap::Args)]
struct Convert {
    /// What to read: a checkpoint, or a safetensors file; the content tells which
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// What to write: a safetensors file from a checkpoint, a checkpoint from a safetensors file
    #[arg(value_name = "TO")]
    to: PathBuf,
    /// Take what trains, the optimizer's state and the properties from this checkpoint; its parameters must have the
    /// same names, shapes and types
    #[arg(long, value_name = "CHECKPOINT")]
    like: Option<PathBuf>,
    /// Replace the file where there is one
    #[arg(long)]
    force: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::Show { checkpoint, json } => show(checkpoint, *json),
        Command::Convert(arguments) => convert(arguments),
    }
}

fn show(path: &Path, as_json: bool) -> Result<()> {
    let checkpoint = Checkpoint::read(path)?;
    cli::print(if as_json { format!("{:#}\n", to_json(&checkpoint)) } else { to_text(&checkpoint) })
}

/// What the optimizer remembers of a parameter, with the group that it is in.
fn slots<'c>(checkpoint: &'c Checkpoint, parameter: &str) -> Vec<(&'c str, &'c BTreeMap<String, Value>)> {
    let groups = checkpoint.groups.iter();
    groups.filter_map(|(name, group)| Some((name.as_str(), group.slots.get(parameter)?))).collect()
}

/// All parameters in order of name, and whether each trains.
fn parameters(checkpoint: &Checkpoint) -> BTreeMap<&str, (&Value, bool)> {
    let trainable = checkpoint.trainable.iter().map(|(name, value)| (name.as_str(), (value, true)));
    let frozen = checkpoint.frozen.iter().map(|(name, value)| (name.as_str(), (value, false)));
    trainable.chain(frozen).collect()
}

/// The shape of a parameter; none in a nominal checkpoint, which has no shapes.
fn shape<'v>(checkpoint: &Checkpoint, value: &'v Value) -> Option<&'v [usize]> {
    Some(value.shape()).filter(|_| !checkpoint.nominal)
}

fn to_text(checkpoint: &Checkpoint) -> String {
    let left = |header: &[&'static str]| {
        let mut table = cli::table(header.iter().copied());
        table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Left));
        table
    };
    let mut table = left(&["parameter", "shape", "type", "trains", "optimizer state"]);
    for (name, (value, trains)) in parameters(checkpoint) {
        let slots: Vec<_> =
            slots(checkpoint, name).into_iter().flat_map(|(_, slots)| slots.keys()).map(String::as_str).collect();
        table.add_row([
            escaped::line(name).into_owned(),
            shape(checkpoint, value).map_or("unknown".to_owned(), |shape| format!("{shape:?}")),
            value.element().to_string(),
            if trains { "trains" } else { "frozen" }.to_owned(),
            escaped::line(&slots.join(", ")).into_owned(),
        ]);
    }
    let mut text = format!("{table}\n");
    if checkpoint.nominal {
        text += "\nThe checkpoint is nominal: it holds names and types, and no parameters.\n";
    }
    if !checkpoint.groups.is_empty() {
        let mut table = left(&["optimizer group", "steps", "initial learning rate", "parameters"]);
        for (name, Group { step, initial_learning_rate, slots }) in &checkpoint.groups {
            let numbers = [step.to_string(), initial_learning_rate.to_string(), slots.len().to_string()];
            table.add_row([escaped::line(name).into_owned()].into_iter().chain(numbers));
        }
        text += &format!("\n{table}\n");
    }
    if !checkpoint.properties.is_empty() {
        let mut table = left(&["property", "type", "value"]);
        for (name, property) in &checkpoint.properties {
            let (kind, value) = match property {
                Property::Int(value) => ("int", value.to_string()),
                Property::Float(value) => ("float", value.to_string()),
                Property::Text(value) => ("text", escaped::line(value).into_owned()),
            };
            table.add_row([escaped::line(name).into_owned(), kind.to_owned(), value]);
        }
        text += &format!("\n{table}\n");
    }
    text
}

fn to_json(checkpoint: &Checkpoint) -> serde_json::Value {
    let tensor = |value: &Value| json!({ "shape": value.shape(), "type": value.element().to_string() });
    let parameters = parameters(checkpoint).into_iter().map(|(name, (value, trains))| {
        let slots = slots(checkpoint, name).into_iter().map(|(group, slots)| {
            let slots: BTreeMap<_, _> = slots.iter().map(|(name, value)| (name, tensor(value))).collect();
            (group, slots)
        });
        let slots: BTreeMap<_, _> = slots.collect();
        json!({
            "name": name,
            "shape": shape(checkpoint, value),
            "type": value.element().to_string(),
            "trains": trains,
            "optimizer_state": slots,
        })
    });
    let groups = checkpoint.groups.iter().map(|(name, group)| {
        let Group { step, initial_learning_rate, slots } = group;
        json!({
            "name": name,
            "steps": step,
            "initial_learning_rate": initial_learning_rate,
            "parameters": slots.keys().collect::<Vec<_>>(),
        })
    });
    let properties = checkpoint.properties.iter().map(|(name, property)| {
        let value = match property {
            Property::Int(value) => json!(value),
            Property::Float(value) => json!(value),
            Property::Text(value) => json!(value),
        };
        (name, value)
    });
    json!({
        "nominal": checkpoint.nominal,
        "parameters": parameters.collect::<Vec<_>>(),
        "optimizer_groups": groups.collect::<Vec<_>>(),
        "properties": properties.collect::<BTreeMap<_, _>>(),
    })
}

fn convert(Convert { from, to, like, force }: &Convert) -> Result<()> {
    ensure_writable(to, *force, [Some(from), like.as_ref()].into_iter().flatten())?;
    match (Checkpoint::is_at(from)?, like) {
        (true, None) => Checkpoint::read(from)?.write_parameters(to, *force)?,
        (true, Some(_)) => {
            let error = Error::input("is a checkpoint: a safetensors file is made of it, and --like has no use");
            return Err(error.help("leave --like out").in_file(from));
        }
        (false, Some(like)) => Checkpoint::read(like)?.with_parameters_of(from)?.write(to, *force)?,
        (false, None) => {
            let error = Error::input("is no checkpoint; what trains cannot be told from it alone");
            return Err(error.help("give --like a checkpoint of the same model").in_file(from));
        }
    }
    cli::print(format!("{}\n", to.display()))
}

/// The checks of [`files`], in the words of a command without `-o`.
fn ensure_writable<'p>(to: &Path, force: bool, mut inputs: impl Iterator<Item = &'p PathBuf>) -> Result<()> {
    // Large parameters lie in a file beside it.
    let mut data = to.as_os_str().to_owned();
    data.push(".data");
    if inputs.any(|input| files::same_file(to, input) || files::same_file(data.as_ref(), input)) {
        let error = Error::input("is read by the command, which therefore cannot write it");
        return Err(error.help("name another file").in_file(to));
    }
    if to.is_file() && !force {
        let error = Error::input("the file exists already");
        return Err(error.help("give --force to replace it, or name another file").in_file(to));
    }
    files::ensure_free(to, force)
}
