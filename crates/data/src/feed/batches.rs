//! An order of samples cut into batches.

use super::{Feed, Source};
use crate::memory;
use gnp_base::{Error, Result};
use std::slice::Chunks;

impl Feed<'_> {
    /// The number of batches that [`Feed::batches`] makes of the whole data set.
    ///
    /// # Errors
    /// As [`Feed::batches`].
    pub fn batch_count(&self, size: usize) -> Result<usize> {
        self.check_batch_size(size)?;
        let samples = self.data.len();
        Ok(if self.fixed_batch().is_some() { samples / size } else { samples.div_ceil(size) })
    }

    /// Cuts `order` into batches of `size` samples. The last has what is left, unless the graph's batch is fixed: then
    /// what is left is left out.
    ///
    /// # Errors
    /// Where the graph's batch is fixed at another size, or there are not enough samples for it.
    pub fn batches<'r>(&self, order: &'r [usize], size: usize) -> Result<Chunks<'r, usize>> {
        self.check_batch_size(size)?;
        let whole = if self.fixed_batch().is_some() { order.len() - order.len() % size } else { order.len() };
        Ok(order[..whole].chunks(size))
    }

    /// The length of a batch of the samples `rows`: the most items that a sample of it has, filled up, at any input of
    /// lists; 0 where no input has such.
    pub fn batch_length(&self, rows: &[usize]) -> usize {
        let lengths = self.sources.iter().map(|source| match source {
            Source::Padded(padded) => padded.width(rows),
            _ => 0,
        });
        lengths.max().unwrap_or(0)
    }

    fn check_batch_size(&self, size: usize) -> Result<()> {
        match self.fixed_batch() {
            _ if size == 0 => Err(Error::input("the batch size must be at least 1")),
            Some(fixed) if fixed != size => {
                Err(Error::input(format!("the graph is made for batches of {fixed}, not of {size}")))
            }
            Some(fixed) if fixed > self.data.len() => Err(Error::input(format!(
                "the graph takes batches of {fixed}, but there are {} samples",
                self.data.len()
            ))),
            _ => self.check_memory(size.min(self.data.len())),
        }
    }

    /// Checks that there is memory for a batch of so many samples: of labels that are class numbers a batch may hold
    /// the probabilities of all classes.
    fn check_memory(&self, rows: usize) -> Result<()> {
        /// Bytes of a number, at most.
        const WIDEST: u64 = 8;
        let numbers = (0..self.sources.len()).map(|at| self.size(at)).try_fold(0usize, usize::checked_add);
        let bytes = numbers.and_then(|numbers| (numbers as u64).checked_mul(rows as u64)?.checked_mul(WIDEST));
        memory::ensure(format!("a batch of {rows} samples and their labels"), bytes)
    }
}
