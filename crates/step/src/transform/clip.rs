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
        let b = &mut training.builder;
        b.set_scope("clip");
        let squares: Vec<_> = gradients.iter().map(|g| b.reduce_all("ReduceSumSquare", g)).collect();
        let sum = b.sum(&squares);
        let norm = b.unary("Sqrt", &sum);
        let norm = b.plus(&norm, 1e-6);
        let ratio = b.div(&most, &norm);
        let one = b.number(1.0, &ratio);
        let scale = b.binary("Min", &ratio, &one);
        gradients.iter().map(|g| b.mul(g, &scale)).collect()
    }
}
