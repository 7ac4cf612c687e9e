//! What is trained: an ordinary model, a step model, or a folder of artifacts.

#[cfg(feature = "ort")]
mod artifacts;
mod fitted;
mod in_engine;
mod kind;
mod step;

#[cfg(feature = "ort")]
pub use artifacts::{exposed_numbers, find_artifacts};
pub(super) use fitted::FITTED;
pub(super) use in_engine::InEngine;
pub use kind::Kind;

use super::{EngineSettings, Observer, Run};
use crate::{Checkpoint, Plan};
#[cfg(feature = "ort")]
use artifacts::OfArtifacts;
use gnp_base::{Error, Result};
use gnp_engine::EngineOptions;
use gnp_model::onnx;
use gnp_step::rewrite::StepConfig;
use std::num::NonZero;
use std::path::Path;
use step::Step;

/// What is trained, before it is loaded.
pub(super) enum Trainee {
    /// A folder of ONNX Runtime's training artifacts.
    #[cfg(feature = "ort")]
    Artifacts(OfArtifacts),
    /// A step model.
    Step(Box<Step>),
}

impl Trainee {
    /// What the run names. An ordinary model is rewritten, as it was at `begun` where the run goes on.
    pub fn open(run: &Run, begun: Option<&Checkpoint>, observer: &mut dyn Observer) -> Result<Self> {
        let settings = &run.model;
        let path = &*settings.path;
        let mut model = if path.is_dir() { None } else { Some(onnx::read(path)?) };
        if let (Some(model), Some(step)) = (&mut model, &settings.step) {
            model.limits = step.limits;
        }
        let kind = model.as_ref().map_or(Ok(Kind::Artifacts), Kind::of_model)?;
        if settings.step.is_some() && kind != Kind::Forward {
            return Err(Error::input(
                "options for making a step model are of no use: the training is in the model already",
            )
            .in_file(path)
            .help("give them with the ordinary model"));
        }
        match model {
            #[cfg(feature = "ort")]
            None => OfArtifacts::open(settings).map(Self::Artifacts),
            #[cfg(not(feature = "ort"))]
            None => Err(Error::input("ONNX Runtime, which trains artifacts, is not part of this program")
                .in_file(path)
                .help("build it with the feature `ort`")),
            Some(model) => {
                let step = if kind == Kind::Step {
                    Step::open(model, settings.forward.as_deref())
                } else {
                    Step::make(model, run, begun, observer)
                };
                step.map(Box::new).map(Self::Step)
            }
        }
    }

    /// All choices of the run, with those that it leaves to what is trained, and checked against it.
    pub fn plan(&self, run: &Run) -> Result<Plan> {
        let own = match self {
            #[cfg(feature = "ort")]
            Self::Artifacts(this) => this.own_rates(&run.training)?,
            Self::Step(this) => this.own_rates(&run.training)?,
        };
        Plan::new(&run.training, &own, run.seed)
    }

    /// Checks that there will be a model to write to `output`.
    pub fn check_output(&self, output: &Path) -> Result<()> {
        match self {
            #[cfg(feature = "ort")]
            Self::Artifacts(this) => this.check_output(output),
            Self::Step(this) => this.check_output(output),
        }
    }

    /// What a step model was made with, where it says.
    pub fn step_config(&self) -> Option<StepConfig> {
        match self {
            #[cfg(feature = "ort")]
            Self::Artifacts(_) => None,
            Self::Step(this) => this.config(),
        }
    }

    /// What a --dim is given to, that opens the batch of its input; none where there is no such flag.
    pub fn opens_with(&self) -> Option<&'static str> {
        match self {
            #[cfg(feature = "ort")]
            Self::Artifacts(_) => None,
            Self::Step(this) => Some(this.opens_with()),
        }
    }

    /// In how many parts a batch is taken, where that was told by the memory that there is.
    pub fn fitted(&self) -> Option<NonZero<u32>> {
        match self {
            #[cfg(feature = "ort")]
            Self::Artifacts(_) => None,
            Self::Step(this) => this.fitted(),
        }
    }

    /// A BatchNormalization that takes statistics of one number a sample, where one trains.
    pub fn over_samples(&self) -> Result<Option<String>> {
        match self {
            #[cfg(feature = "ort")]
            Self::Artifacts(this) => this.over_samples(),
            Self::Step(_) => Ok(self.step_config().and_then(|config| config.over_samples)),
        }
    }

    /// The SHA-256 of the model that holds the gradient, in hexadecimal: which model it is.
    pub fn digest(&self) -> Result<String> {
        match self {
            #[cfg(feature = "ort")]
            Self::Artifacts(this) => this.digest(),
            Self::Step(this) => this.digest(),
        }
    }

    /// Loads it into the engine that the run asks for, as it was at `checkpoint`.
    pub fn load(self, run: &Run, checkpoint: Option<&Checkpoint>, observer: &mut dyn Observer) -> Result<InEngine> {
        let EngineSettings { device, threads, layout, kernels, tf32, half, cuda_graph, ref ort_options, .. } =
            run.engine;
        let (seed, ort) = (run.seed as i64, ort_options.clone());
        let profile = run.output.profile;
        let options = EngineOptions { device, seed, threads, layout, kernels, tf32, half, cuda_graph, ort, profile };
        match self {
            #[cfg(feature = "ort")]
            Self::Artifacts(this) => this.load(run, options, checkpoint, observer),
            Self::Step(this) => this.load(run, &options, checkpoint, observer),
        }
    }
}
