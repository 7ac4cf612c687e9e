//! Which whole numbers an input may hold.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Numbers that an input, or a part of it, may hold: those from 0 to `last`, and `ignored`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The largest; none where it is known only when the graph runs.
    pub last: Option<i64>,
    /// A number that stands for none of them: of a label that does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignored: Option<i64>,
    /// Where; in the whole input where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
}

/// The places of an input from `start` to before `end` along `axis`; negative ones count from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The axis, 0 being that of the samples.
    pub axis: usize,
    /// The first place.
    pub start: i64,
    /// The place behind the last one.
    pub end: i64,
}

/// The ranges of inputs, by their names.
pub type Ranges = BTreeMap<String, Vec<Range>>;

/// A number that is outside of a range.
#[derive(Clone, Debug, PartialEq)]
pub struct Outside {
    /// Its place in the tensor, an index an axis.
    pub place: Vec<usize>,
    /// The number.
    pub value: f64,
    /// What it may be.
    pub range: Range,
}

/// How far probabilities may be beyond 0 and 1, which they can be by rounding.
const SLACK: f64 = 1e-3;

impl Range {
    /// The numbers from 0 to `last`.
    pub fn up_to(last: i64) -> Self {
        Self { last: Some(last), ignored: None, part: None }
    }

    /// Whether it is the number that stands for none.
    pub fn ignores(&self, value: f64) -> bool {
        self.ignored.is_some_and(|ignored| value == ignored as f64)
    }

    fn contains(&self, value: f64) -> bool {
        let Some(last) = self.last else { return true };
        (-SLACK..=last as f64 + SLACK).contains(&value) || self.ignores(value)
    }

    /// The first of `values`, the elements of a tensor of `shape` in row-major order, that is outside; none where all
    /// are inside.
    ///
    /// ```
    /// use gnp_base::contract::Range;
    /// let range = Range { ignored: Some(-100), ..Range::up_to(4) };
    /// let outside = range.first_outside(&[2, 2], [0.0, 4.0, -100.0, 5.0].into_iter()).unwrap();
    /// assert_eq!((outside.place, outside.value), (vec![1, 1], 5.0));
    /// assert_eq!(range.to_string(), "0 to 4, or -100, which does not count");
    /// ```
    pub fn first_outside(&self, shape: &[usize], values: impl Iterator<Item = f64>) -> Option<Outside> {
        let is_in_part: Box<dyn Fn(usize) -> bool> = match self.part {
            None => Box::new(|_| true),
            Some(part) => {
                let size = *shape.get(part.axis)?;
                let inner: usize = shape[part.axis + 1..].iter().product();
                let place = |place: i64| if place < 0 { place.saturating_add(size as i64) } else { place };
                let places = place(part.start)..place(part.end);
                Box::new(move |index| places.contains(&((index / inner % size) as i64)))
            }
        };
        let mut elements = values.enumerate();
        let (mut index, value) = elements.find(|(index, value)| !self.contains(*value) && is_in_part(*index))?;
        let mut place: Vec<usize> = shape.iter().rev().map(|size| (index % size, index /= size).0).collect();
        place.reverse();
        Some(Outside { place, value, range: *self })
    }
}

/// `0 to 4, or -100, which does not count`.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last {
            Some(last) => write!(f, "0 to {last}")?,
            None => f.write_str("any number")?,
        }
        match self.ignored {
            Some(ignored) => write!(f, ", or {ignored}, which does not count"),
            None => Ok(()),
        }
    }
}
