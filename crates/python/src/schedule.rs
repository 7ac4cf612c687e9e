//! Learning rates as functions of the step.

use crate::error::exception;
use crate::options;
use gnp::Error;
use gnp::train::LearningRate as Rate;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The learning rate of every step of a training, as `gnp-run` has it: what `fit(lr=…)` takes.
///
/// Args:
///     peak: The rate at the end of the warm-up.
///     epochs: How many epochs the training has.
///     steps_per_epoch: How many steps an epoch has.
///     schedule: How it goes on after the warm-up: "constant", "stepped", "cosine", "exponential" or "linear".
///     warmup: How long it rises to its peak: steps, or epochs as in "5ep".
///     milestones: The epochs at whose end a stepped schedule multiplies by gamma.
///     gamma: The factor of a stepped schedule; 0.1 where not given.
///     final_lr: Where it ends, as a share of its peak; 0 where not given, 0.012 with "exponential".
///
/// Raises:
///     GnpError: Where a number is out of range, or of no use for the schedule.
///
/// >>> import gnp
/// >>> rate = gnp.LearningRate(0.5, epochs=2, steps_per_epoch=4, schedule="linear")
/// >>> [rate(step) for step in (0, 4, 8)]
/// [0.5, 0.25, 0.0]
#[pyclass(frozen, module = "gnp")]
pub struct LearningRate {
    rate: Rate,
    peak: f32,
}

#[pymethods]
impl LearningRate {
    #[new]
    #[pyo3(signature = (peak, *, epochs, steps_per_epoch, **schedule))]
    fn new(peak: f32, epochs: u64, steps_per_epoch: u64, schedule: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let arguments = options::schedule(schedule)?;
        let rate = arguments
            .schedule()
            .and_then(|schedule| Rate::new(peak, &schedule, arguments.warmup(), epochs, steps_per_epoch))
            .map_err(exception)?;
        Ok(Self { rate, peak })
    }

    /// The learning rate of step `step`, counted from 0.
    fn __call__(&self, step: i64) -> PyResult<f32> {
        let step =
            u64::try_from(step).map_err(|_| exception(Error::input(format!("step {step}: steps begin at 0"))))?;
        Ok(self.rate.at(step))
    }

    fn __repr__(&self) -> String {
        format!("<gnp.LearningRate with a peak of {}>", self.peak)
    }
}
