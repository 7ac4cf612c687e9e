//! The learning rate as a function of the step.

use crate::{Error, Result};
use std::f64::consts::PI;

/// How the learning rate goes on after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Schedule {
    /// At its peak to the end.
    #[default]
    Constant,
    /// Down to 0 along half a cosine (Loshchilov & Hutter, SGDR, ICLR 2017, without restarts).
    Cosine,
}

/// The learning rate of every step of a run of `steps` steps. With the peak η, W warm-up steps and T steps, step t
/// (from 0) is taken with
///
/// - η·(t+1)/W for t < W,
/// - then η (constant), or η·½(1 + cos(π·(t−W)/(T−W))) (cosine).
///
/// ```
/// use gnp::train::{LearningRate, Schedule};
/// let rate = LearningRate::new(0.1, Schedule::Cosine, 2, 12)?;
/// assert_eq!(rate.at(0), 0.05);
/// assert_eq!(rate.at(2), 0.1);
/// assert_eq!(rate.at(7), 0.05);
/// assert_eq!(rate.at(12), 0.0);
/// # Ok::<(), gnp::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearningRate {
    peak: f32,
    schedule: Schedule,
    warmup: u64,
    steps: u64,
}

impl LearningRate {
    /// A schedule with this peak, `warmup` steps of linear increase, over `steps` steps in all.
    ///
    /// # Errors
    /// Where the peak is negative or not finite.
    pub fn new(peak: f32, schedule: Schedule, warmup: u64, steps: u64) -> Result<Self> {
        if !(peak.is_finite() && peak >= 0.0) {
            return Err(Error::input(format!("the learning rate must be a number from 0 on, not {peak}")));
        }
        Ok(Self { peak, schedule, warmup, steps })
    }

    /// The learning rate of step `step`, counted from 0.
    pub fn at(&self, step: u64) -> f32 {
        let factor = if step < self.warmup {
            (step + 1) as f64 / self.warmup as f64
        } else {
            match self.schedule {
                Schedule::Constant => 1.0,
                Schedule::Cosine => {
                    let length = self.steps.saturating_sub(self.warmup).max(1);
                    let done = (step - self.warmup).min(length);
                    0.5 * (1.0 + (PI * done as f64 / length as f64).cos())
                }
            }
        };
        (f64::from(self.peak) * factor) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn schedules() -> impl Strategy<Value = Schedule> {
        prop_oneof![Just(Schedule::Constant), Just(Schedule::Cosine)]
    }

    proptest! {
        #[test]
        fn stays_between_zero_and_the_peak(
            peak in 0f32..10.0, schedule in schedules(), warmup in 0u64..100, steps in 0u64..100, step in 0u64..300,
        ) {
            let rate = LearningRate::new(peak, schedule, warmup, steps).unwrap().at(step);
            prop_assert!((0.0..=peak).contains(&rate));
        }

        #[test]
        fn rises_to_the_peak_and_never_after(
            schedule in schedules(), warmup in 1u64..100, more in 1u64..100,
        ) {
            let rate = LearningRate::new(1.0, schedule, warmup, warmup + more).unwrap();
            for step in 1..warmup {
                prop_assert!(rate.at(step) > rate.at(step - 1));
            }
            prop_assert_eq!(rate.at(warmup - 1), 1.0);
            prop_assert_eq!(rate.at(warmup), 1.0);
            for step in warmup + 1..warmup + more {
                prop_assert!(rate.at(step) <= rate.at(step - 1));
            }
        }
    }

    #[test]
    fn refuses_what_is_no_rate() {
        for peak in [-1.0, f32::NAN, f32::INFINITY] {
            assert!(LearningRate::new(peak, Schedule::Constant, 0, 1).is_err());
        }
    }
}
