//! Samples of different lengths: token ids of sentences, time series.

use crate::array::{Values, element_count};
use gnp_base::digest::Digest;
use gnp_base::{Error, Result};
use std::ops::Range;

/// A list of numbers, or of vectors of `inner` shape, for each sample: `[length, …inner]`, of a length of its own.
///
/// ```
/// use gnp_data::{Lists, Values};
/// let ids = Lists::new(Values::I64(vec![101, 7, 102, 101, 102]), &[3, 2], vec![])?;
/// assert_eq!((ids.len(), ids.longest(), ids.length(1)), (2, 3, 2));
/// # Ok::<(), gnp_base::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Lists {
    values: Values,
    /// The number of items before each list, and of all.
    bounds: Vec<usize>,
    inner: Vec<usize>,
}

impl Lists {
    /// Lists of these `lengths`, one after the other in `values`.
    ///
    /// # Errors
    /// Where they take another number of elements than there are.
    pub fn new(values: Values, lengths: &[usize], inner: Vec<usize>) -> Result<Self> {
        let mut bounds = Vec::with_capacity(lengths.len() + 1);
        bounds.push(0usize);
        let mut end = Some(0usize);
        for &length in lengths {
            end = end.and_then(|end| end.checked_add(length));
            bounds.push(end.unwrap_or(usize::MAX));
        }
        let size = element_count(&inner).and_then(|inner| end?.checked_mul(inner));
        if size != Some(values.len()) {
            return Err(Error::input(format!(
                "{} lists of {} items in all cannot have {} elements",
                lengths.len(),
                end.map_or("more".to_owned(), |end| end.to_string()),
                values.len()
            )));
        }
        Ok(Self { values, bounds, inner })
    }

    /// The number of lists.
    pub fn len(&self) -> usize {
        self.bounds.len() - 1
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of items of list `row`.
    pub fn length(&self, row: usize) -> usize {
        self.bounds[row + 1] - self.bounds[row]
    }

    /// The number of items of the longest list.
    pub fn longest(&self) -> usize {
        (0..self.len()).map(|row| self.length(row)).max().unwrap_or(0)
    }

    /// The shape of an item; `[]` for a number.
    pub fn inner(&self) -> &[usize] {
        &self.inner
    }

    /// All elements, list after list.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Where in the [`values`](Self::values) the elements of list `row` are.
    pub(super) fn place(&self, row: usize) -> Range<usize> {
        let size: usize = self.inner.iter().product();
        self.bounds[row] * size..self.bounds[row + 1] * size
    }

    /// The list that element `at` of all is in, and its place there.
    pub(super) fn find(&self, at: usize) -> (usize, Vec<usize>) {
        let size: usize = self.inner.iter().product::<usize>().max(1);
        let item = at / size;
        let row = self.bounds.partition_point(|&bound| bound <= item).saturating_sub(1);
        let (mut rest, mut place) = (at % size, Vec::new());
        for &dim in self.inner.iter().rev() {
            place.push(rest % dim);
            rest /= dim;
        }
        place.push(item - self.bounds[row]);
        place.reverse();
        (row, place)
    }

    /// Checks that all elements are finite, and that no list is empty; `name` is what they are called.
    ///
    /// # Errors
    /// Where one is not; the message names the sample.
    pub(super) fn check(&self, name: &str) -> Result<()> {
        if let Some(row) = (0..self.len()).find(|&row| self.length(row) == 0) {
            return Err(Error::input(format!("{name}: sample {row} has no items")).help("leave such samples out"));
        }
        let Values::F32(values) = &self.values else { return Ok(()) };
        let finite = |row: &usize| values[self.place(*row)].iter().all(|value| value.is_finite());
        match (0..self.len()).find(|row| !finite(row)) {
            None => Ok(()),
            Some(row) => Err(Error::input(format!("{name}: sample {row} holds what is no finite number"))
                .help("mend such samples or leave them out")),
        }
    }

    /// The lists `rows`, in that order.
    pub(super) fn select(&self, rows: &[usize]) -> Result<Self> {
        macro_rules! gather {
            ($values:expr) => {
                rows.iter().flat_map(|&row| &$values[self.place(row)]).copied().collect()
            };
        }
        let values = match &self.values {
            Values::U8(values) => Values::U8(gather!(values)),
            Values::I64(values) => Values::I64(gather!(values)),
            Values::F32(values) => Values::F32(gather!(values)),
        };
        let lengths: Vec<usize> = rows.iter().map(|&row| self.length(row)).collect();
        Self::new(values, &lengths, self.inner.clone())
    }

    /// Adds lengths and elements to `digest`.
    pub(super) fn hash(&self, digest: &mut Digest) {
        digest.add(format!("{:?} {:?}", self.bounds, self.inner));
        self.values.hash(digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_know_their_lengths() {
        let lists = Lists::new(Values::F32((0..12).map(|v| v as f32).collect()), &[1, 3, 2], vec![2]).unwrap();
        assert_eq!((lists.longest(), lists.place(1)), (3, 2..8));
        assert_eq!((lists.find(7), lists.find(8)), ((1, vec![2, 1]), (2, vec![0, 0])));
        let some = lists.select(&[2, 0]).unwrap();
        assert_eq!(some, Lists::new(Values::F32(vec![8.0, 9.0, 10.0, 11.0, 0.0, 1.0]), &[2, 1], vec![2]).unwrap());
        for (lengths, inner) in [(&[1, 3][..], vec![2]), (&[usize::MAX, 2], vec![2]), (&[6], vec![usize::MAX, 2])] {
            assert!(Lists::new(lists.values().clone(), lengths, inner).is_err());
        }
    }

    #[test]
    fn what_cannot_be_trained_on_is_named() {
        let check = |values: Vec<f32>, lengths: &[usize]| {
            Lists::new(Values::F32(values), lengths, vec![]).unwrap().check("`x`").map_err(|error| error.to_string())
        };
        assert_eq!(check(vec![0.0, 1.0], &[1, 1]), Ok(()));
        assert_eq!(check(vec![0.0, 1.0], &[2, 0]).unwrap_err(), "`x`: sample 1 has no items");
        assert!(check(vec![0.0, f32::NAN], &[1, 1]).unwrap_err().contains("sample 1 holds"));
    }
}
