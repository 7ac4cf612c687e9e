//! Data sets of samples with class labels: read from files, shuffled, fed in batches.

mod array;
mod feed;
mod idx;
mod load;
mod npz;
mod order;

pub use array::{Array, Values};
pub use feed::Feed;
pub use order::epoch_order;

use crate::{Error, Result};
use sha2::{Digest, Sha256};

/// Samples, and the class of each.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    samples: Array,
    labels: Vec<i64>,
}

/// What is trained on, and what the result is measured on.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// The training set.
    pub train: Dataset,
    /// The test set, where there is one.
    pub test: Option<Dataset>,
}

impl Dataset {
    /// A data set of `samples` (any shape, the outermost axis counts them) and their `labels` (one integer a sample,
    /// of shape `[n]` or `[n, 1]`).
    ///
    /// # Errors
    /// Where the counts differ, there are none, or a label is not a whole number from 0 on.
    pub fn new(samples: Array, labels: Array) -> Result<Self> {
        let samples_count = samples.shape().first().copied().unwrap_or(0);
        let shape = labels.shape().to_vec();
        let (&[labels_count] | &[labels_count, 1]) = shape.as_slice() else {
            return Err(Error::input(format!("the labels have shape {shape:?}; expected one class index a sample"))
                .help("turn one-hot labels into class indices, e.g. with .argmax(1)"));
        };
        if samples_count != labels_count {
            return Err(Error::input(format!("there are {samples_count} samples but {labels_count} labels")));
        }
        if samples_count == 0 {
            return Err(Error::input("the data set is empty"));
        }
        let labels: Vec<i64> = match labels.into_values() {
            Values::U8(labels) => labels.into_iter().map(i64::from).collect(),
            Values::I64(labels) => labels,
            Values::F32(_) => {
                return Err(Error::input("the labels are floats; expected class indices")
                    .help("save them as integers, e.g. with .astype(numpy.int64)"));
            }
        };
        if let Some((sample, label)) = labels.iter().enumerate().find(|(_, label)| **label < 0) {
            return Err(Error::input(format!("sample {sample} has the label {label}; classes count from 0")));
        }
        Ok(Self { samples, labels })
    }

    /// The number of samples; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a data set is never empty")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The shape of one sample.
    pub fn sample_shape(&self) -> &[usize] {
        &self.samples.shape()[1..]
    }

    /// The samples.
    pub fn samples(&self) -> &Array {
        &self.samples
    }

    /// The class of each sample.
    pub fn labels(&self) -> &[i64] {
        &self.labels
    }

    /// One more than the largest label.
    pub fn label_bound(&self) -> usize {
        self.labels.iter().max().map_or(0, |&label| label as usize + 1)
    }

    /// Checks that a model with this number of classes can have every label.
    ///
    /// # Errors
    /// Where it cannot: the message names the first such sample.
    pub fn check_labels(&self, classes: usize) -> Result<()> {
        match self.labels.iter().position(|&label| label as usize >= classes) {
            None => Ok(()),
            Some(sample) => Err(Error::input(format!(
                "sample {sample} has the label {}, but the model has {classes} classes (0 to {})",
                self.labels[sample],
                classes.saturating_sub(1)
            ))
            .help("train a model with as many classes as the data have, or renumber the labels from 0")),
        }
    }

    /// Redraws the labels of the fraction `noise` of the samples uniformly over all `classes`: a label may come out
    /// as it was. The same `seed` redraws the same samples to the same labels.
    ///
    /// # Errors
    /// Where `noise` is not between 0 and 1.
    pub fn redraw_labels(&mut self, noise: f64, classes: usize, seed: u64) -> Result<()> {
        if !(0.0..=1.0).contains(&noise) {
            return Err(Error::input(format!("the label noise must lie between 0 and 1, not at {noise}")));
        }
        order::redraw(&mut self.labels, noise, classes, seed);
        Ok(())
    }

    /// The SHA-256 of shape, samples and labels, in hexadecimal: which data these are.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{:?}", self.samples.shape()));
        match self.samples.values() {
            Values::U8(values) => hash.update(values),
            Values::I64(values) => values.iter().for_each(|value| hash.update(value.to_le_bytes())),
            Values::F32(values) => values.iter().for_each(|value| hash.update(value.to_le_bytes())),
        }
        self.labels.iter().for_each(|label| hash.update(label.to_le_bytes()));
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(shape: &[usize], values: &[u8]) -> Array {
        Array::new(shape.to_vec(), Values::U8(values.to_vec())).unwrap()
    }

    fn message(result: Result<Dataset>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn refuses_what_is_no_data_set() {
        let samples = || bytes(&[2, 2], &[1, 2, 3, 4]);
        assert_eq!(message(Dataset::new(samples(), bytes(&[3], &[0; 3]))), "there are 2 samples but 3 labels");
        assert!(message(Dataset::new(samples(), bytes(&[2, 3], &[0; 6]))).contains("shape [2, 3]"));
        assert_eq!(message(Dataset::new(bytes(&[0, 2], &[]), bytes(&[0], &[]))), "the data set is empty");
        let floats = Array::new(vec![2], Values::F32(vec![0.0, 1.0])).unwrap();
        assert!(message(Dataset::new(samples(), floats)).contains("floats"));
        let negative = Array::new(vec![2], Values::I64(vec![0, -1])).unwrap();
        assert!(message(Dataset::new(samples(), negative)).contains("sample 1 has the label -1"));
        assert!(Dataset::new(samples(), bytes(&[2, 1], &[0, 1])).is_ok());
    }

    #[test]
    fn labels_must_be_classes_of_the_model() {
        let data = Dataset::new(bytes(&[3, 1], &[0; 3]), bytes(&[3], &[0, 2, 1])).unwrap();
        assert_eq!(data.label_bound(), 3);
        assert!(data.check_labels(3).is_ok());
        let error = data.check_labels(2).unwrap_err().to_string();
        assert_eq!(error, "sample 1 has the label 2, but the model has 2 classes (0 to 1)");
    }

    #[test]
    fn the_digest_tells_data_apart() {
        let data = |label| Dataset::new(bytes(&[1, 1], &[1]), bytes(&[1], &[label])).unwrap();
        assert_eq!(data(0).digest(), data(0).digest());
        assert_ne!(data(0).digest(), data(1).digest());
    }
}
