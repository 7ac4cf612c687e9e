//! What happens in a run, and a mean of it.

use crate::{Counts, Measures, Scores};
use serde::{Deserialize, Deserializer, Serialize};

/// A weighted mean, summed in double precision.
///
/// ```
/// use gnp_report::Mean;
/// let mut loss = Mean::default();
/// loss.add(1.0, 64.0);
/// loss.add(4.0, 32.0);
/// assert_eq!(loss.value(), Some(2.0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    #[serde(deserialize_with = "null_as_nan")]
    sum: f64,
    weight: f64,
}

impl Mean {
    /// Adds `value`, itself the mean of what weighs `weight` together: so many samples, say. What weighs nothing
    /// changes nothing.
    pub fn add(&mut self, value: f32, weight: f64) {
        if weight > 0.0 {
            self.sum += f64::from(value) * weight;
            self.weight += weight;
        }
    }

    /// The mean; none before anything was added.
    pub fn value(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

/// JSON has no number for what is none, and `null` is written in its place.
fn null_as_nan<'de, D: Deserializer<'de>, T: Deserialize<'de> + From<f32>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(T::from(f32::NAN)))
}

/// What happens in a run: a line of `metrics.jsonl` each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A training step was taken.
    Step(StepReport),
    /// An epoch ended, its evaluation included.
    Epoch(EpochReport),
}

/// One training step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// The epoch, from 1.
    pub epoch: u64,
    /// The step within the run, from 1.
    pub step: u64,
    /// What was measured.
    #[serde(flatten)]
    pub measures: Measures,
    /// The step's duration in seconds, the wait for its data included.
    pub seconds: f64,
    /// How much of it was spent waiting for data, in seconds.
    pub data_seconds: f64,
    /// Samples in a second.
    pub examples_per_second: f64,
    /// What was counted of the batch: what the step weighs in a mean.
    #[serde(skip)]
    pub counts: Counts,
}

/// One epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// The epoch, from 1.
    pub epoch: u64,
    /// The steps taken in the run so far.
    pub step: u64,
    /// Means over the epoch, each at the parameters of its step: losses and errors over the labels that count, norms
    /// over the samples. Learning rate, r and α are those of the last step.
    #[serde(flatten)]
    pub measures: Measures,
    /// The mean loss over the labels of the test set that count, where there is one and it was evaluated after this
    /// epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_loss: Option<f64>,
    /// The fraction of them that is wrong, from 0 to 1, where the evaluation graph tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_error: Option<f64>,
    /// The fraction of them whose class is not among the five largest logits; of a class a sample, with six classes or
    /// more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_top5_error: Option<f64>,
    /// What else tells how good the model is on the test set.
    #[serde(default, skip_serializing_if = "Scores::is_empty")]
    pub test_scores: Scores,
    /// The duration of the epoch's training steps in seconds.
    pub seconds: f64,
    /// How much of it was spent waiting for data, in seconds.
    pub data_seconds: f64,
    /// Training samples in a second.
    pub examples_per_second: f64,
}

impl EpochReport {
    /// What tells a better epoch from a worse one where nothing else was asked for: the test error, else the test loss;
    /// less is better. None where the epoch was not evaluated, or what it came to is no number.
    pub fn score(&self) -> Option<f64> {
        self.known_test_error().or(self.test_loss).filter(|score| score.is_finite())
    }

    /// The test error; NaN where the loss of the same evaluation is, since the model then says nothing of some samples.
    pub fn known_test_error(&self) -> Option<f64> {
        let is_none = self.test_loss.is_some_and(f64::is_nan);
        self.test_error.map(|error| if is_none { f64::NAN } else { error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evaluation_that_is_no_number_has_no_score() {
        let of = |test_loss, test_error| EpochReport { test_loss, test_error, ..EpochReport::default() }.score();
        assert_eq!(of(Some(0.5), Some(0.25)), Some(0.25));
        assert_eq!(of(Some(f64::NAN), Some(0.25)), None);
        assert_eq!(of(Some(f64::INFINITY), None), None);
    }

    #[test]
    fn the_empty_mean_is_unknown() {
        assert_eq!(Mean::default().value(), None);
    }

    #[test]
    fn a_loss_that_is_no_number_can_be_read_again() {
        let measures = Measures { loss: f32::INFINITY, ..Measures::default() };
        let line = serde_json::to_string(&Event::Step(StepReport { measures, ..StepReport::default() })).unwrap();
        let Event::Step(report) = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
        assert!(report.measures.loss.is_nan());
    }

    #[test]
    fn an_event_is_one_flat_object() {
        let event = Event::Step(StepReport {
            epoch: 1,
            step: 2,
            measures: Measures { loss: 0.5, learning_rate: 0.25, grad_norm: Some(3.0), ..Measures::default() },
            seconds: 1.0,
            data_seconds: 0.0,
            examples_per_second: 64.0,
            counts: Counts::default(),
        });
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(
            line,
            r#"{"kind":"step","epoch":1,"step":2,"loss":0.5,"grad_norm":3.0,"learning_rate":0.25,"seconds":1.0,"data_seconds":0.0,"examples_per_second":64.0}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }
}
