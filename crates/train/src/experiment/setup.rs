//! What a run trains with.

use super::Run;
use crate::{Checkpoint, Fingerprint, Plan};
use gnp_base::Error;
use gnp_data::Data;
use gnp_step::rewrite::StepConfig;

/// What does not change while a run trains.
pub(super) struct Setup {
    pub run: Run,
    pub plan: Plan,
    pub checkpoint: Option<Checkpoint>,
    pub data: Data,
    /// What the run depends on.
    pub fingerprint: Fingerprint,
    /// What the step model was made with, where it is one and says so.
    pub step_config: Option<StepConfig>,
    /// A BatchNormalization that takes statistics of one number a sample, where one trains.
    pub over_samples: Option<String>,
    /// How many classes the model has, where that is known.
    pub classes: Option<usize>,
}

impl Setup {
    /// An error in the terms of the model.
    pub fn in_model(&self, error: Error) -> Error {
        error.in_file(&self.run.model.path)
    }
}
