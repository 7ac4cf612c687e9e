//! Heavy-ball and Nesterov momentum.

use super::{Training, Transform};
use gnp_model::graph::Value;

/// m ← μ·m + g; the update is m, or g + μ·m in Nesterov's form. PyTorch's `SGD(momentum, nesterov)` with its default
/// dampening of 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Momentum {
    /// μ, the input `gnp.momentum`.
    pub momentum: f32,
    /// Nesterov's form.
    pub nesterov: bool,
}

impl Transform for Momentum {
    fn apply(&self, training: &mut Training<'_>, gradients: Vec<Value>) -> Vec<Value> {
        let mu = training.hyperparameter("gnp.momentum", self.momentum);
        let update = |(i, g): (usize, &Value)| {
            training.builder.set_scope(&format!("momentum/{}", training.parameters()[i]));
            let next = training.slot(i, "momentum", |b, m| b.add(b.mul(m, &mu), g));
            if !self.nesterov {
                return next;
            }
            let b = &training.builder;
            b.add(b.mul(next, &mu), g)
        };
        gradients.iter().enumerate().map(update).collect()
    }
}
