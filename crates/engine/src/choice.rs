//! Which engine runs a step model.

use super::ort::Options;
use super::runtime::{Package, Runtime, for_steps};
use super::{Device, Ort, StepEngine, Tract};
use gnp_base::{Error, Result};
use gnp_model::onnx::Model;
use std::fmt;
use std::path::Path;

/// An engine of step models that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Available {
    /// This ONNX Runtime.
    OnnxRuntime(Runtime),
    /// tract, which always is.
    Tract,
}

impl Available {
    /// The fastest for `device` that is there: ONNX Runtime, the library `named` by the caller or one that is found;
    /// else tract.
    ///
    /// # Errors
    /// Where a library that the user chose does not load, and where tract, which is left, does not compute on the
    /// device.
    pub fn best(named: Option<&Path>, device: Device) -> Result<Self> {
        match for_steps(named)? {
            Some(runtime) => Ok(Self::OnnxRuntime(runtime)),
            None if device == Device::Cpu => Ok(Self::Tract),
            None => Err(no_runtime()),
        }
    }

    /// ONNX Runtime: the library `named` by the caller, or one that is found.
    ///
    /// # Errors
    /// Where a library that the user chose does not load, and where none is found.
    pub fn onnxruntime(named: Option<&Path>) -> Result<Self> {
        for_steps(named)?.map(Self::OnnxRuntime).ok_or_else(no_runtime)
    }

    /// Its name, and version where it has one.
    pub fn name(&self) -> String {
        match self {
            Self::OnnxRuntime(runtime) => format!("ONNX Runtime {}", runtime.version),
            Self::Tract => "tract".to_owned(),
        }
    }

    /// Loads the step model `step`, and `eval`, what it is evaluated with.
    ///
    /// # Errors
    /// As [`Ort::load`] and [`Tract::load`].
    pub fn load(&self, step: &Model, eval: Option<&Model>, options: &Options) -> Result<Box<dyn StepEngine>> {
        Ok(match self {
            Self::OnnxRuntime(runtime) => Box::new(Ort::load(runtime, step, eval, options)?),
            Self::Tract => Box::new(Tract::load(step, eval, options)?),
        })
    }

    /// Loads the step model in the file that `step` was read from, as other applications do.
    ///
    /// # Errors
    /// As [`Available::load`].
    pub fn load_file(&self, step: &Model, options: &Options) -> Result<Box<dyn StepEngine>> {
        Ok(match self {
            Self::OnnxRuntime(runtime) => Box::new(Ort::load_file(runtime, step, options)?),
            Self::Tract => Box::new(Tract::load(step, None, options)?),
        })
    }
}

fn no_runtime() -> Error {
    Error::input("found no ONNX Runtime")
        .help(format!("install one with `{}`, or name one with --ort-lib", Package::Stock.command()))
}

/// The engine's name; which library it is, where it is one.
impl fmt::Display for Available {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        match self {
            Self::OnnxRuntime(runtime) => write!(f, " ({})", runtime.library.display()),
            Self::Tract => Ok(()),
        }
    }
}
