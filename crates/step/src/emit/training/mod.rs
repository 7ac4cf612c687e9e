//! Artifacts for ONNX Runtime's training API, made of a forward model: what `generate_artifacts` of the package
//! `onnxruntime-training` makes, without Python, for every operator that has a gradient rule here.
//!
//! The training model has its inputs in the runtime's order: data; labels; numbers that are exposed; parameters, those
//! that do not train among them; for every trainable parameter p `p_grad.accumulation.buffer`; `lazy_reset_grad`
//! (bool\[1\]). It returns the loss, what the application sees besides, and `p_grad.accumulation.out`. What the optimizer
//! keeps beyond the runtime's own ([`FusedOptimizer`]) stands in the graph (`state.rs`).

mod assemble;
mod folder;
mod names;
mod optimizer;
mod state;
mod versions;

pub use assemble::assemble;
pub use folder::Written;
pub(crate) use names::first_taken;
pub use optimizer::optimizer_model;
pub use state::{COUNTER_ELEMENT, keep};
pub use versions::lower;

use crate::rewrite::StepConfig;
use crate::transform::FusedOptimizer;
use gnp_checkpoint::Checkpoint;
use gnp_model::onnx::Model;
use serde::{Deserialize, Serialize};

/// What an application sees of a training model besides data, labels and the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Make r the input [`R`](gnp_base::contract::R) (float scalar) in place of a constant.
    pub expose_r: bool,
    /// Make α the input [`ALPHA`](gnp_base::contract::ALPHA) (float scalar) in place of a constant.
    pub expose_alpha: bool,
    /// Make the other hyperparameters inputs, under their names in a step model.
    #[serde(default)]
    pub expose_others: bool,
    /// Return the metrics that a step model returns.
    pub metrics: bool,
    /// Return the loss without the predictions.
    #[serde(default)]
    pub loss_alone: bool,
}

/// Artifacts in memory, which belong together.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// Loss and gradients.
    pub training: Model,
    /// Loss and predictions; no gradients.
    pub eval: Model,
    /// The step.
    pub optimizer: Model,
    /// Where training begins.
    pub checkpoint: Checkpoint,
}

/// What stands in the metadata of a training model that was made of a forward model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The choices that a step model of it has.
    #[serde(flatten)]
    pub step: StepConfig,
    /// What the application sees.
    #[serde(flatten)]
    pub interface: Interface,
    /// What takes the step.
    pub fused: FusedOptimizer,
}
