//! From settings to results: the stages of a run.

use super::{Loaded, Observer, Opened, Outcome, Rehearsed, Run, Trained};
use gnp_base::Result;
use std::sync::atomic::AtomicBool;

/// Trains. Setting `stop` from another thread ends it after the step under way, with a checkpoint.
///
/// # Errors
/// Where a file is missing, damaged or cannot be written; where model, data and choices do not fit each other; where no
/// engine is there, or it refuses the model; where the loss is no longer finite. Checkpoints that were written are then
/// still there.
pub fn run(run: Run, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Outcome> {
    let opened = Opened::new(run, observer)?;
    let mut loaded = Loaded::new(opened, observer)?;
    let rehearsed = Rehearsed::new(&mut loaded)?;
    let trained = Trained::new(rehearsed, observer, stop)?;
    trained.write(observer)
}
