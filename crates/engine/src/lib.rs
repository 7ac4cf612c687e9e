//! What runs a training graph: load, step, evaluate, state.
//!
//! An [`Engine`] holds one training run: the parameters, the optimizer's state and the means to move them. The loop in
//! `gnp-train` knows nothing else of it. ONNX Runtime's training artifacts have one engine, `OrtTraining`; a step
//! model, which is an ordinary graph, has `Ort` and `Tract`, whose [`State`] moves from one to the other. What loads
//! step models is a [`Backend`], so that an engine of another crate trains as these do.
//!
//! The features `ort` (ONNX Runtime and its training API), `install` (fetching an ONNX Runtime) and `tract` are all on
//! by default; any of them does without the others, but for `install`, which needs `ort`.
//!
//! ```no_run
//! # #[cfg(feature = "tract")] {
//! use gnp_engine::{Engine as _, EngineOptions, Rates, StepEngine as _, Tract};
//! use gnp_tensor::{ElementType, Tensor};
//! let step = gnp_model::onnx::read("step.onnx")?;
//! let mut engine = Tract::load(&step, None, &EngineOptions::default())?;
//! let batch = [Tensor::zeros(ElementType::F32, &[32, 64]), Tensor::zeros(ElementType::I64, &[32])];
//! let returned = engine.step(&batch, &Rates::new(0.1))?;
//! println!("loss {:?}", returned[0].to_scalar());
//! # }
//! # Ok::<(), gnp_base::Error>(())
//! ```

mod available;
mod device;
mod half;
mod initializer;
mod kernels;
mod options;
#[cfg(feature = "ort")]
pub mod ort;
#[cfg(feature = "ort")]
pub mod ort_training;
mod ports;
mod profile;
#[cfg(feature = "ort")]
pub mod runtime;
mod state;
pub mod step_model;
#[cfg(feature = "tract")]
pub mod tract;

#[cfg(feature = "ort")]
pub use self::ort::Ort;
#[cfg(feature = "tract")]
pub use self::tract::Tract;
pub use available::{Available, Backend, EngineKind};
pub use device::Device;
pub use half::half_of;
pub use kernels::Kernels;
pub use options::{CudaGraph, EngineOptions, HalfPrecision, Layout, OrtOption, Tf32};
#[cfg(feature = "ort")]
pub use ort_training::{OrtTraining, OrtTrainingStep};
pub use profile::{OperatorTime, Profile};
pub use state::State;
pub use step_model::StepModel;

use gnp_tensor::{NotFinite, Port, Tensor};

use gnp_base::Result;
use std::collections::BTreeMap;
use std::path::Path;

/// The hyperparameters that one step is taken with. All are dimensionless.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    /// The optimizer's learning rate.
    pub learning_rate: f32,
    /// The perturbation's radius r. An artifact with an input `gnp.r` needs it; a step model has a value of its own.
    pub r: Option<f32>,
    /// The mixing weight α; as for r, with `gnp.alpha`.
    pub alpha: Option<f32>,
    /// Any other hyperparameter of a step model, by the name of its input.
    pub others: BTreeMap<String, f32>,
}

impl Rates {
    /// Steps of this learning rate, with the graph's own value for everything else.
    pub const fn new(learning_rate: f32) -> Self {
        Self { learning_rate, r: None, alpha: None, others: BTreeMap::new() }
    }
}

/// One training run on one device. Any thread may use it, one at a time.
pub trait Engine: Send {
    /// What a batch consists of, in order: the data inputs, then the labels. Hyperparameters are not among them.
    fn batch_ports(&self) -> &[Port];

    /// The names of the values that [`Engine::step`] returns, the loss first.
    fn step_outputs(&self) -> &[String];

    /// The names of the values that [`Engine::evaluate`] returns, the loss first.
    fn evaluate_outputs(&self) -> &[String];

    /// One training step on `batch` (one tensor a port): gradient, optimizer update, gradients reset. Where a number of
    /// it is NaN or infinite the step is not taken, which [`Engine::not_finite`] tells: parameters and optimizer stay
    /// as they were.
    ///
    /// # Errors
    /// Where the runtime refuses the batch, or a rate that the graph needs is not given.
    fn step(&mut self, batch: &[Tensor], rates: &Rates) -> Result<Vec<Tensor>>;

    /// Computes what [`Engine::step`] would return, and takes no step: it is as if it had not been called.
    ///
    /// # Errors
    /// As [`Engine::step`].
    fn rehearse(&mut self, batch: &[Tensor], rates: &Rates) -> Result<Vec<Tensor>>;

    /// Why the last step was not taken: what of it was NaN or infinite, among the numbers that it returned or in the
    /// state that it would have left, as far as the engine can look into that. None where it was taken.
    fn not_finite(&self) -> Option<&NotFinite>;

    /// The evaluation graph on `batch`, with the parameters as they stand; changes nothing.
    ///
    /// # Errors
    /// Where the runtime refuses the batch, or there is no evaluation graph.
    fn evaluate(&mut self, batch: &[Tensor]) -> Result<Vec<Tensor>>;

    /// Writes the parameters and the optimizer's state to `file`, from which a new engine can go on.
    ///
    /// # Errors
    /// Where a parameter is NaN or infinite, or the file cannot be written.
    fn save(&mut self, file: &Path) -> Result<()>;
}

/// An engine of step models, whose whole state is tensors with names: it moves to any other one, on any device.
pub trait StepEngine: Engine {
    /// A copy of the parameters, statistics and optimizer slots as they stand.
    ///
    /// # Errors
    /// Where the device cannot be read.
    fn state(&self) -> Result<State>;

    /// Goes on from `state`, which must hold exactly the tensors of [`StepEngine::state`]. What it replaces stays where
    /// it does not fit.
    ///
    /// # Errors
    /// Where a tensor is missing, one too many, or of another element type or shape.
    fn set_state(&mut self, state: &State) -> Result<()>;

    /// How many nodes of a step gnp's own kernels compute, in place of the functions of their names.
    fn kernels(&self) -> usize {
        0
    }

    /// Where the time of the steps went, where [`EngineOptions::profile`] asks for that: none where it does not.
    ///
    /// # Errors
    /// Where no step was taken, or the engine's record cannot be read.
    fn profile(&mut self) -> Result<Option<Profile>> {
        Ok(None)
    }

    /// What a run's report says of how steps are computed beside the engine's name, a few words each. It may change
    /// with a step: what turns out not to be possible is said with the reason.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
}
