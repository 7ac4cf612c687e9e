//! Data sets of samples with labels: read from files, shuffled, fed in batches.

mod array;
mod feed;
mod idx;
mod labels;
mod load;
mod npz;
mod order;

pub use array::{Array, Values};
pub use feed::Feed;
pub use labels::Labels;
pub use load::Options;
pub use order::epoch_order;

use crate::{Error, Result};
use sha2::{Digest, Sha256};

/// Samples, and the label of each.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    samples: Array,
    labels: Labels,
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
    /// A data set of `samples` and their `labels`, both of any shape: the outermost axis counts the samples.
    ///
    /// Integers of shape `[n]` or `[n, 1]` are classes, all else are targets.
    ///
    /// # Errors
    /// Where the counts differ, there are none, or a class is below 0.
    pub fn new(samples: Array, labels: Array) -> Result<Self> {
        let count = samples.shape().first().copied().unwrap_or(0);
        let labels = Labels::new(labels)?;
        if count != labels.len() {
            return Err(Error::input(format!("there are {count} samples but {} labels", labels.len())));
        }
        if count == 0 {
            return Err(Error::input("the data set is empty"));
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

    /// The labels.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// One more than the largest class; 0 where the labels are no classes.
    pub fn label_bound(&self) -> usize {
        self.labels.classes().and_then(|classes| classes.iter().max()).map_or(0, |&class| class as usize + 1)
    }

    /// Checks that a model with this number of classes can have every label. Labels that are no classes it always can.
    ///
    /// # Errors
    /// Where it cannot: the message names the first such sample.
    pub fn check_labels(&self, classes: usize) -> Result<()> {
        let labels = self.labels.classes().unwrap_or_default();
        match labels.iter().position(|&label| label as usize >= classes) {
            None => Ok(()),
            Some(sample) => Err(Error::input(format!(
                "sample {sample} has the label {}, but the model has {classes} classes (0 to {})",
                labels[sample],
                classes.saturating_sub(1)
            ))
            .help("train a model with as many classes as the data have, or renumber the labels from 0")),
        }
    }

    /// Redraws the labels of the fraction `noise` of the samples uniformly over all `classes`: a label may come out
    /// as it was. The same `seed` redraws the same samples to the same labels.
    ///
    /// # Errors
    /// Where `noise` is not between 0 and 1, or above 0 with labels that are no classes.
    pub fn redraw_labels(&mut self, noise: f64, classes: usize, seed: u64) -> Result<()> {
        if !(0.0..=1.0).contains(&noise) {
            return Err(Error::input(format!("the label noise must lie between 0 and 1, not at {noise}")));
        }
        match &mut self.labels {
            Labels::Classes(labels) => order::redraw(labels, noise, classes, seed),
            Labels::Targets(_) if noise == 0.0 => {}
            Labels::Targets(_) => return Err(Error::input("only labels that are classes can be redrawn at random")),
        }
        Ok(())
    }

    /// The SHA-256 of shape, samples and labels, in hexadecimal: which data these are.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        self.samples.hash(&mut hash);
        self.labels.hash(&mut hash);
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
        assert_eq!(message(Dataset::new(bytes(&[0, 2], &[]), bytes(&[0], &[]))), "the data set is empty");
        let negative = Array::new(vec![2], Values::I64(vec![0, -1])).unwrap();
        assert!(message(Dataset::new(samples(), negative)).contains("sample 1 has the label -1"));
        let scalar = Array::new(vec![], Values::F32(vec![1.0])).unwrap();
        assert!(message(Dataset::new(samples(), scalar)).contains("single number"));
    }

    #[test]
    fn one_integer_a_sample_is_a_class() {
        let labels = |labels: Array| Dataset::new(bytes(&[2, 2], &[1, 2, 3, 4]), labels).unwrap().labels;
        assert_eq!(labels(bytes(&[2, 1], &[0, 1])), Labels::Classes(vec![0, 1]));
        let floats = Array::new(vec![2], Values::F32(vec![-0.5, 1.0])).unwrap();
        assert_eq!(labels(floats.clone()), Labels::Targets(floats));
        assert_eq!(labels(bytes(&[2, 3], &[0; 6])), Labels::Targets(bytes(&[2, 3], &[0; 6])));
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
