//! The means of an epoch.

use super::metrics::{Mean, Measures};
use serde::{Deserialize, Serialize};

/// The means of all [`Measures`] over the samples of the steps so far, each over the steps that tell it. Of learning rate, r and
/// α there are no means: they are those of the last step.
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
}

impl Means {
    /// Adds the measures of a step over `samples` samples.
    pub fn add(&mut self, step: &Measures, samples: usize) {
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
        for (mean, value) in [
            (&mut self.loss, Some(loss)),
            (&mut self.loss_perturbed, loss_perturbed),
            (&mut self.sharpness, sharpness),
            (&mut self.grad_norm, grad_norm),
            (&mut self.mixed_grad_norm, mixed_grad_norm),
            (&mut self.param_norm, param_norm),
            (&mut self.error, error),
            (&mut self.top5_error, top5_error),
        ] {
            if let Some(value) = value {
                mean.add(value, samples);
            }
        }
        (self.learning_rate, self.r, self.alpha) = (learning_rate, r, alpha);
    }

    /// The number of samples.
    pub fn samples(&self) -> u64 {
        self.loss.samples()
    }

    /// The means; the loss of no sample is not a number.
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

    #[test]
    fn samples_weigh_alike_and_what_a_step_does_not_tell_is_left_out() {
        let mut means = Means::default();
        means.add(&measures(1.0, Some(0.5), Some(0.1)), 64);
        means.add(&measures(4.0, None, None), 32);
        assert_eq!(means.measures(), Measures { learning_rate: 4.0, ..measures(2.0, Some(0.5), None) });
        assert_eq!(means.samples(), 96);
        assert!(Means::default().measures().loss.is_nan());
    }

    #[test]
    fn what_is_no_number_survives_a_checkpoint() {
        let mut means = Means::default();
        means.add(&Measures { grad_norm: Some(f32::INFINITY), ..Measures::default() }, 1);
        let back: Means = serde_json::from_str(&serde_json::to_string(&means).unwrap()).unwrap();
        assert!(back.measures().grad_norm.is_some_and(f32::is_nan));
    }

    proptest! {
        #[test]
        fn a_checkpoint_holds_them_to_the_bit(
            steps in prop::collection::vec((0f32..10.0, prop::option::of(0f32..1.0), 1usize..1000), 0..50),
        ) {
            let mut means = Means::default();
            for (loss, error, samples) in steps {
                means.add(&measures(loss, error, error), samples);
            }
            let back: Means = serde_json::from_slice(&serde_json::to_vec_pretty(&means).unwrap()).unwrap();
            prop_assert_eq!(back, means);
        }
    }
}
