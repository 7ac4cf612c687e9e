//! Where data lie.

use crate::formats::Formats;
use std::path::PathBuf;

/// Where the data of a run lie, and what of them is used.
#[derive(Clone, Debug, Default)]
pub struct DataSource {
    /// The training data; the module's loader says what that can be.
    pub train: PathBuf,
    /// The test data, in place of those found with the training data.
    pub test: Option<PathBuf>,
    /// The labels of the training samples, where these are a file of one array.
    pub labels: Option<PathBuf>,
    /// The labels of the test samples, likewise.
    pub test_labels: Option<PathBuf>,
    /// The fraction of the training samples that becomes the test set, in place of another.
    pub test_split: Option<f64>,
    /// How many of the training samples are used, drawn at random, once the test set is split off; all where none is
    /// given.
    pub train_samples: Option<usize>,
    /// The columns of a table that a model looks at; all that are numeric where none is named.
    pub features: Vec<String>,
    /// The columns of a table that a model predicts.
    pub targets: Vec<String>,
    /// The formats that data are looked for in.
    pub formats: Formats,
}

impl DataSource {
    /// The data at `train` with everything that is found there.
    pub fn new(train: impl Into<PathBuf>) -> Self {
        Self { train: train.into(), ..Self::default() }
    }
}
