//! Keyword arguments, which are the programs' flags by their long names: `clip_norm=1.0` is `--clip-norm 1.0`.

use crate::error::exception;
use clap::{Arg, ArgAction, Args, Command, CommandFactory, FromArgMatches, Parser};
use gnp::choice::nearest;
use gnp::cli::arguments::{EngineArguments, PenaltyArguments, ScheduleArguments, StepArguments};
use gnp::cli::{self, config_file};
use gnp::experiment::EngineSettings;
use gnp::precision::LossScale;
use gnp::programs::{rewrite_command, run_command};
use gnp::rewrite::StepOptions;
use gnp::{Error, Result};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyMapping, PySequence, PyString};
use std::any::TypeId;
use std::ffi::OsString;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What a step model is made with.
#[derive(Args)]
pub struct RewriteArguments {
    #[command(flatten)]
    penalty: PenaltyArguments,
    #[command(flatten)]
    step: StepArguments,
    /// The learning rate where none is fed [default: 0.001; 0.01 with rmsprop]
    #[arg(long, value_name = "RATE", allow_negative_numbers = true, help_heading = "Optimizer")]
    lr: Option<f32>,
}

impl RewriteArguments {
    /// What is asked for.
    pub fn options(&self) -> Result<StepOptions> {
        self.step.options(self.penalty.penalty()?, self.lr)
    }
}

/// The arguments of the group `A` that `given` names.
fn parsed<A: Args>(given: &Table) -> Result<A> {
    let command = command::<A>();
    let words = config_file::words(&command, given, Path::new(""), &|_| true)?;
    let line = ["gnp".into()].into_iter().chain(words);
    Ok(Line::<A>::from_arg_matches(&command.try_get_matches_from(line).map_err(cli::usage)?)
        .map_err(cli::usage)?
        .arguments)
}

#[derive(Parser)]
#[command(name = "gnp")]
struct Line<A: Args> {
    #[command(flatten)]
    arguments: A,
}

/// A command that has the arguments of `A` and no others.
fn command<A: Args>() -> Command {
    built(Line::<A>::command())
}

fn built(mut command: Command) -> Command {
    command.build();
    command
}

/// The options of a rewrite.
pub fn rewriting(given: &Bound<'_, PyDict>) -> PyResult<StepOptions> {
    let given = table(given)?;
    parsed::<RewriteArguments>(&given).and_then(|arguments| arguments.options()).map_err(exception)
}

/// The engine, and how it computes.
pub fn engine(given: &Bound<'_, PyDict>) -> PyResult<EngineSettings> {
    let given = table(given)?;
    parsed::<EngineArguments>(&given).map(|arguments| arguments.settings()).map_err(exception)
}

/// How the learning rate goes from step to step.
pub fn schedule(given: Option<&Bound<'_, PyDict>>) -> PyResult<ScheduleArguments> {
    let given = given.map(table).transpose()?.unwrap_or_default();
    const KNOWN: [&str; 5] = ["schedule", "milestones", "gamma", "final-lr", "warmup"];
    if let Some(other) = given.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        let help = nearest(other, KNOWN.into_iter());
        return Err(exception(Error::input(format!("there is no argument `{other}`")).help(help)));
    }
    parsed::<Scheduled>(&given).map(|arguments| arguments.schedule).map_err(exception)
}

/// The arguments of a schedule, and the one of others that they exclude.
#[derive(Args)]
struct Scheduled {
    #[command(flatten)]
    schedule: ScheduleArguments,
    #[arg(long, hide = true)]
    gr_warmup_steps: Option<u32>,
}

/// One option, as it is documented: its name in Python, its type, and what it is.
#[derive(IntoPyObject)]
pub struct Described {
    name: String,
    /// As in a stub.
    annotation: &'static str,
    help: String,
    /// The values that there are, where they are few.
    choices: Vec<String>,
}

/// The options of a group of arguments.
pub fn described(group: &str) -> PyResult<Vec<Described>> {
    let command = match group {
        "rewrite" => command::<RewriteArguments>(),
        "engine" => command::<EngineArguments>(),
        "artifacts" => built(rewrite_command()),
        "run" => built(run_command()),
        _ => return Err(PyTypeError::new_err("expected rewrite, engine, artifacts or run")),
    };
    Ok(command.get_arguments().filter(|arg| config_file::is_configurable(&command, arg)).map(describe).collect())
}

fn describe(arg: &Arg) -> Described {
    let choices: Vec<String> = match arg.get_action() {
        ArgAction::Set | ArgAction::Append => {
            arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect()
        }
        _ => Vec::new(),
    };
    Described {
        name: in_python(&config_file::name(arg)),
        annotation: annotation(arg),
        help: arg.get_help().map(ToString::to_string).unwrap_or_default(),
        choices,
    }
}

/// The keyword argument of a flag.
pub fn in_python(flag: &str) -> String {
    // The one flag that is a word of Python's own.
    let end = if flag == "lambda" { "_" } else { "" };
    flag.replace('-', "_") + end
}

fn annotation(arg: &Arg) -> &'static str {
    let parser = arg.get_value_parser().type_id();
    let is = |of: TypeId| parser == of;
    let is_pairs = arg.get_value_names().is_some_and(|names| names.iter().any(|name| name.contains('=')));
    let is_many = matches!(arg.get_action(), ArgAction::Append) || arg.get_value_delimiter().is_some();
    if !arg.get_action().takes_values() {
        return "bool";
    }
    if is_pairs {
        return "Mapping[str, object]";
    }
    if is(TypeId::of::<f32>()) || is(TypeId::of::<f64>()) {
        return if is_many { "Sequence[float]" } else { "float" };
    }
    let integers = [
        TypeId::of::<i64>(),
        TypeId::of::<u64>(),
        TypeId::of::<u32>(),
        TypeId::of::<u16>(),
        TypeId::of::<usize>(),
        TypeId::of::<NonZero<u16>>(),
        TypeId::of::<NonZero<u32>>(),
        TypeId::of::<NonZero<u64>>(),
        TypeId::of::<NonZero<usize>>(),
    ];
    if integers.into_iter().any(is) {
        return "int";
    }
    if is(TypeId::of::<LossScale>()) {
        return "float | str";
    }
    if is(TypeId::of::<PathBuf>()) {
        return "StrPath";
    }
    if is_many { "str | Sequence[str]" } else { "str" }
}

/// The words of a command line of `command` that say what `given` says.
pub fn words(command: Command, given: &Bound<'_, PyDict>) -> PyResult<Vec<OsString>> {
    let given = table(given)?;
    config_file::words(&built(command), &given, Path::new(""), &|_| true).map_err(exception)
}

/// Keyword arguments as a configuration file has them. What is `None` is not given.
fn table(given: &Bound<'_, PyDict>) -> PyResult<Table> {
    let given = given.iter().filter(|(_, value)| !value.is_none());
    given
        .map(|(name, value)| {
            let name: String = name.extract()?;
            let value = self::value(&name, &value)?;
            // Words of Python's own have an underscore behind them: lambda_.
            Ok((name.trim_end_matches('_').replace('_', "-"), value))
        })
        .collect()
}

fn value(name: &str, given: &Bound<'_, PyAny>) -> PyResult<Value> {
    // Booleans are integers in Python.
    if given.is_instance_of::<PyBool>() {
        return Ok(Value::Boolean(given.extract()?));
    }
    if given.is_instance_of::<PyString>() {
        return Ok(Value::String(given.extract()?));
    }
    if given.is_instance_of::<PyInt>() {
        return Ok(Value::Integer(given.extract()?));
    }
    if given.is_instance_of::<PyFloat>() {
        return Ok(Value::Float(given.extract()?));
    }
    if let Ok(mapping) = given.cast::<PyMapping>() {
        let entries = mapping.items()?.into_iter().map(|item| {
            let (key, entry): (String, Bound<'_, PyAny>) = item.extract()?;
            Ok((key, value(name, &entry)?))
        });
        return Ok(Value::Table(entries.collect::<PyResult<Table>>()?));
    }
    if let Ok(path) = given.extract::<PathBuf>() {
        return Ok(Value::String(path.to_string_lossy().into_owned()));
    }
    if let Ok(sequence) = given.cast::<PySequence>() {
        let entries = sequence.try_iter()?.map(|entry| value(name, &entry?));
        return Ok(Value::Array(entries.collect::<PyResult<_>>()?));
    }
    // NumPy's scalars, and arrays of them.
    if let Ok(plain) = given.call_method0("tolist") {
        return value(name, &plain);
    }
    let kind = given.get_type().name()?.to_string();
    Err(exception(
        Error::input(format!("`{name}` is of type {kind}"))
            .help("expected text, a path, a number, True or False, or a list or a dictionary of these"),
    ))
}
