//! Weight decay.

use super::{Training, Transform};
use crate::graph::Value;

/// g + w·θ with w = `gnp.weight_decay`. In front of an optimizer it is coupled decay (PyTorch's `weight_decay` of SGD, Adam and
/// RMSprop), behind it decoupled decay (AdamW: Loshchilov and Hutter, ICLR 2019).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightDecay {
    /// The weight w.
    pub rate: f32,
    /// Leave out parameters of rank 1 and below: biases, scales.
    pub skip_vectors: bool,
}

impl Transform for WeightDecay {
    fn apply(&self, training: &mut Training<'_>, gradients: Vec<Value>) -> Vec<Value> {
        let rate = training.hyperparameter("gnp.weight_decay", self.rate);
        let parameters = training.parameters().to_vec();
        let b = &mut training.builder;
        let decay = |(theta, g): (&Value, Value)| {
            if self.skip_vectors && b.fact(theta).rank().is_some_and(|rank| rank < 2) {
                return g;
            }
            b.set_scope(&format!("decay/{theta}"));
            let pull = b.mul(theta, &rate);
            b.add(&g, &pull)
        };
        parameters.iter().zip(gradients).map(decay).collect()
    }
}
