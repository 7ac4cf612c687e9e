//! Clipping by the global norm.

use super::{Training, Transform};
use gnp_model::graph::Value;

/// Scales all gradients together so that their norm is at most `gnp.clip_norm`, as PyTorch's `clip_grad_norm_` does: by
/// min(1, c/(‖g‖₂ + 10⁻⁶)).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipByGlobalNorm {
    /// The largest norm, c.
    pub norm: f32,
}

impl Transform for ClipByGlobalNorm {
    fn apply(&self, training: &mut Training<'_>, gradients: Vec<Value>) -> Vec<Value> {
        let most = training.hyperparameter("gnp.clip_norm", self.norm);
        let b = &training.builder;
        b.set_scope("clip");
        let squares: Vec<_> = gradients.iter().map(|g| b.reduce_all("ReduceSumSquare", g)).collect();
        let norm = b.unary("Sqrt", b.sum(&squares));
        let ratio = b.div(most, b.plus(norm, 1e-6));
        let scale = b.binary("Min", &ratio, b.number(1.0, &ratio));
        gradients.iter().map(|g| b.mul(g, &scale)).collect()
    }
}
