//! The losses that `--loss` asks for.

use super::named::possible;
use crate::choice::nearest;
use crate::loss::{LossKind, WantedTerm};
use crate::named::Named as _;
use crate::{Error, Result};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, Command};
use std::ffi::OsStr;
use std::iter;

/// A loss that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LossChoice {
    /// The output that it is put on, where one is named.
    output: Option<String>,
    /// The formula; what the end of the graph tells where there is none.
    kind: Option<LossKind>,
    weight: f32,
}

/// Takes `LOSS`, `OUTPUT=LOSS` or `OUTPUT=LOSS*WEIGHT`; help and completions list the losses.
#[derive(Clone)]
pub(super) struct LossParser;

impl LossParser {
    const AUTO: &str = "auto";

    fn parse(text: &str) -> Result<LossChoice, String> {
        let (output, loss) = text.rsplit_once('=').map_or((None, text), |(output, loss)| (Some(output), loss));
        let (name, weight) = match (output, loss.split_once('*')) {
            (Some(_), Some((name, weight))) => (name, weight),
            _ => (loss, "1"),
        };
        let kind = match name {
            Self::AUTO => None,
            name => Some(LossKind::named(name).ok_or_else(|| {
                let names = LossKind::all().iter().map(|kind| kind.name()).chain([Self::AUTO]);
                format!("there is no loss `{name}` ({})", nearest(name, names))
            })?),
        };
        let weight = weight.parse().ok().filter(|weight: &f32| weight.is_finite() && *weight > 0.0);
        let weight = weight.ok_or("expected OUTPUT=LOSS*WEIGHT with a weight above 0, as in box=huber*0.5")?;
        if output == Some("") {
            return Err("expected OUTPUT=LOSS, as in logits=cross-entropy".to_owned());
        }
        Ok(LossChoice { output: output.map(str::to_owned), kind, weight })
    }
}

impl TypedValueParser for LossParser {
    type Value = LossChoice;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<LossChoice, clap::Error> {
        // A name by itself is one of those that are listed.
        if !value.to_string_lossy().contains('=') {
            let listed = PossibleValuesParser::new(self.possible_values().into_iter().flatten());
            listed.parse_ref(command, arg, value)?;
        }
        let parse = |text: &str| Self::parse(text);
        parse.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let auto = PossibleValue::new(Self::AUTO).help("What the end of the graph tells");
        Some(Box::new(iter::once(auto).chain(LossKind::all().iter().copied().map(possible))))
    }
}

/// The loss and the value that it is put on, or several losses.
pub(super) fn losses(
    choices: &[LossChoice],
    logits: Option<&str>,
) -> Result<(Option<LossKind>, Option<String>, Vec<WantedTerm>)> {
    let term = |choice: &LossChoice| {
        let LossChoice { output, kind, weight } = choice.clone();
        Some(WantedTerm { value: output?, loss: kind, weight })
    };
    let logits = logits.map(str::to_owned);
    match choices {
        [] => Ok((None, logits, vec![])),
        [LossChoice { output: None, kind, .. }] => Ok((*kind, logits, vec![])),
        [LossChoice { output, kind, weight: 1.0 }] if logits.is_none() => Ok((*kind, output.clone(), vec![])),
        several if logits.is_some() && several.iter().any(|choice| choice.output.is_some()) => {
            Err(Error::input("the output of a loss is named twice, by --loss and by --logits")
                .help("leave --logits out"))
        }
        several => {
            several.iter().map(term).collect::<Option<Vec<_>>>().map(|terms| (None, None, terms)).ok_or_else(|| {
                Error::input("of several losses, each needs an output that it is of")
                    .help("name it: --loss logits=cross-entropy --loss box=huber*0.5")
            })
        }
    }
}
