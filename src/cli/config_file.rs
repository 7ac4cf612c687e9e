//! Arguments in a file: `--config train.toml` holds any argument of the command line under its long name, and what a
//! run was started with is written in the same form.
//!
//! ```toml
//! model = "model.onnx"        # the positional argument
//! batch-size = 128            # --batch-size 128
//! milestones = [60, 120]      # --milestones 60,120
//! freeze = ["stem.*", "*.bn"] # --freeze 'stem.*' --freeze '*.bn'
//! l2-skip-1d = true           # --l2-skip-1d
//! [set]                       # --set gnp.momentum=0.8
//! "gnp.momentum" = 0.8
//! ```
//!
//! What the command line gives takes precedence over what the file says. Relative paths in a file are relative to the
//! file's folder, so that it means the same from everywhere.

use crate::choice::nearest;
use crate::cli::arguments::InvocationArguments;
use crate::experiment::Configuration;
use crate::{Error, Result, files};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Args as _, Command};
use std::any::TypeId;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The argument that names the file.
const CONFIG: &str = "config";

/// `arguments` (with the program's name in front) with those of the file that `--config` names put in; unchanged where
/// there is none.
///
/// # Errors
/// Where the file cannot be read, is no TOML, or has a key that is no argument of `command`, or a value of a wrong
/// kind.
pub fn expand(command: &Command, arguments: Vec<OsString>) -> Result<Vec<OsString>> {
    let lenient = command.clone().ignore_errors(true);
    let Ok(given) = lenient.try_get_matches_from(&arguments) else { return Ok(arguments) };
    let Ok(Some(file)) = given.try_get_one::<PathBuf>(CONFIG) else { return Ok(arguments) };
    if given.subcommand_name().is_some() {
        return Ok(arguments);
    }
    let from_file = read(command, &given, file).map_err(|error| error.in_file(file))?;
    let (program, rest) = arguments.split_at(1);
    Ok(program.iter().cloned().chain(from_file).chain(rest.iter().cloned()).collect())
}

/// The arguments in `file`, without those that the command line has `given` or that conflict with such.
fn read(command: &Command, given: &ArgMatches, file: &Path) -> Result<Vec<OsString>> {
    let text = files::read_to_string(file).map_err(|error| Error::io("read the configuration", file, &error))?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let what = format!("not a TOML file: line {line}: {}", error.message().replace('\n', "; "));
        Error::input(what).help("a line is `name = value`, with text in quotes")
    })?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let is_given = |arg: &Arg| given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let mut command = command.clone();
    command.build();
    let typed: Vec<&Arg> = command.get_arguments().filter(|arg| is_given(arg)).collect();
    let is_wanted = |arg: &Arg| !is_given(arg) && !typed.iter().any(|other| conflict(&command, arg, other));
    words(&command, &table, folder, &is_wanted)
}

/// What one would type for `table`, whose keys are long names of arguments of `command`, which is built. Relative paths
/// are relative to `folder`.
///
/// # Errors
/// Where a key is no argument, or a value is of a wrong kind.
pub fn words(
    command: &Command,
    table: &Table,
    folder: &Path,
    is_wanted: &dyn Fn(&Arg) -> bool,
) -> Result<Vec<OsString>> {
    let mut words = Vec::new();
    for (key, value) in table {
        let arg = command.get_arguments().find(|arg| is_configurable(command, arg) && name(arg) == *key).ok_or_else(
            || {
                let names: Vec<String> =
                    command.get_arguments().filter(|arg| is_configurable(command, arg)).map(name).collect();
                Error::input(format!("there is no argument `{key}`"))
                    .help(nearest(key, names.iter().map(String::as_str)))
            },
        )?;
        if is_wanted(arg) {
            words.extend(to_arguments(arg, value, folder).map_err(|what| Error::input(format!("`{key}` {what}")))?);
        }
    }
    Ok(words)
}

/// Whether two arguments exclude each other; either may be the one that says so.
fn conflict(command: &Command, a: &Arg, b: &Arg) -> bool {
    let names =
        |one: &Arg, other: &Arg| command.get_arg_conflicts_with(one).iter().any(|c| c.get_id() == other.get_id());
    names(a, b) || names(b, a)
}

/// Whether a file may hold the argument: all but those that concern one invocation only.
pub fn is_configurable(command: &Command, arg: &Arg) -> bool {
    let asks =
        matches!(arg.get_action(), ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version);
    let group = InvocationArguments::group_id();
    let is_of_one = command.get_groups().filter(|found| Some(found.get_id()) == group.as_ref());
    !asks && arg.get_id() != CONFIG && !is_of_one.flat_map(ArgGroup::get_args).any(|id| id == arg.get_id())
}

/// The key of an argument: its long name.
pub fn name(arg: &Arg) -> String {
    arg.get_long().map_or_else(|| arg.get_id().to_string(), str::to_owned)
}

fn is_path(arg: &Arg) -> bool {
    arg.get_value_parser().type_id() == TypeId::of::<PathBuf>()
}

/// What one would type for `value`.
fn to_arguments(arg: &Arg, value: &Value, folder: &Path) -> Result<Vec<OsString>, String> {
    if !arg.get_action().takes_values() {
        return match value {
            Value::Boolean(true) => Ok(vec![flag(arg).into()]),
            Value::Boolean(false) => Ok(vec![]),
            _ => Err(format!("is {value}; expected true or false")),
        };
    }
    let texts = match value {
        Value::Array(items) => items.iter().map(scalar).collect::<Result<Vec<_>, _>>()?,
        Value::Table(table) => {
            table.iter().map(|(key, value)| Ok(format!("{key}={}", scalar(value)?))).collect::<Result<_, String>>()?
        }
        single => vec![scalar(single)?],
    };
    let texts = match arg.get_value_delimiter() {
        Some(delimiter) => vec![texts.join(&delimiter.to_string())],
        None if texts.len() > 1 && !matches!(arg.get_action(), ArgAction::Append) => {
            return Err("takes a single value".to_owned());
        }
        None => texts,
    };
    let argument = |text: String| {
        let value = if is_path(arg) { folder.join(text).into_os_string() } else { text.into() };
        if arg.is_positional() {
            return value;
        }
        let mut argument = OsString::from(flag(arg));
        argument.push("=");
        argument.push(value);
        argument
    };
    Ok(texts.into_iter().map(argument).collect())
}

fn flag(arg: &Arg) -> String {
    format!("--{}", name(arg))
}

fn scalar(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(flag) => Ok(flag.to_string()),
        _ => Err(format!("holds {value}; expected text, a number, true or false")),
    }
}

/// The configuration of one invocation, its defaults among it: what `matches` say of the arguments of `command`. Paths
/// are made absolute.
pub fn resolved(command: &Command, matches: &ArgMatches) -> Configuration {
    let mut command = command.clone();
    command.build();
    let mut configuration = Configuration::default();
    for arg in command.get_arguments().filter(|arg| is_configurable(&command, arg)) {
        if let Some(value) = value_of(arg, matches) {
            configuration.set(arg.get_help_heading().unwrap_or("What trains"), &name(arg), value);
        }
    }
    configuration
}

fn value_of(arg: &Arg, matches: &ArgMatches) -> Option<Value> {
    let id = arg.get_id().as_str();
    if !arg.get_action().takes_values() {
        return matches.get_flag(id).then_some(Value::Boolean(true));
    }
    let values = matches.try_get_raw(id).ok()??;
    let mut values: Vec<Value> = values.map(|value| typed(arg, value)).collect();
    let is_list = matches!(arg.get_action(), ArgAction::Append) || arg.get_value_delimiter().is_some();
    // One of the values that are listed is meant by itself, though there may be several.
    let is_choice = values.len() == 1 && !arg.get_possible_values().is_empty();
    if is_list && !is_choice { Some(Value::Array(values)) } else { values.pop() }
}

/// Numbers as numbers, all else as text.
fn typed(arg: &Arg, value: &OsStr) -> Value {
    if is_path(arg) {
        let path = std::path::absolute(value).unwrap_or_else(|_| value.into());
        return Value::String(path.to_string_lossy().into_owned());
    }
    let text = value.to_string_lossy();
    let float = || text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float);
    text.parse().ok().map(Value::Integer).or_else(float).unwrap_or_else(|| Value::String(text.clone().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, FromArgMatches, Parser};
    use std::fs;

    #[derive(Parser, Debug, PartialEq)]
    struct Arguments {
        model: PathBuf,
        #[arg(long)]
        config: Option<PathBuf>,
        #[arg(long, help_heading = "Optimization")]
        epochs: u64,
        #[arg(long, default_value_t = 0.5, help_heading = "Optimization", allow_negative_numbers = true)]
        rate: f32,
        #[arg(long, help_heading = "Optimization", conflicts_with = "rate")]
        lambda: Option<f32>,
        #[arg(long)]
        freeze: Vec<String>,
        #[arg(long, value_delimiter = ',')]
        milestones: Vec<u64>,
        #[arg(long)]
        set: Vec<String>,
        #[arg(long)]
        skip: bool,
        #[command(flatten)]
        invocation: InvocationArguments,
    }

    fn parse(line: &[&str]) -> Result<Arguments> {
        let arguments = std::iter::once("program").chain(line.iter().copied()).map(OsString::from).collect();
        let arguments = expand(&Arguments::command(), arguments)?;
        Arguments::try_parse_from(arguments).map_err(|error| Error::input(error.to_string()))
    }

    fn file(text: &str) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.toml");
        fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (folder, path)
    }

    #[test]
    fn a_file_holds_any_argument() {
        let (folder, path) = file(
            "model = 'm.onnx'\nepochs = 3\nrate = -0.25\nfreeze = ['a*', 'b']\nmilestones = [1, 2]\nskip = true\n\
             [set]\n'gnp.momentum' = 0.5\n",
        );
        let found = parse(&["--config", &path]).unwrap();
        let expected = Arguments {
            model: folder.path().join("m.onnx"),
            config: Some(path.into()),
            epochs: 3,
            rate: -0.25,
            lambda: None,
            freeze: vec!["a*".into(), "b".into()],
            milestones: vec![1, 2],
            set: vec!["gnp.momentum=0.5".into()],
            skip: true,
            invocation: InvocationArguments::default(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn the_command_line_goes_before_the_file() {
        let (_folder, path) = file("model = 'm.onnx'\nepochs = 3\nrate = 0.1\nfreeze = ['a*']\n");
        let found = parse(&["other.onnx", "--config", &path, "--epochs=5", "--freeze", "c", "--lambda", "2"]).unwrap();
        assert_eq!((found.model, found.epochs, found.freeze), ("other.onnx".into(), 5, vec!["c".to_owned()]));
        assert_eq!((found.rate, found.lambda), (0.5, Some(2.0)));
    }

    #[test]
    fn what_is_wrong_names_file_and_key() {
        let message = |text: &str| {
            let (_folder, path) = file(text);
            let error = parse(&["--config", &path]).unwrap_err();
            assert!(error.to_string().starts_with(&path), "{error}");
            format!("{error} / {}", error.help_text().unwrap_or_default())
        };
        let said = message("epoch = 3\n");
        assert!(said.contains("there is no argument `epoch` / did you mean `epochs`?"), "{said}");
        assert!(message("quiet = true\n").contains("there is no argument `quiet`"));
        assert!(message("skip = 1\n").contains("`skip` is 1; expected true or false"));
        assert!(message("epochs = [1, 2]\n").contains("`epochs` takes a single value"));
        assert!(message("epochs = \n").contains("not a TOML file"));
        let error = parse(&["--config", "missing.toml"]).unwrap_err().to_string();
        assert!(error.starts_with("missing.toml: cannot read the configuration"), "{error}");
    }

    #[test]
    fn what_was_used_can_be_used_again() {
        let line =
            ["m.onnx", "--epochs", "3", "--freeze", "a", "--freeze", "b=c", "--milestones", "1,2", "--skip", "--quiet"];
        let command = Arguments::command();
        let matches = command.clone().try_get_matches_from(std::iter::once("program").chain(line)).unwrap();
        let mut configuration = resolved(&command, &matches);
        configuration.set("Engine", "rate", 0.75);
        let text = configuration.to_string();
        assert!(text.contains("# Optimization\nepochs = 3\nrate = 0.75\n"), "{text}");
        let (_folder, path) = file(&text);
        let mut expected = Arguments::from_arg_matches(&matches).unwrap();
        expected.model = std::path::absolute("m.onnx").unwrap();
        (expected.rate, expected.invocation.quiet, expected.config) = (0.75, false, Some(path.clone().into()));
        assert_eq!(parse(&["--config", &path]).unwrap(), expected);
        configuration.remove("epochs");
        assert_eq!(configuration.get("epochs"), None);
    }
}
