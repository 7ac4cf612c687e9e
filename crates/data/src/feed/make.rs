//! Batches as tensors: one for each input of the graph.

use super::{Feed, Place, Source};
use crate::order::{Draws, draws};
use gnp_base::{Error, Result};
use gnp_tensor::Tensor;

impl Feed<'_> {
    /// The samples `rows`, in that order, and their labels: one tensor a port. Nothing is augmented.
    ///
    /// # Errors
    /// Where an image cannot be decoded, or an element is NaN or infinite once it is normalised.
    pub fn batch(&self, rows: &[usize]) -> Result<Vec<Tensor>> {
        self.make(rows, None, false)
    }

    /// The samples `rows` as batch `number` (from 0) of epoch `epoch` (from 0), augmented: a function of its arguments
    /// and the seed alone. A sample's draws depend on the epoch and its own number, the mix of the batch on that of the
    /// batch.
    ///
    /// # Errors
    /// As [`Feed::batch`]; where an image cannot be augmented.
    pub fn augmented_batch(&self, rows: &[usize], epoch: u64, number: usize) -> Result<Vec<Tensor>> {
        let place = Place { seed: self.seed, epoch, batch: number };
        self.make(rows, Some(place).filter(|_| !self.preparation.augmentation.is_none()), false)
    }

    /// The samples `rows` with labels of 0, which every classifier has: for a look at what a model returns.
    ///
    /// # Errors
    /// Where an image cannot be decoded.
    pub fn batch_without_labels(&self, rows: &[usize]) -> Result<Vec<Tensor>> {
        self.make(rows, None, true)
    }

    fn make(&self, rows: &[usize], place: Option<Place>, no_labels: bool) -> Result<Vec<Tensor>> {
        let mut labels = self
            .labelled()
            .map(|(_, labels)| if no_labels { labels.zeros(rows) } else { labels.tensor(rows, self.data) })
            .collect::<Result<Vec<_>>>()?
            .into_iter();
        let mut tensors = Vec::with_capacity(self.ports.len());
        for (source, port) in self.sources.iter().zip(&self.ports) {
            tensors.push(match source {
                Source::Labels(_) => labels.next().ok_or_else(|| Error::internal("labels are missing"))?,
                Source::Padded(padded) => padded.tensor(rows).map_err(|error| self.data.in_samples_file(error))?,
                Source::Derived(of, kind) => {
                    let (lengths, width) = self.lengths(*of, rows);
                    kind.tensor(port, &lengths, width)?
                }
                Source::Dense(dense) => match dense.whole(rows)? {
                    Some(whole) => whole,
                    None => {
                        let augmentation = &self.preparation.augmentation;
                        let mut floats = dense.floats(rows, place.map(|place| (augmentation, place)))?;
                        if let Some(place) = place.filter(|_| augmentation.mixes()) {
                            let [channels, height, width] = dense.planes();
                            let Some(Tensor::F32(labels)) = labels.as_mut_slice().first_mut() else {
                                return Err(Error::internal("labels that are no floats are mixed"));
                            };
                            let labels = labels.as_slice_mut();
                            let labels = labels.ok_or_else(|| Error::internal("the labels are not contiguous"))?;
                            let mut generator = draws(self.seed, place.epoch, Draws::Batch, place.batch);
                            let shape = [rows.len(), channels, height, width];
                            augmentation.mix(&mut floats, shape, labels, &mut generator)?;
                        }
                        dense.tensor(floats, rows, place.is_some(), self.data)?
                    }
                },
            });
        }
        Ok(tensors)
    }
}
