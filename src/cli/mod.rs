//! What the two binaries share: arguments in, messages and exit codes out.

pub mod arguments;
pub mod config_file;
mod copying;
pub mod describe;
mod fault;
mod generate;
mod signals;
mod table;

pub use copying::CopyingBar;
pub use fault::{caught, caught_here};
pub use table::table;

use crate::experiment::Configuration;
use crate::{Error, ErrorKind, Result, escaped};
use clap::Parser;
use clap::builder::Styles;
use clap::builder::styling::{AnsiColor, Effects};
use clap::error::{ContextKind, ContextValue};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write};

/// The colours of help and usage errors; clap leaves them out where the output is no terminal.
pub const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().effects(Effects::BOLD))
    .usage(AnsiColor::Green.on_default().effects(Effects::BOLD))
    .literal(AnsiColor::Cyan.on_default().effects(Effects::BOLD))
    .placeholder(AnsiColor::Cyan.on_default());

/// A program: parses `words`, its name and its arguments, as `A`, hands them to `program`, writes its error to standard
/// error and returns the exit code: 0, or 2 for the user's errors (wrong usage too), or 1 for ours, a panic in any
/// thread included.
///
/// Besides the arguments of `A` it takes `--generate KIND`, which writes a man page or shell completions.
pub fn run<A: Parser>(words: impl IntoIterator<Item = OsString>, program: impl FnOnce(A) -> Result<()>) -> u8 {
    guarded(words, |line| execute(line, |arguments, _| program(arguments)))
}

/// As [`run`], for arguments that may stand in the file that `--config` names; `program` is told all of them, to write
/// them down.
pub fn run_configured<A: Parser>(
    words: impl IntoIterator<Item = OsString>,
    program: impl FnOnce(A, Configuration) -> Result<()>,
) -> u8 {
    guarded(words, |line| execute(config_file::expand(&A::command(), line)?, program))
}

fn guarded(words: impl IntoIterator<Item = OsString>, program: impl FnOnce(Vec<OsString>) -> Result<u8>) -> u8 {
    signals::fail_writes_to_large_files();
    let code = caught(|| program(in_unicode(words)?)).unwrap_or_else(|error| {
        say(render(&error).trim_end_matches('\n'));
        error.exit_code()
    });
    // Where the process is not a Rust program, nothing else writes what is left of the last line.
    let _ = io::stdout().flush();
    code
}

/// The command line. Paths stand in models, configurations and reports, which are UTF-8: one that is not would not be
/// found again, or be found out about when the training is over.
fn in_unicode(words: impl IntoIterator<Item = OsString>) -> Result<Vec<OsString>> {
    let line: Vec<OsString> = words.into_iter().collect();
    match line.iter().skip(1).find(|argument| argument.to_str().is_none()) {
        None => Ok(line),
        Some(argument) => Err(Error::input(format!("the argument `{}` is not UTF-8", argument.to_string_lossy()))
            .help("give the file or folder another name, or a symbolic link of another name that leads to it")),
    }
}

fn execute<A: Parser>(line: Vec<OsString>, program: impl FnOnce(A, Configuration) -> Result<()>) -> Result<u8> {
    let mut command = generate::with_argument(A::command());
    let parsed = command.try_get_matches_from_mut(line).and_then(|matches| {
        Ok(match generate::requested(&matches) {
            Some(kind) => Request::Generate(kind),
            None => {
                let arguments = A::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
                Request::Run(arguments, config_file::resolved(&A::command(), &matches))
            }
        })
    });
    match parsed {
        Ok(Request::Run(arguments, configuration)) => program(arguments, configuration)?,
        Ok(Request::Generate(kind)) => generate::render(kind, A::command()).and_then(|text| write(&text))?,
        Err(error) => {
            let error = too_many_words(error, &command);
            // Where not even that can be written there is nobody to tell.
            let _ = error.print();
            return Ok(error.exit_code() as u8);
        }
    }
    Ok(0)
}

/// Of a word too many, clap says that "the subcommand" conflicts with the arguments before it, where there are
/// subcommands, whatever the word is. Unless it is one of them, it is an argument that is not expected.
fn too_many_words(error: clap::Error, command: &clap::Command) -> clap::Error {
    let word = match (error.kind(), error.get(ContextKind::InvalidSubcommand)) {
        (clap::error::ErrorKind::ArgumentConflict, Some(ContextValue::String(word))) => word.clone(),
        _ => return error,
    };
    if command.find_subcommand(&word).is_some() {
        return error;
    }
    let mut unexpected = clap::Error::new(clap::error::ErrorKind::UnknownArgument).with_cmd(command);
    unexpected.insert(ContextKind::InvalidArg, ContextValue::String(word));
    if let Some(usage) = error.get(ContextKind::Usage) {
        unexpected.insert(ContextKind::Usage, usage.clone());
    }
    unexpected
}

enum Request<A> {
    Run(A, Configuration),
    Generate(generate::Kind),
}

/// Prints lines to standard output; control characters in them are [escaped]. That nobody reads it any more (`| head`)
/// is no error.
///
/// # Errors
/// Where it cannot be written otherwise.
pub fn print(text: impl AsRef<str>) -> Result<()> {
    write(escaped::text(text.as_ref()).as_bytes())
}

fn write(bytes: &[u8]) -> Result<()> {
    match io::stdout().write_all(bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::input(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Says lines on standard error; control characters in them are [escaped]. Where it cannot be written there is nobody
/// to tell.
pub fn say(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", escaped::text(text.as_ref()));
}

#[cfg(feature = "ort")]
/// Has standard error name each ONNX Runtime that is found before it is loaded.
pub fn name_libraries() {
    crate::engine::runtime::tell_found(|origin, library| say(format!("loading {} ({origin})", library.display())));
}

/// Wrong usage as an error of ours: what is wrong, with flags by their names alone; and what clap has to say of the way
/// out.
pub fn usage(error: clap::Error) -> Error {
    let text = error.to_string();
    let (what, rest) = text.trim_start_matches("error: ").split_once('\n').unwrap_or((&text, ""));
    let (help, _) = rest.split_once("For more information, try").unwrap_or((rest, ""));
    Error::input(without_placeholders(what)).help(help.trim())
}

/// `'--loss <LOSS>'` is `'--loss'`.
fn without_placeholders(text: &str) -> String {
    let flag = |part: &str| part.starts_with("--").then(|| part.split(" <").next().map(str::to_owned)).flatten();
    let parts: Vec<String> = text.split('\'').map(|part| flag(part).unwrap_or_else(|| part.to_owned())).collect();
    parts.join("'")
}

/// An error as the user sees it.
///
/// ```
/// let error = gnp::Error::input("no such file").in_file("m.onnx").help("check the name");
/// assert_eq!(gnp::cli::render(&error), "error: m.onnx: no such file\n  help: check the name\n");
/// ```
pub fn render(error: &Error) -> String {
    let mut text = format!("error: {error}\n");
    if let Some(help) = error.help_text() {
        let _ = writeln!(text, "  help: {}", help.replace('\n', "\n        "));
    }
    if error.kind() == ErrorKind::Internal {
        text.push_str("  This is a fault of gnp: please report it with the command that led to it.\n");
    }
    text
}
