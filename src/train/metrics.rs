//! What is measured while training, and how it is averaged.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

/// A weighted mean, summed in double precision.
///
/// ```
/// use gnp::train::Mean;
/// let mut loss = Mean::default();
/// loss.add(1.0, 64);
/// loss.add(4.0, 32);
/// assert_eq!(loss.value(), Some(2.0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    sum: f64,
    weight: u64,
}

impl Mean {
    /// Adds `value`, itself the mean of `weight` samples.
    pub fn add(&mut self, value: f32, weight: usize) {
        self.sum += f64::from(value) * weight as f64;
        self.weight += weight as u64;
    }

    /// The mean; none before anything was added.
    pub fn value(&self) -> Option<f64> {
        (self.weight > 0).then(|| self.sum / self.weight as f64)
    }

    /// The number of samples.
    pub fn samples(&self) -> u64 {
        self.weight
    }
}

/// How many rows of `logits` (`[batch, classes]`) are largest at their label. A row with a NaN is never right; of equal
/// largest logits the first counts.
///
/// ```
/// use ndarray::array;
/// let logits = array![[0.1, 0.9], [0.8, 0.2], [0.5, 0.5]];
/// assert_eq!(gnp::train::count_correct(logits.view(), &[1, 1, 0]), 2);
/// ```
pub fn count_correct(logits: ArrayView2<'_, f32>, labels: &[i64]) -> usize {
    let is_right = |row: ndarray::ArrayView1<'_, f32>, label: i64| {
        let mut best = (0, f32::NEG_INFINITY);
        for (class, &logit) in row.iter().enumerate() {
            if logit.is_nan() {
                return false;
            }
            if logit > best.1 {
                best = (class, logit);
            }
        }
        best.0 as i64 == label
    };
    logits.rows().into_iter().zip(labels).filter(|(row, label)| is_right(*row, **label)).count()
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// The epoch, from 1.
    pub epoch: u64,
    /// The step within the run, from 1.
    pub step: u64,
    /// The loss at the parameters before the step, as the training graph returns it.
    pub loss: f32,
    /// The learning rate that the step was taken with.
    pub learning_rate: f32,
    /// The step's duration in seconds.
    pub seconds: f64,
    /// Samples in a second.
    pub examples_per_second: f64,
    /// ‖∇L(θ)‖, where the graph returns `gnp.grad_norm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grad_norm: Option<f32>,
    /// The loss at the perturbed parameters, where the graph returns `gnp.loss_perturbed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_perturbed: Option<f32>,
}

/// One epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// The epoch, from 1.
    pub epoch: u64,
    /// The steps taken in the run so far.
    pub step: u64,
    /// The mean of the training loss over the epoch's samples, each at the parameters of its step.
    pub loss: f64,
    /// The mean loss over the test set, where there is one.
    pub test_loss: Option<f64>,
    /// The fraction of the test set that is classified right, from 0 to 1, where the evaluation graph returns logits.
    pub accuracy: Option<f64>,
    /// The learning rate of the epoch's last step.
    pub learning_rate: f32,
    /// The duration of the epoch's training steps in seconds.
    pub seconds: f64,
    /// Training samples in a second.
    pub examples_per_second: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn the_empty_mean_is_unknown() {
        assert_eq!(Mean::default().value(), None);
    }

    #[test]
    fn a_diverged_model_is_never_right() {
        let logits = array![[f32::NAN, f32::NAN], [f32::NAN, 1.0]];
        assert_eq!(count_correct(logits.view(), &[0, 1]), 0);
    }

    #[test]
    fn an_event_is_one_flat_object() {
        let event = Event::Step(StepReport {
            epoch: 1,
            step: 2,
            loss: 0.5,
            learning_rate: 0.25,
            seconds: 1.0,
            examples_per_second: 64.0,
            grad_norm: Some(3.0),
            loss_perturbed: None,
        });
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(
            line,
            r#"{"kind":"step","epoch":1,"step":2,"loss":0.5,"learning_rate":0.25,"seconds":1.0,"examples_per_second":64.0,"grad_norm":3.0}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }
}
