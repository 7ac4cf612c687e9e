//! Weight decay.

use super::scale::scaled;
use super::{Training, Transform};
use gnp_model::graph::Value;

/// g + w·θ with w = `gnp.weight_decay`. In front of an optimizer it is coupled decay (PyTorch's `weight_decay` of SGD,
/// Adam and RMSprop), behind it decoupled decay (AdamW: Loshchilov and Hutter, ICLR 2019).
#[derive(Clone, Debug, PartialEq)]
pub struct WeightDecay {
    /// The weight w.
    pub rate: f32,
    /// Leave out parameters of rank 1 and below: biases, scales.
    pub skip_vectors: bool,
    /// A factor for each parameter; where it is 0 the parameter does not decay.
    pub factors: Vec<f32>,
}

impl Transform for WeightDecay {
    fn apply(&self, training: &mut Training<'_>, gradients: Vec<Value>) -> Vec<Value> {
        let rate = training.hyperparameter("gnp.weight_decay", self.rate);
        let (parameters, factors) = (training.parameters().to_vec(), training.one_each(&self.factors));
        let b = &training.builder;
        b.set_scope("decay");
        let rates = scaled(b, &rate, &factors);
        let decay = |((theta, g), (rate, factor)): ((&Value, Value), (&Value, &f32))| {
            if *factor == 0.0 || self.skip_vectors && b.fact(theta).rank().is_some_and(|rank| rank < 2) {
                return g;
            }
            b.set_scope(&format!("decay/{theta}"));
            b.add(g, b.mul(theta, rate))
        };
        parameters.iter().zip(gradients).zip(rates.iter().zip(&factors)).map(decay).collect()
    }
}
