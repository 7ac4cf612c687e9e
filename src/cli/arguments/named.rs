//! Flags whose values have names.

use crate::named::Named;
use clap::builder::{MapValueParser, PossibleValue, PossibleValuesParser, TypedValueParser as _};

/// Takes the name of a value of `T`; help and completions list them all.
pub fn named<T: Named + Send + Sync>() -> MapValueParser<PossibleValuesParser, fn(String) -> T> {
    let values = T::all().iter().map(|value| possible(*value));
    // The parser lets only the listed names through.
    PossibleValuesParser::new(values).map(|name| T::named(&name).unwrap_or(T::all()[0]))
}

/// A value as help and completions show it: its name, and the first paragraph of its documentation, in one line and
/// without a full stop.
pub fn possible(value: impl Named) -> PossibleValue {
    let shown = PossibleValue::new(value.name());
    let Some(help) = value.help() else { return shown };
    let paragraph = help.split("\n\n").next().unwrap_or(help);
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    shown.help(line.strip_suffix('.').map(str::to_owned).unwrap_or(line))
}
