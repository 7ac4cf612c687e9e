//! The means of an epoch.

use crate::Counts;
use crate::{Mean, Measures};
use serde::{Deserialize, Serialize};

/// The means of all [`Measures`] over the steps so far, each over the steps that tell it: of losses by what they weigh,
/// of errors over the labels that count, of norms over the samples. Of learning rate, r and α there are no means: they
/// are those of the last step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Means {
    loss: Mean,
    loss_perturbed: Mean,
    sharpness: Mean,
    grad_norm: Mean,
    mixed_grad_norm: Mean,
    param_norm: Mean,
    error: Mean,
    top5_error: Mean,
    learning_rate: f32,
    r: Option<f32>,
    alpha: Option<f32>,
    samples: u64,
}

impl Means {
    /// Adds the measures of a step of which `counts` were taken.
    pub fn add(&mut self, step: &Measures, counts: &Counts) {
        let Measures {
            loss,
            loss_perturbed,
            sharpness,
            grad_norm,
            mixed_grad_norm,
            param_norm,
            error,
            top5_error,
            learning_rate,
            r,
            alpha,
        } = *step;
        let Counts { weight, labels, .. } = *counts;
        let samples = counts.samples as f64;
        for (mean, value, weight) in [
            (&mut self.loss, Some(loss), weight),
            (&mut self.loss_perturbed, loss_perturbed, weight),
            (&mut self.sharpness, sharpness, weight),
            (&mut self.grad_norm, grad_norm, samples),
            (&mut self.mixed_grad_norm, mixed_grad_norm, samples),
            (&mut self.param_norm, param_norm, samples),
            (&mut self.error, error, labels),
            (&mut self.top5_error, top5_error, labels),
        ] {
            if let Some(value) = value {
                mean.add(value, weight);
            }
        }
        self.samples += counts.samples as u64;
        (self.learning_rate, self.r, self.alpha) = (learning_rate, r, alpha);
    }

    /// The number of samples.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The means; the loss of nothing is not a number.
    pub fn measures(&self) -> Measures {
        let value = |mean: &Mean| mean.value().map(|value| value as f32);
        Measures {
            loss: value(&self.loss).unwrap_or(f32::NAN),
            loss_perturbed: value(&self.loss_perturbed),
            sharpness: value(&self.sharpness),
            grad_norm: value(&self.grad_norm),
            mixed_grad_norm: value(&self.mixed_grad_norm),
            param_norm: value(&self.param_norm),
            error: value(&self.error),
            top5_error: value(&self.top5_error),
            learning_rate: self.learning_rate,
            r: self.r,
            alpha: self.alpha,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn measures(loss: f32, error: Option<f32>, r: Option<f32>) -> Measures {
        Measures { loss, error, r, learning_rate: loss, ..Measures::default() }
    }

    fn samples(count: usize) -> Counts {
        Counts { samples: count, weight: count as f64, labels: count as f64, ..Counts::default() }
    }

    #[test]
    fn samples_weigh_alike_and_what_a_step_does_not_tell_is_left_out() {
        let mut means = Means::default();
        means.add(&measures(1.0, Some(0.5), Some(0.1)), &samples(64));
        means.add(&measures(4.0, None, None), &samples(32));
        assert_eq!(means.measures(), Measures { learning_rate: 4.0, ..measures(2.0, Some(0.5), None) });
        assert_eq!(means.samples(), 96);
        assert!(Means::default().measures().loss.is_nan());
    }

    #[test]
    fn labels_that_do_not_count_weigh_nothing() {
        let mut means = Means::default();
        let step = |loss, error, grad_norm| Measures { loss, error, grad_norm: Some(grad_norm), ..Measures::default() };
        means.add(&step(1.0, Some(0.25), 3.0), &Counts { weight: 8.0, labels: 4.0, ..samples(1) });
        means.add(&step(4.0, Some(1.0), 5.0), &Counts { weight: 4.0, labels: 12.0, ..samples(1) });
        means.add(&step(0.0, None, 1.0), &Counts { weight: 0.0, labels: 0.0, ..samples(1) });
        let found = means.measures();
        assert_eq!((found.loss, found.error, found.grad_norm), (2.0, Some(0.8125), Some(3.0)));
        assert_eq!(means.samples(), 3);
    }

    #[test]
    fn what_is_no_number_survives_a_checkpoint() {
        let mut means = Means::default();
        means.add(&Measures { grad_norm: Some(f32::INFINITY), ..Measures::default() }, &samples(1));
        let back: Means = serde_json::from_str(&serde_json::to_string(&means).unwrap()).unwrap();
        assert!(back.measures().grad_norm.is_some_and(f32::is_nan));
    }

    proptest! {
        #[test]
        fn a_checkpoint_holds_them_to_the_bit(
            steps in prop::collection::vec((0f32..10.0, prop::option::of(0f32..1.0), 1usize..1000), 0..50),
        ) {
            let mut means = Means::default();
            for (loss, error, count) in steps {
                means.add(&measures(loss, error, error), &samples(count));
            }
            let back: Means = serde_json::from_slice(&serde_json::to_vec_pretty(&means).unwrap()).unwrap();
            prop_assert_eq!(back, means);
        }
    }
}
