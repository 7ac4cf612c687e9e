//! Gradient transformations: from the penalised gradient to the update of the parameters.
//!
//! A [`Transform`] takes a gradient per parameter and returns one per parameter; an optimizer is a chain of them, as in
//! optax. Numbers that a schedule may want to move are inputs of the graph ([`Training::hyperparameter`]), what is kept
//! from step to step are slots ([`Training::slot`]).

mod adam;
mod chain;
mod clip;
mod coefficients;
mod decay;
mod momentum;
mod optimizer;
mod rms_prop;
mod scale;
mod training;

pub use adam::Adam;
pub use chain::Chain;
pub use clip::ClipByGlobalNorm;
pub use coefficients::Fed;
pub use decay::WeightDecay;
pub use momentum::Momentum;
pub use optimizer::{Decay, Factors, FusedOptimizer, Optimizer, OptimizerKind};
pub use rms_prop::RmsProp;
pub use scale::Scale;
pub use training::{Hyperparameter, State, Training};

use gnp_model::graph::Value;
use std::fmt;

/// A function from gradients to gradients, as nodes. [`Chain`] shows how to add one. Its `Debug` text is what a step
/// model's metadata says of it.
pub trait Transform: fmt::Debug + Send + Sync {
    /// Appends the transformation of `gradients`, one for each of the training's parameters, in their order, shapes and
    /// element types.
    fn apply(&self, training: &mut Training<'_>, gradients: Vec<Value>) -> Vec<Value>;
}
