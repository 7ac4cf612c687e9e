//! The scale of the loss, as state of a step.
//!
//! Gradients of float16 are lost below 6e-8. So the sweep begins with s in place of 1, and what it ends with is divided
//! by s in float32. Where a gradient is not finite the step keeps the state that it was given, and s is halved.

use super::LossScale;
use crate::penalty::{Metrics, is_finite};
use crate::transform::{State, Training};
use gnp_base::contract::{LOSS_SCALE, LOSS_SCALE_STEPS, SCALED_BY, SKIPPED};
use gnp_model::graph::{Builder, Fact, Graph, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::TensorProto;

/// The scale grows no further, so that it stays a number where gradients are zero.
pub(super) const LARGEST: f32 = 16_777_216.0;
/// After so many steps in a row that were taken it is doubled, as in PyTorch's `GradScaler`.
const STEPS: i64 = 2000;

/// A scale of the loss that the graph reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LossScaling {
    first: f32,
}

/// What follows from a step.
#[derive(Clone, Debug)]
pub struct Scaled {
    /// Scale and count, with their first values.
    pub(crate) state: Vec<(State, TensorProto)>,
    /// The scale of this step, a float scalar.
    by: Value,
    /// A float scalar: 1 where the step was not taken, else 0.
    skipped: Value,
}

impl Scaled {
    /// The numbers that a step returns, under their names.
    pub fn named(&self) -> [(&'static str, &Value); 2] {
        [(SCALED_BY, &self.by), (SKIPPED, &self.skipped)]
    }
}

impl LossScaling {
    /// Declares the scale to `graph`, where there is one.
    pub fn of(scale: LossScale, graph: &mut Graph) -> Option<Self> {
        let LossScale::Dynamic(first) = scale else { return None };
        graph.declare(LOSS_SCALE, Fact::with_sizes(DataType::Float, &[]));
        graph.declare(LOSS_SCALE_STEPS, Fact::with_sizes(DataType::Int64, &[]));
        Some(Self { first })
    }

    /// Whether a step is taken: a boolean scalar.
    pub fn is_taken(b: &Builder<'_>, metrics: &Metrics) -> Value {
        let first = is_finite(b, &metrics.gradient_norm, "loss_scale/finite");
        if metrics.gradient_norm == metrics.mixed_gradient_norm {
            return first;
        }
        let mixed = is_finite(b, &metrics.mixed_gradient_norm, "loss_scale/finite_mix");
        b.named("loss_scale/taken", "And", &[&first, &mixed], Fact::with_sizes(DataType::Bool, &[]))
    }

    /// Appends the next scale, after a step that was `taken` or was not.
    pub fn append(self, training: &Training<'_>, taken: &Value) -> Scaled {
        let b = &training.builder;
        b.set_scope("loss_scale");
        let (scale, steps) = (Value::from(LOSS_SCALE), Value::from(LOSS_SCALE_STEPS));
        let count = b.add(&steps, b.int64(1));
        let is_over = b.compare("GreaterOrEqual", &count, b.int64(STEPS));
        let larger = b.binary("Min", b.scale(&scale, 2.0), b.number_of(LARGEST.into(), DataType::Float));
        let grown = b.select(&is_over, &larger, &scale);
        let next_scale = b.select(taken, grown, b.scale(&scale, 0.5));
        let none = b.int64(0);
        let next_steps = b.select(taken, b.select(&is_over, &none, count), &none);
        let skipped = b.cast(b.unary("Not", taken), DataType::Float);
        let first = TensorProto::raw(LOSS_SCALE, DataType::Float, &[], self.first.to_le_bytes().to_vec().into());
        let count = TensorProto::raw(LOSS_SCALE_STEPS, DataType::Int64, &[], vec![0; 8].into());
        let state =
            [(State { name: scale, next: next_scale }, first), (State { name: steps, next: next_steps }, count)];
        Scaled { state: state.into(), by: LOSS_SCALE.into(), skipped }
    }
}
