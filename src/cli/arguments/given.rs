//! A group of arguments that knows which of them were given.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};
use std::ops::Deref;

/// The arguments `A`, and the flags of those that were given, in the order of their definition.
#[derive(Clone, Debug, Default)]
pub struct Given<A> {
    arguments: A,
    flags: Vec<String>,
}

impl<A> Given<A> {
    /// The flags that were given.
    pub fn flags(&self) -> impl Iterator<Item = &str> {
        self.flags.iter().map(String::as_str)
    }
}

impl<A> Deref for Given<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.arguments
    }
}

/// The flags of the arguments `A` that `matches` has from the command line.
fn given<A: Args>(matches: &ArgMatches) -> Vec<String> {
    let group = A::augment_args(Command::new("group"));
    let is_given = |argument: &&Arg| matches.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine);
    let arguments = group.get_arguments().filter(is_given);
    arguments.filter_map(|argument| Some(format!("--{}", argument.get_long()?))).collect()
}

impl<A: Args> FromArgMatches for Given<A> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self { flags: given::<A>(matches), arguments: A::from_arg_matches(matches)? })
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, Error> {
        Ok(Self { flags: given::<A>(matches), arguments: A::from_arg_matches_mut(matches)? })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.flags = given::<A>(matches);
        self.arguments.update_from_arg_matches(matches)
    }
}

impl<A: Args> Args for Given<A> {
    fn augment_args(command: Command) -> Command {
        A::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        A::augment_args_for_update(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Args)]
    struct Group {
        #[arg(long)]
        first_one: Option<u8>,
        #[arg(long)]
        many: Vec<u8>,
        #[arg(long, default_value_t = 3)]
        other: u8,
    }

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        group: Given<Group>,
        #[arg(long)]
        more: bool,
    }

    #[test]
    fn flags_are_those_that_were_typed() {
        let flags = |line: &str| Line::parse_from(line.split(' ')).group.flags().collect::<Vec<_>>().join(" ");
        assert_eq!(flags("x --more"), "");
        assert_eq!(flags("x --many 1 --first-one 2 --many 3"), "--first-one --many");
        assert_eq!(flags("x --other 3"), "--other");
        let line = Line::parse_from(["x", "--first-one", "7"]);
        assert_eq!((line.group.first_one, line.group.many.len(), line.group.other, line.more), (Some(7), 0, 3, false));
    }
}
