//! What the user says of sizes, and which axes that is about.

use crate::graph::{Dim, Fact};
use crate::onnx::Model;
use crate::onnx::proto::ValueInfoProto;
use crate::shapes::symbols;
use gnp_base::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use wildmatch::WildMatch;

/// What is said of sizes, by what it is said of: a symbol in the model's shapes (`batch`), or an axis of an input by
/// its position (`input[0]`; `*` and `?` in the input's name stand for anything).
pub type Dims = BTreeMap<String, Size>;

/// What an axis is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Size {
    /// Of this size.
    Number(i64),
    /// Open, under this name.
    Symbol(String),
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(size) => write!(f, "{size}"),
            Self::Symbol(name) => f.write_str(name),
        }
    }
}

impl std::str::FromStr for Size {
    type Err = String;

    /// ```
    /// use gnp_model::opening::Size;
    /// assert_eq!("32".parse(), Ok(Size::Number(32)));
    /// assert_eq!("batch".parse(), Ok(Size::Symbol("batch".into())));
    /// assert_eq!("0".parse(), Ok(Size::Number(0)), "a past that is empty");
    /// assert!("-1".parse::<Size>().is_err() && "a + b".parse::<Size>().is_err());
    /// ```
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(size) if size >= 0 => return Ok(Self::Number(size)),
            Ok(size) => return Err(format!("{size} is no size; expected a number from 0 on, or a name")),
            Err(_) => {}
        }
        let is_name = |text: &str| text.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c));
        if text.starts_with(|c: char| c.is_alphabetic() || c == '_') && is_name(text) {
            Ok(Self::Symbol(text.to_owned()))
        } else {
            Err(format!("`{text}` is neither a number from 0 on nor a name"))
        }
    }
}

/// An axis of an input of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    /// The input's position among the inputs.
    pub input: usize,
    pub axis: usize,
}

impl Axis {
    /// What the input declares of it.
    pub(super) fn dim(self, model: &Model) -> Dim {
        let fact = Fact::declared(&model.graph.input[self.input]);
        fact.and_then(|fact| fact.shape?.get(self.axis).cloned()).unwrap_or(Dim::Unknown)
    }
}

/// What a key of [`Dims`] is about.
pub(super) enum Target {
    Symbol,
    Axes(Vec<Axis>),
}

impl Target {
    /// # Errors
    /// Where the model has neither a symbol nor an axis of this name.
    pub(super) fn of(key: &str, model: &Model) -> Result<Self> {
        if symbols(model).contains(key) {
            return Ok(Self::Symbol);
        }
        let Some((pattern, axis)) = key.strip_suffix(']').and_then(|key| key.rsplit_once('[')) else {
            return Err(unknown(key, model));
        };
        let Ok(axis) = axis.parse::<i64>() else { return Err(unknown(key, model)) };
        let matcher = WildMatch::new(pattern);
        let named: Vec<_> = model.graph.input.iter().enumerate().filter(|(_, i)| matcher.matches(i.name())).collect();
        if named.is_empty() {
            return Err(unknown(key, model));
        }
        let at = |(input, info): &(usize, &ValueInfoProto)| {
            let rank = Fact::declared(info)?.rank()? as i64;
            let axis = if axis < 0 { axis + rank } else { axis };
            (0..rank).contains(&axis).then_some(Axis { input: *input, axis: axis as usize })
        };
        let axes: Vec<Axis> = named.iter().filter_map(at).collect();
        if axes.is_empty() {
            return Err(Error::input(format!("there is no axis `{key}`")).help(inputs(model)));
        }
        Ok(Self::Axes(axes))
    }
}

fn unknown(key: &str, model: &Model) -> Error {
    let error = Error::input(format!("the model has no dimension called `{key}`, and no input with such an axis"));
    let symbols = symbols(model);
    let Some(nearest) = symbols.iter().min_by_key(|s| strsim::damerau_levenshtein(s, key)) else {
        return error.help(inputs(model));
    };
    let all = symbols.iter().map(|s| format!("`{s}`")).collect::<Vec<_>>().join(", ");
    error.help(format!("did you mean `{nearest}`? Its dimensions with a name: {all}; {}", inputs(model)))
}

/// The inputs, and how to name their axes.
fn inputs(model: &Model) -> String {
    let shape = |info: &ValueInfoProto| match Fact::declared(info) {
        Some(fact) => format!("`{}` is {fact}", info.name()),
        None => format!("`{}` is no tensor", info.name()),
    };
    let inputs: Vec<_> = model.graph.input.iter().map(shape).collect();
    let first = model.graph.input.first().map_or("input", |info| info.name());
    format!("{}; --dim '{first}[0]=batch' names or opens the first axis of `{first}`", inputs.join(", "))
}
