//! What runs a training graph: load, step, evaluate, state.
//!
//! An [`Engine`] holds one training run: the parameters, the optimizer's state and the means to move them. The loop in
//! [`crate::train`] knows nothing else of it.

mod device;
pub mod ort_training;
mod port;
pub mod runtime;
mod tensor;

pub use device::Device;
pub use ort_training::OrtTraining;
pub use port::{Port, check_batch};
pub use tensor::{ElementType, Tensor};

use crate::Result;
use std::path::Path;

/// What one step is taken with. All are dimensionless.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// The optimizer's learning rate.
    pub learning_rate: f32,
    /// The perturbation's radius r; needed where the graph has an input `gnp.r`.
    pub r: Option<f32>,
    /// The mixing weight α; needed where the graph has an input `gnp.alpha`.
    pub alpha: Option<f32>,
}

/// One training run on one device.
pub trait Engine {
    /// What a batch consists of, in order: the data inputs, then the labels. Hyperparameters are not among them.
    fn batch_ports(&self) -> &[Port];

    /// The names of the values that [`Engine::step`] returns, the loss first.
    fn step_outputs(&self) -> &[String];

    /// The names of the values that [`Engine::evaluate`] returns, the loss first.
    fn evaluate_outputs(&self) -> &[String];

    /// One training step on `batch` (one tensor a port): gradient, optimizer update, gradients reset.
    ///
    /// # Errors
    /// Where the runtime refuses the batch, or a rate that the graph needs is not given.
    fn step(&mut self, batch: &[Tensor], rates: &Rates) -> Result<Vec<Tensor>>;

    /// The evaluation graph on `batch`, with the parameters as they stand; changes nothing.
    ///
    /// # Errors
    /// Where the runtime refuses the batch, or there is no evaluation graph.
    fn evaluate(&mut self, batch: &[Tensor]) -> Result<Vec<Tensor>>;

    /// Writes the parameters and the optimizer's state to `file`, from which a new engine can go on.
    ///
    /// # Errors
    /// Where the file cannot be written.
    fn save(&mut self, file: &Path) -> Result<()>;

    /// Writes the trained model for inference to `file`.
    ///
    /// # Errors
    /// Where the file cannot be written, or there is no evaluation graph to take it from.
    fn export(&mut self, file: &Path) -> Result<()>;
}
