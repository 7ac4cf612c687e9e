//! How far a run has come.

use crate::Standing;
use gnp_report::{Means, StepReport};
use serde::{Deserialize, Serialize};

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The epochs that are over.
    pub epoch: u64,
    /// The batches of the current epoch that are done.
    pub batch: u64,
    /// The steps taken in all.
    pub step: u64,
    /// What was measured in the current epoch so far.
    pub means: Means,
    /// The duration of the current epoch's steps so far, in seconds.
    pub seconds: f64,
    /// How much of it was spent waiting for data, in seconds.
    pub data_seconds: f64,
    /// How the epochs that are over compare.
    pub standing: Standing,
}

impl Progress {
    /// Adds a step to the epoch.
    pub(crate) fn add(&mut self, step: &StepReport) {
        self.means.add(&step.measures, &step.counts);
        self.seconds += step.seconds;
        self.data_seconds += step.data_seconds;
    }

    /// The beginning of the next epoch.
    pub(crate) fn next_epoch(self) -> Self {
        let Self { epoch, step, standing, .. } = self;
        Self { epoch: epoch + 1, step, standing, ..Self::default() }
    }
}
