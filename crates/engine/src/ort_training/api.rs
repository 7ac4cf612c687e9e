//! ONNX Runtime's training API, beside the rest of its functions.

use crate::ort::api::Api;
use crate::runtime::Runtime;
use gnp_base::{Error, Result};
use ort::sys::OrtTrainingApi;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The process's ONNX Runtime, which can train.
#[derive(Clone, Copy)]
pub(super) struct TrainingApi {
    pub(super) ort: &'static Api,
    pub(super) training: &'static OrtTrainingApi,
}

impl Deref for TrainingApi {
    type Target = Api;

    fn deref(&self) -> &Api {
        self.ort
    }
}

impl TrainingApi {
    /// Loads `runtime` into the process, or returns it where it is loaded already.
    ///
    /// # Errors
    /// Where it does not load or cannot train, and where the process has loaded another one.
    pub(super) fn load(runtime: &Runtime) -> Result<Self> {
        if !runtime.can_train() {
            return Err(Error::engine("this build of ONNX Runtime cannot train").in_file(&runtime.library));
        }
        let ort = Api::load(runtime)?;
        let training = ort::training::training_api()
            .map_err(|e| Error::engine(format!("cannot start ONNX Runtime: {e}")).in_file(&runtime.library))?;
        Ok(Self { ort, training })
    }

    /// Has the process's random draws follow from `seed`, and keeps those who call this out until the result is
    /// dropped: ONNX Runtime draws from one generator a process.
    pub(super) fn seed_draws(&self, seed: i64) -> Result<MutexGuard<'static, ()>> {
        static DRAWS: Mutex<()> = Mutex::new(());
        let draws = DRAWS.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the function takes a number only.
        self.check(unsafe { (self.training.SetSeed)(seed) })?;
        Ok(draws)
    }
}
