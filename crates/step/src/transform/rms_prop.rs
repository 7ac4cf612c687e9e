//! RMSProp.

use super::{Training, Transform};
use gnp_model::graph::Value;

/// PyTorch's `RMSprop`, not centred: v ← ρv + (1−ρ)g²; the update is g/(√v + ε).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    /// ρ, PyTorch's `alpha`, the input `gnp.rho`.
    pub rho: f32,
    /// ε, the input `gnp.epsilon`.
    pub epsilon: f32,
}

impl Transform for RmsProp {
    fn apply(&self, training: &mut Training<'_>, gradients: Vec<Value>) -> Vec<Value> {
        let rho = training.hyperparameter("gnp.rho", self.rho);
        let epsilon = training.hyperparameter("gnp.epsilon", self.epsilon);
        training.builder.set_scope("rmsprop");
        let rest = training.builder.minus_from(1.0, &rho);
        let update = |(i, g): (usize, &Value)| {
            training.builder.set_scope(&format!("rmsprop/{}", training.parameters()[i]));
            let mean_square = training.slot(i, "rmsprop_v", |b, v| {
                let square = b.mul(g, g);
                b.add(b.mul(v, &rho), b.mul(square, &rest))
            });
            let b = &training.builder;
            b.div(g, b.add(b.unary("Sqrt", mean_square), &epsilon))
        };
        gradients.iter().enumerate().map(update).collect()
    }
}
