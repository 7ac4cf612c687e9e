//! What step models are loaded into: the engines of this crate that are there, and those of others.

#[cfg(feature = "tract")]
use crate::Tract;
use crate::{Device, EngineOptions, StepEngine};
#[cfg(feature = "ort")]
use crate::{Ort, runtime};
use gnp_base::{Error, Result};
use gnp_model::onnx::Model;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// What trains.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    /// The best that is there for what is trained; says which, and why
    #[default]
    Auto,
    /// ONNX Runtime, any build of it: for step models
    Onnxruntime,
    /// The engine within this program: for step models
    Tract,
    /// ONNX Runtime's training API: for artifacts
    OrtTraining,
}

/// Something that loads step models: one of the engines that are [`Available`], or an engine of one's own.
pub trait Backend: fmt::Debug + Send + Sync {
    /// The engine's name, and version where it has one.
    fn name(&self) -> String;

    /// The name, and what else tells it from others: the library that it is, say.
    fn description(&self) -> String {
        self.name()
    }

    /// What is worth knowing before the first step on `device`, where anything is: that it takes long, say.
    fn first_step(&self, device: Device) -> Option<String> {
        let _ = device;
        None
    }

    /// Loads the step model `step`, and `eval`, what it is evaluated with. Training begins with the state in `step`.
    ///
    /// # Errors
    /// Where the engine does not load either.
    fn load(&self, step: &Model, eval: Option<&Model>, options: &EngineOptions) -> Result<Box<dyn StepEngine>>;

    /// Loads the step model in the file that `step` was read from, as other applications do, where the engine reads
    /// files itself.
    ///
    /// # Errors
    /// As [`Backend::load`].
    fn load_file(&self, step: &Model, options: &EngineOptions) -> Result<Box<dyn StepEngine>> {
        self.load(step, None, options)
    }
}

/// An engine of this crate for step models that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Available {
    /// This ONNX Runtime.
    #[cfg(feature = "ort")]
    OnnxRuntime(runtime::Runtime),
    /// tract, which always is.
    #[cfg(feature = "tract")]
    Tract,
}

impl Available {
    /// What `kind` names, on `device`. An ONNX Runtime is the library `named` by the caller, or one that is found.
    ///
    /// # Errors
    /// Where it is not there, or trains no step models; where a library that the user chose does not load.
    pub fn of(kind: EngineKind, named: Option<&Path>, device: Device) -> Result<Self> {
        match kind {
            EngineKind::Auto => Self::best(named, device),
            EngineKind::Onnxruntime => Self::onnxruntime(named, device),
            EngineKind::Tract => Self::tract(),
            EngineKind::OrtTraining => {
                Err(Error::input("a step model is trained by the engines onnxruntime and tract")
                    .help("leave --engine out"))
            }
        }
    }

    /// The fastest for `device` that is there: ONNX Runtime, the library `named` by the caller or one that is found;
    /// else tract.
    ///
    /// # Errors
    /// Where a library that the user chose does not load, and where tract, which is left, does not compute on the
    /// device.
    pub fn best(named: Option<&Path>, device: Device) -> Result<Self> {
        match Self::found(named, device)? {
            Some(runtime) => Ok(runtime),
            None if device == Device::Cpu => Self::tract(),
            None => Err(no_runtime(device)),
        }
    }

    /// ONNX Runtime: the library `named` by the caller, or one that is found.
    ///
    /// # Errors
    /// Where a library that the user chose does not load, and where none is found.
    pub fn onnxruntime(named: Option<&Path>, device: Device) -> Result<Self> {
        Self::found(named, device)?.ok_or_else(|| no_runtime(device))
    }

    /// Whether it is a part of this program.
    pub fn is_built_in(&self) -> bool {
        match *self {
            #[cfg(feature = "ort")]
            Self::OnnxRuntime(_) => false,
            #[cfg(feature = "tract")]
            Self::Tract => true,
        }
    }

    #[cfg(feature = "ort")]
    fn found(named: Option<&Path>, device: Device) -> Result<Option<Self>> {
        Ok(runtime::for_steps(named, device)?.map(Self::OnnxRuntime))
    }

    #[cfg(not(feature = "ort"))]
    fn found(_: Option<&Path>, _: Device) -> Result<Option<Self>> {
        Ok(None)
    }

    #[cfg(feature = "tract")]
    fn tract() -> Result<Self> {
        Ok(Self::Tract)
    }

    #[cfg(not(feature = "tract"))]
    fn tract() -> Result<Self> {
        Err(Error::input("tract is not part of this program").help("build it with the feature `tract`"))
    }
}

#[cfg_attr(not(any(feature = "ort", feature = "tract")), expect(unused_variables, reason = "there is no engine"))]
impl Backend for Available {
    fn name(&self) -> String {
        match *self {
            #[cfg(feature = "ort")]
            Self::OnnxRuntime(ref runtime) => format!("ONNX Runtime {}", runtime.version),
            #[cfg(feature = "tract")]
            Self::Tract => "tract".to_owned(),
        }
    }

    fn description(&self) -> String {
        match *self {
            #[cfg(feature = "ort")]
            Self::OnnxRuntime(ref runtime) => format!("{} ({})", self.name(), runtime.library.display()),
            #[cfg(feature = "tract")]
            Self::Tract => self.name(),
        }
    }

    #[cfg(feature = "ort")]
    fn first_step(&self, device: Device) -> Option<String> {
        match *self {
            Self::OnnxRuntime(ref runtime) => runtime.first_step(device),
            #[cfg(feature = "tract")]
            Self::Tract => None,
        }
    }

    fn load(&self, step: &Model, eval: Option<&Model>, options: &EngineOptions) -> Result<Box<dyn StepEngine>> {
        match *self {
            #[cfg(feature = "ort")]
            Self::OnnxRuntime(ref runtime) => Ok(Box::new(Ort::load(runtime, step, eval, options)?)),
            #[cfg(feature = "tract")]
            Self::Tract => Ok(Box::new(Tract::load(step, eval, options)?)),
        }
    }

    fn load_file(&self, step: &Model, options: &EngineOptions) -> Result<Box<dyn StepEngine>> {
        match *self {
            #[cfg(feature = "ort")]
            Self::OnnxRuntime(ref runtime) => Ok(Box::new(Ort::load_file(runtime, step, options)?)),
            #[cfg(feature = "tract")]
            Self::Tract => self.load(step, None, options),
        }
    }
}

#[cfg(feature = "ort")]
fn no_runtime(device: Device) -> Error {
    let package = runtime::Package::of(runtime::Kind::Stock, device != Device::Cpu);
    Error::engine("found no ONNX Runtime")
        .help(format!("install one with `{}`, or name one with --ort-lib", package.command()))
}

#[cfg(not(feature = "ort"))]
fn no_runtime(_: Device) -> Error {
    Error::input("ONNX Runtime is not part of this program").help("build it with the feature `ort`")
}

/// The engine's name; which library it is, where it is one.
impl fmt::Display for Available {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description())
    }
}
