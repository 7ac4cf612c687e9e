//! Man pages and shell completions, made from the definitions of the arguments.

use crate::{Error, Result};
use clap::{Arg, ArgMatches, Command, ValueEnum, value_parser};
use clap_complete::Shell;

const ARGUMENT: &str = "generate";

/// What can be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    Man,
    CompleteBash,
    CompleteZsh,
    CompleteFish,
    CompletePowershell,
}

/// `command` with the argument `--generate`.
pub(super) fn with_argument(command: Command) -> Command {
    command.arg(
        Arg::new(ARGUMENT)
            .long(ARGUMENT)
            .value_name("KIND")
            .value_parser(value_parser!(Kind))
            .exclusive(true)
            .help("Write a man page or shell completions to standard output")
            .help_heading("Other options"),
    )
}

pub(super) fn requested(matches: &ArgMatches) -> Option<Kind> {
    matches.get_one(ARGUMENT).copied()
}

/// The text of `kind` for `command`.
pub(super) fn render(kind: Kind, command: Command) -> Result<Vec<u8>> {
    let mut command = with_argument(command);
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    let mut complete = |shell: Shell| clap_complete::generate(shell, &mut command, &name, &mut text);
    match kind {
        Kind::CompleteBash => complete(Shell::Bash),
        Kind::CompleteZsh => complete(Shell::Zsh),
        Kind::CompleteFish => complete(Shell::Fish),
        Kind::CompletePowershell => complete(Shell::PowerShell),
        Kind::Man => clap_mangen::Man::new(command)
            .render(&mut text)
            .map_err(|error| Error::internal(format!("cannot render the man page: {error}")))?,
    }
    Ok(text)
}
