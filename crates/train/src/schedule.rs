//! The learning rate as a function of the step.

use super::span::Span;
use gnp_base::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How the learning rate goes on after the warm-up. `final_share` is where it ends, as a share of the peak.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Schedule {
    /// At its peak to the end.
    #[default]
    Constant,
    /// Times γ at each milestone (He et al., CVPR 2016).
    Stepped {
        /// Epochs since the beginning of the run, the warm-up included, in rising order; fractions are allowed.
        milestones: Vec<f64>,
        /// γ.
        gamma: f64,
    },
    /// Down along half a cosine (Loshchilov & Hutter, SGDR, ICLR 2017, without restarts).
    Cosine {
        /// Where it ends, from 0 to 1.
        final_share: f64,
    },
    /// By the same factor with each step.
    Exponential {
        /// Where it ends, from above 0 to 1.
        final_share: f64,
    },
    /// By the same amount with each step.
    Linear {
        /// Where it ends, from 0 to 1.
        final_share: f64,
    },
}

impl Schedule {
    /// γ where none is given.
    pub const GAMMA: f64 = 0.1;
    /// The end of an exponential schedule where none is given: what EfficientNet's factor of 0.97 every 2.4 epochs (Tan
    /// & Le, ICML 2019) comes to in 350 epochs.
    pub const EXPONENTIAL_FINAL_SHARE: f64 = 0.012;

    /// Whether the rate of a step depends on how long the run is.
    pub fn depends_on_length(&self) -> bool {
        !matches!(self, Self::Constant | Self::Stepped { .. })
    }

    fn validate(&self) -> Result<()> {
        match self {
            Self::Constant => Ok(()),
            Self::Stepped { milestones, gamma } => {
                let rise = milestones.windows(2).all(|pair| pair[0] < pair[1]);
                if !rise || milestones.iter().any(|epoch| !(epoch.is_finite() && *epoch > 0.0)) {
                    return Err(Error::input("the milestones must be epochs above 0, in rising order")
                        .help("as in --milestones 60,120,160"));
                }
                if !(*gamma > 0.0 && *gamma <= 1.0) {
                    return Err(Error::input(format!("gamma must be above 0 and not above 1, not {gamma}")));
                }
                Ok(())
            }
            Self::Cosine { final_share } | Self::Linear { final_share } => {
                if (0.0..=1.0).contains(final_share) {
                    return Ok(());
                }
                Err(Error::input(format!(
                    "the final learning rate must be a share from 0 to 1 of the peak, not {final_share}"
                )))
            }
            Self::Exponential { final_share } => {
                if *final_share > 0.0 && *final_share <= 1.0 {
                    return Ok(());
                }
                Err(Error::input(format!(
                    "the final learning rate of an exponential schedule must be above 0 and not above 1, as a share of the peak, \
                     not {final_share}"
                ))
                .help("no factor leads to 0; --schedule linear or cosine do"))
            }
        }
    }
}

/// The learning rate of every step of a run. With the peak η, W warm-up steps, T steps in all and the final share f,
/// step t (from 0) is taken with
///
/// - η·(t+1)/W for t < W, and then, where s = (t−W)/(T−W),
/// - η (constant),
/// - η·γᵐ, with m the number of milestones not after t (stepped),
/// - η·(f + (1−f)·½(1 + cos πs)) (cosine),
/// - η·fˢ (exponential),
/// - η·(1 − (1−f)·s) (linear).
///
/// ```
/// use gnp_train::{Span, LearningRate, Schedule};
/// let rate = LearningRate::new(0.1, &Schedule::Cosine { final_share: 0.0 }, Span::Steps(2), 3, 4)?;
/// assert_eq!(rate.at(0), 0.05);
/// assert_eq!(rate.at(2), 0.1);
/// assert_eq!(rate.at(7), 0.05);
/// assert_eq!(rate.at(12), 0.0);
/// # Ok::<(), gnp_base::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LearningRate {
    peak: f32,
    schedule: Schedule,
    warmup: u64,
    steps: u64,
    /// The milestones of a stepped schedule, in steps.
    milestones: Vec<u64>,
}

impl LearningRate {
    /// The rate with this peak, which is reached at the end of `warmup`, in a run of `epochs` epochs of
    /// `steps_per_epoch` steps.
    ///
    /// # Errors
    /// Where the peak is negative or not finite, or the schedule's numbers are out of range.
    pub fn new(peak: f32, schedule: &Schedule, warmup: Span, epochs: u64, steps_per_epoch: u64) -> Result<Self> {
        if !(peak.is_finite() && peak >= 0.0) {
            return Err(Error::input(format!("the learning rate must be a number from 0 on, not {peak}")));
        }
        schedule.validate()?;
        let milestones = match schedule {
            Schedule::Stepped { milestones, .. } => {
                milestones.iter().map(|&epoch| Span::Epochs(epoch).steps(steps_per_epoch)).collect()
            }
            _ => vec![],
        };
        Ok(Self {
            peak,
            schedule: schedule.clone(),
            warmup: warmup.steps(steps_per_epoch),
            steps: epochs.saturating_mul(steps_per_epoch),
            milestones,
        })
    }

    /// The learning rate of step `step`, counted from 0.
    pub fn at(&self, step: u64) -> f32 {
        let factor = match step.checked_sub(self.warmup) {
            None => (step + 1) as f64 / self.warmup as f64,
            Some(after) => self.factor(step, after),
        };
        (f64::from(self.peak) * factor) as f32
    }

    /// The share of the peak at `step`, which is `after` steps after the warm-up.
    fn factor(&self, step: u64, after: u64) -> f64 {
        let length = self.steps.saturating_sub(self.warmup).max(1);
        let done = after.min(length) as f64 / length as f64;
        match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Stepped { gamma, .. } => {
                let passed = self.milestones.iter().filter(|&&milestone| milestone <= step).count();
                gamma.powi(passed as i32)
            }
            Schedule::Cosine { final_share } => final_share + (1.0 - final_share) * 0.5 * (1.0 + (PI * done).cos()),
            Schedule::Exponential { final_share } => final_share.powf(done),
            Schedule::Linear { final_share } => 1.0 - (1.0 - final_share) * done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn schedules() -> impl Strategy<Value = Schedule> {
        prop_oneof![
            Just(Schedule::Constant),
            (proptest::collection::btree_set(1u32..40, 0..4), 0.01f64..=1.0).prop_map(|(at, gamma)| {
                Schedule::Stepped { milestones: at.into_iter().map(|half| f64::from(half) / 2.0).collect(), gamma }
            }),
            (0f64..=1.0).prop_map(|final_share| Schedule::Cosine { final_share }),
            (1e-3f64..=1.0).prop_map(|final_share| Schedule::Exponential { final_share }),
            (0f64..=1.0).prop_map(|final_share| Schedule::Linear { final_share }),
        ]
    }

    fn final_share(schedule: &Schedule) -> Option<f64> {
        match schedule {
            Schedule::Cosine { final_share }
            | Schedule::Exponential { final_share }
            | Schedule::Linear { final_share } => Some(*final_share),
            _ => None,
        }
    }

    proptest! {
        #[test]
        fn stays_between_zero_and_the_peak(
            peak in 0f32..10.0, schedule in schedules(), warmup in 0u64..100, epochs in 0u64..30, step in 0u64..300,
        ) {
            let rate = LearningRate::new(peak, &schedule, Span::Steps(warmup), epochs, 5).unwrap().at(step);
            prop_assert!((0.0..=peak).contains(&rate));
        }

        #[test]
        fn rises_to_the_peak_and_never_after(schedule in schedules(), warmup in 1u64..100, more in 1u64..100) {
            let rate = LearningRate::new(1.0, &schedule, Span::Steps(warmup), warmup + more, 1).unwrap();
            for step in 1..warmup {
                prop_assert!(rate.at(step) > rate.at(step - 1));
            }
            prop_assert_eq!(rate.at(warmup - 1), 1.0);
            if !matches!(schedule, Schedule::Stepped { .. }) {
                prop_assert_eq!(rate.at(warmup), 1.0);
            }
            for step in warmup + 1..warmup + more {
                prop_assert!(rate.at(step) <= rate.at(step - 1));
            }
        }

        #[test]
        fn ends_at_its_final_share(schedule in schedules(), warmup in 0u64..50, more in 1u64..100) {
            let rate = LearningRate::new(1.0, &schedule, Span::Steps(warmup), warmup + more, 1).unwrap();
            if let Some(share) = final_share(&schedule) {
                prop_assert!((f64::from(rate.at(warmup + more)) - share).abs() <= 1e-6);
            }
        }
    }

    #[test]
    fn is_that_of_pytorch() {
        let fixture: Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/schedules/schedules.json")).unwrap();
        let runs = fixture["runs"].as_array().unwrap();
        assert!(runs.len() >= 10);
        for run in runs {
            let schedule: Schedule = serde_json::from_value(run["schedule"].clone()).unwrap();
            let number = |name: &str| run[name].as_u64().unwrap();
            let warmup: Span = serde_json::from_value(run["warmup"].clone()).unwrap();
            let (epochs, steps_per_epoch) = (number("epochs"), number("steps_per_epoch"));
            let peak = run["peak"].as_f64().unwrap() as f32;
            let rate = LearningRate::new(peak, &schedule, warmup, epochs, steps_per_epoch).unwrap();
            let expected: Vec<f64> = serde_json::from_value(run["rates"].clone()).unwrap();
            assert_eq!(expected.len() as u64, epochs * steps_per_epoch);
            for (step, expected) in expected.into_iter().enumerate() {
                let error = (f64::from(rate.at(step as u64)) / expected - 1.0).abs();
                assert!(error <= 1e-6, "{schedule:?} at step {step}: {error}");
            }
        }
    }

    #[test]
    fn refuses_what_is_no_rate() {
        let refused = |peak, schedule| LearningRate::new(peak, &schedule, Span::default(), 1, 1).is_err();
        for peak in [-1.0, f32::NAN, f32::INFINITY] {
            assert!(refused(peak, Schedule::Constant));
        }
        let stepped = |milestones: &[f64], gamma| Schedule::Stepped { milestones: milestones.to_vec(), gamma };
        for schedule in [
            stepped(&[2.0, 1.0], 0.1),
            stepped(&[0.0], 0.1),
            stepped(&[f64::NAN], 0.1),
            stepped(&[1.0], 0.0),
            stepped(&[1.0], 2.0),
            Schedule::Cosine { final_share: -0.1 },
            Schedule::Linear { final_share: 1.5 },
            Schedule::Exponential { final_share: 0.0 },
            Schedule::Exponential { final_share: f64::NAN },
        ] {
            assert!(refused(0.1, schedule.clone()), "{schedule:?}");
        }
    }
}
