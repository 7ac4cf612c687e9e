//! What samples are labelled with.

use super::Lists;
use super::array::{Array, Values};
use gnp_base::digest::Digest;
use gnp_base::{Error, Result};

/// What a model is to predict of each sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Labels {
    /// One whole number each: a class, counted from 0, or a number that stands for none.
    Classes(Vec<i64>),
    /// Numbers, of any shape each: what a regression aims at, the probabilities of classes, a class for each position.
    /// The outermost axis counts the samples.
    Targets(Array),
    /// A list of numbers each, of a length of its own: a class for each token.
    Lists(Lists),
}

impl Labels {
    /// The labels in `array`: classes where there is one whole number a sample, targets otherwise.
    ///
    /// # Errors
    /// Where there is no axis that counts the samples.
    pub(super) fn new(array: Array) -> Result<Self> {
        let classes = matches!(array.shape(), [_] | [_, 1]) && !matches!(array.values(), Values::F32(_));
        if array.shape().is_empty() {
            return Err(Error::input("the labels are a single number; expected one label a sample"));
        }
        if !classes {
            return Ok(Self::Targets(array));
        }
        let labels: Vec<i64> = match array.into_values() {
            Values::U8(labels) => labels.into_iter().map(i64::from).collect(),
            Values::I64(labels) => labels,
            Values::F32(labels) => labels.into_iter().map(|label| label as i64).collect(),
        };
        Ok(Self::Classes(labels))
    }

    /// The classes, where the labels are such.
    pub fn classes(&self) -> Option<&[i64]> {
        match self {
            Self::Classes(classes) => Some(classes),
            Self::Targets(_) | Self::Lists(_) => None,
        }
    }

    /// The elements, where they are no classes.
    pub(super) fn values(&self) -> Option<&Values> {
        match self {
            Self::Classes(_) => None,
            Self::Targets(array) => Some(array.values()),
            Self::Lists(lists) => Some(lists.values()),
        }
    }

    /// Checks that all are finite; `name` is what they are called.
    pub(super) fn check_finite(&self, name: &str) -> Result<()> {
        match self {
            Self::Classes(_) => Ok(()),
            Self::Targets(array) => array.check_finite(name),
            Self::Lists(lists) => lists.check(name),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Classes(classes) => classes.len(),
            Self::Targets(array) => array.shape()[0],
            Self::Lists(lists) => lists.len(),
        }
    }

    /// The shape of one label; `[]` where they have no common one.
    pub(super) fn shape(&self) -> &[usize] {
        match self {
            Self::Classes(_) | Self::Lists(_) => &[],
            Self::Targets(array) => &array.shape()[1..],
        }
    }

    pub(super) fn select(&self, rows: &[usize]) -> Result<Self> {
        Ok(match self {
            Self::Classes(classes) => Self::Classes(rows.iter().map(|&row| classes[row]).collect()),
            Self::Targets(array) => Self::Targets(array.select(rows)?),
            Self::Lists(lists) => Self::Lists(lists.select(rows)?),
        })
    }

    pub(super) fn hash(&self, digest: &mut Digest) {
        match self {
            Self::Classes(classes) => classes.iter().for_each(|class| digest.add(class.to_le_bytes())),
            Self::Targets(array) => array.hash(digest),
            Self::Lists(lists) => lists.hash(digest),
        }
    }
}
