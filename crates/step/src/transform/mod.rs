//! Gradient transformations: from the penalised gradient to the update of the parameters.
//!
//! A [`Transform`] takes a gradient per parameter and returns one per parameter; an optimizer is a chain of them, as in
//! optax. Numbers that a schedule may want to move are inputs of the graph ([`Training::hyperparameter`]), what is kept
//! from step to step are slots ([`Training::slot`]).

mod adam;
mod clip;
mod decay;
mod momentum;
mod optimizer;
mod rms_prop;
mod scale;
mod training;

pub use adam::Adam;
pub use clip::ClipByGlobalNorm;
pub use decay::WeightDecay;
pub use momentum::Momentum;
pub use optimizer::{Decay, Factors, Optimizer, OptimizerKind};
pub use rms_prop::RmsProp;
pub use scale::Scale;
pub use training::{Hyperparameter, State, Training, pass};

use gnp_model::graph::Value;

/// A function from gradients to gradients, as nodes.
pub trait Transform {
    /// Appends the transformation of `gradients`, one for each of the training's parameters, in their order, shapes and
    /// element types.
    fn apply(&self, training: &mut Training<'_>, gradients: Vec<Value>) -> Vec<Value>;
}
