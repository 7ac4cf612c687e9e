//! What is decided of a constant, and why, in words.

use super::record::Kind;
use serde::{Serialize, Serializer};
use std::fmt;

/// Why a constant trains or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The user said so, with this flag.
    Flag(&'static str),
    /// It is an adapter.
    Adapter,
    /// Adapters train in its place, or beside it.
    Adapted,
    /// The exporter recorded what it is.
    Recorded(Kind),
    /// The exporter computed it from these parameters, of which it holds the elements.
    Rearranged(Vec<String>),
    /// The exporter computed it from these parameters: it stands for them.
    Computed(Vec<String>),
    /// The exporter folded another operator into the parameter of this name.
    Folded,
    /// Where it stands, and in which operator; whether its name says that the exporter computed it.
    Place(Place, String, bool),
    /// Its elements are those of a mask.
    Mask,
    /// Its elements are those of a table of sines and cosines.
    Sinusoid,
    /// It is a filter that is the same for every channel.
    OneFilter,
    /// Ones or zeros that stand in for the parameters of a normalisation that has none.
    NoAffine,
    /// A zero without an axis in the place of a bias.
    NoBias,
    /// It follows the batches.
    Statistic,
    /// It is the mean or the variance in a normalisation that is written out.
    Moment,
    /// It belongs to the loss, beside the labels of this name, if it is they that tell.
    Loss(Option<String>),
    /// It turns positions into the angles of sines and cosines.
    Frequency,
    /// It meets the data before any weight does.
    BeforeWeights,
    /// It says how an operator works.
    Setting(String),
    /// Its name is that of a buffer.
    NamedBuffer,
    /// Its name is that of a literal.
    NamedLiteral,
    /// It is a single number, and nothing says that it is learned.
    OneNumber,
    /// The loss does not depend on it.
    Unreached,
    /// It is the copy of another, with which it is tied.
    Tied(String),
}

/// A place where parameters stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A weight.
    Weight,
    /// A table that is looked up.
    Table,
    /// A bias.
    Bias,
    /// The scale or shift of a normalisation.
    Norm,
    /// A learned token, query, position or state in the place of data.
    Input,
    /// An operand beside something learned.
    Operand,
    /// An operand of what a weight is computed from.
    Part,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[String]| {
            let first = names.iter().take(2).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            if names.len() > 2 { format!("{first}, …") } else { first }
        };
        match self {
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Adapter => f.write_str("adapter, by --lora"),
            Self::Adapted => f.write_str("frozen beside adapters"),
            Self::Recorded(Kind::Parameter) => f.write_str("parameter, as the exporter recorded"),
            Self::Recorded(Kind::Buffer) => f.write_str("buffer, as the exporter recorded"),
            Self::Recorded(Kind::Constant) => f.write_str("literal, as the exporter recorded"),
            Self::Rearranged(names) => write!(f, "{}, rearranged by the exporter", list(names)),
            Self::Computed(names) => write!(f, "computed by the exporter from {}", list(names)),
            Self::Folded => f.write_str("parameter into which the exporter folded another layer"),
            Self::Place(place, operator, computed) => {
                match place {
                    Place::Weight => write!(f, "weight of {operator}")?,
                    Place::Table => write!(f, "table of {operator}")?,
                    Place::Bias => write!(f, "bias, in {operator}")?,
                    Place::Norm => write!(f, "parameter of {operator}")?,
                    Place::Input => write!(f, "learned input of {operator}")?,
                    Place::Operand => write!(f, "operand of {operator}, behind weights")?,
                    Place::Part => write!(f, "part of what becomes a weight of {operator}")?,
                }
                f.write_str(if *computed { "; computed by the exporter" } else { "" })
            }
            Self::Mask => f.write_str("mask, by its elements"),
            Self::Sinusoid => f.write_str("table of sines and cosines"),
            Self::OneFilter => f.write_str("filter that is the same for every channel"),
            Self::NoAffine => f.write_str("ones or zeros of a normalisation without parameters"),
            Self::NoBias => f.write_str("zero of a layer without bias"),
            Self::Statistic => f.write_str("running statistic"),
            Self::Moment => f.write_str("mean or variance of a normalisation"),
            Self::Loss(Some(labels)) => write!(f, "part of the loss, beside the labels `{labels}`"),
            Self::Loss(None) => f.write_str("part of the loss, behind what the model returns"),
            Self::Frequency => f.write_str("frequencies of sines and cosines"),
            Self::BeforeWeights => f.write_str("meets the input before any weight does"),
            Self::Setting(operator) => write!(f, "says how {operator} works"),
            Self::NamedBuffer => f.write_str("buffer, by its name"),
            Self::NamedLiteral => f.write_str("literal, by its name"),
            Self::OneNumber => f.write_str("single number"),
            Self::Unreached => f.write_str("no gradient reaches it"),
            Self::Tied(other) => write!(f, "tied to `{other}`"),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What becomes of one float32 constant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Its name.
    pub name: String,
    /// Its sizes.
    pub shape: Vec<i64>,
    /// Whether it trains.
    pub trains: bool,
    /// Why.
    pub reason: Reason,
    /// Whether evidence is missing, or contradicts itself.
    pub undecided: bool,
}

impl Verdict {
    /// How many elements it has.
    pub fn numbers(&self) -> usize {
        self.shape.iter().fold(1, |count, &size| count.saturating_mul(size.max(0) as usize))
    }
}
