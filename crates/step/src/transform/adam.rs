//! Adam.

use super::{Training, Transform};
use gnp_model::graph::Value;

/// Kingma and Ba, ICLR 2015, in PyTorch's form: m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g²; the update is
/// (m/(1−β₁ᵗ)) / (√v/√(1−β₂ᵗ) + ε).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// β₁, the input `gnp.beta1`.
    pub beta1: f32,
    /// β₂, the input `gnp.beta2`.
    pub beta2: f32,
    /// ε, the input `gnp.epsilon`.
    pub epsilon: f32,
}

impl Transform for Adam {
    fn apply(&self, training: &mut Training<'_>, gradients: Vec<Value>) -> Vec<Value> {
        let beta1 = training.hyperparameter("gnp.beta1", self.beta1);
        let beta2 = training.hyperparameter("gnp.beta2", self.beta2);
        let epsilon = training.hyperparameter("gnp.epsilon", self.epsilon);
        let t = training.step_number();
        let b = &training.builder;
        b.set_scope("adam");
        let (rest1, rest2) = (b.minus_from(1.0, &beta1), b.minus_from(1.0, &beta2));
        let correction = |beta: &Value| b.minus_from(1.0, b.binary("Pow", beta, &t));
        let (correction1, correction2) = (correction(&beta1), correction(&beta2));
        let correction2 = b.unary("Sqrt", correction2);
        let update = |(i, g): (usize, &Value)| {
            training.builder.set_scope(&format!("adam/{}", training.parameters()[i]));
            let first = training.slot(i, "adam_m", |b, m| b.add(b.mul(m, &beta1), b.mul(g, &rest1)));
            let second = training.slot(i, "adam_v", |b, v| {
                let square = b.mul(g, g);
                b.add(b.mul(v, &beta2), b.mul(square, &rest2))
            });
            let b = &training.builder;
            let denominator = b.add(b.div(b.unary("Sqrt", second), &correction2), &epsilon);
            b.div(b.div(first, &correction1), denominator)
        };
        gradients.iter().enumerate().map(update).collect()
    }
}
