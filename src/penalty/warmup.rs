//! Warming the penalty up (Zhao, Zhang, Hu, "When Will Gradient Regularization Be Harmful?", ICML 2024, arXiv 2406.09723).

use crate::graph::{Fact, TypedBuilder, Value};
use crate::onnx::DataType;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What grows in the first steps, by s = min(1, steps done / warm-up steps).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Warmup {
    /// Nothing: r and alpha are what they are from the first step on
    #[default]
    None,
    /// The radius: r * s
    R,
    /// The weight of the penalty: alpha * s, and so lambda = r * alpha * s
    Lambda,
    /// The steps are plain until the warm-up ends
    Zero,
}

impl Warmup {
    /// Appends what r and α are after `steps_done` steps (an int64 scalar) of `warmup_steps` (a float scalar).
    pub fn append(
        self,
        b: &mut TypedBuilder<'_>,
        r: &Value,
        alpha: &Value,
        steps_done: &Value,
        warmup_steps: &Value,
    ) -> (Value, Value) {
        b.set_scope("warmup");
        let done = b.cast(steps_done, DataType::Float);
        if self == Self::Zero {
            let over = b.compare("GreaterOrEqual", &done, warmup_steps);
            let over = b.cast(&over, DataType::Float);
            return (b.mul(r, &over), alpha.clone());
        }
        let one = b.number_of(1.0, DataType::Float);
        let steps = b.binary("Max", warmup_steps, &one);
        let share = b.div(&done, &steps);
        let share = b.binary("Min", &share, &one);
        b.declare(&share, Fact::with_sizes(DataType::Float, &[]));
        match self {
            Self::None | Self::Zero => (r.clone(), alpha.clone()),
            Self::R => (b.mul(r, &share), alpha.clone()),
            Self::Lambda => (r.clone(), b.mul(alpha, &share)),
        }
    }
}
