//! The outcome of a run.

use crate::{Ended, RunFolder};
use gnp_base::{Error, Result, files};
use gnp_data::Normalization;
use gnp_report::EpochReport;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The outcome of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended.
    pub ended: Ended,
    /// The last epoch; none where not even the first has ended.
    pub last: Option<EpochReport>,
    /// The epoch with the smallest test error, or test loss where errors are not known.
    pub best: Option<EpochReport>,
    /// The duration of all training steps, in seconds.
    pub seconds: f64,
    /// What trained.
    pub engine: String,
    /// What was made of the samples for the model's input: what it expects when it is used.
    pub input: Normalization,
    /// The names of the classes, in their order; empty where they have none.
    pub classes: Vec<String>,
    /// What was written, in a word, and where; nothing where the run was stopped.
    pub result: Option<(String, PathBuf)>,
    /// What it was started with, as a configuration file has it; none where that was not given.
    pub configuration: Option<String>,
}

impl Outcome {
    /// The outcome of the run in `folder`; none where it is not over.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let file = folder.join(RunFolder::OUTCOME);
        let text = match files::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| Error::io("read the outcome of the run", &file, &error))?,
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            Error::format(format!("not what a run leaves behind: {error}"))
                .in_file(&file)
                .help("remove it; the run then goes on from its last checkpoint")
        })
    }

    /// Writes it into the run's folder, whole or not at all.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, folder: &RunFolder) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::internal(format!("cannot encode the outcome of the run: {error}")))?;
        let write = |file: &Path| {
            fs::write(file, text).map_err(|error| Error::io("write the outcome of the run", file, &error))
        };
        folder.write_result(RunFolder::OUTCOME, write).map(drop)
    }
}
