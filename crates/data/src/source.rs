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
    /// What of a table or an archive is used.
    pub selection: Selection,
    /// The formats that data are looked for in.
    pub formats: Formats,
}

/// What of a table or an archive of arrays a model looks at, and what it predicts, by name. What is left empty is
/// chosen by what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The columns of a table that one input of a model looks at; all that are numeric where none is named.
    pub features: Vec<String>,
    /// For an input of the model, by name: columns of a table, side by side, or an array of an archive.
    pub inputs: Vec<(String, Vec<String>)>,
    /// The column of a table that is text for a tokenizer, or the two columns whose texts make a pair.
    pub text: Vec<String>,
    /// What makes numbers of the text: a `tokenizer.json` of Hugging Face's `tokenizers`.
    pub tokenizer: Option<PathBuf>,
    /// The most tokens of a text.
    pub most_tokens: Option<usize>,
    /// What is predicted: columns of a table, side by side, or an array of an archive; for an output of the model, by
    /// name, where it has several losses.
    pub targets: Vec<(Option<String>, Vec<String>)>,
}

impl Selection {
    /// The columns, side by side, that the model predicts.
    pub fn predicting(columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        Self { targets: vec![(None, columns)], ..Self::default() }
    }

    /// Whether nothing is chosen.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl DataSource {
    /// The data at `train` with everything that is found there.
    pub fn new(train: impl Into<PathBuf>) -> Self {
        Self { train: train.into(), ..Self::default() }
    }
}
