//! What is trained: a folder of artifacts, or a step model; and the engine that it is loaded into.

use crate::train::{Arguments, EngineName};
use gnp::engine::ort_training::{Artifacts, Options};
use gnp::engine::step_model::LEARNING_RATE;
use gnp::engine::{Available, Engine, OrtTraining, Rates, State, StepEngine, StepModel, runtime};
use gnp::onnx::{self, Model};
use gnp::train::{Checkpoint, Config, RunFolder, exposed_numbers, find_artifacts};
use gnp::{Error, Result};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// What artifacts, which have no learning rate of their own, are trained with.
const LEARNING_RATE_OF_ARTIFACTS: f32 = 1e-3;

/// What is trained, before it is loaded.
pub enum Trainee {
    /// A folder of ONNX Runtime's training artifacts.
    Artifacts(Artifacts),
    /// A step model, and the model that it is evaluated with where there is one.
    Step { step: Box<Model>, eval: Option<Box<Model>> },
}

impl Trainee {
    /// What `path` names: a folder is one of artifacts, a file a step model.
    pub fn open(path: &Path, eval: Option<&Path>) -> Result<Self> {
        if path.is_dir() {
            if eval.is_some() {
                return Err(Error::input("--eval-model is of no use: artifacts have their own evaluation model"));
            }
            return find_artifacts(path).map(Self::Artifacts);
        }
        let step = Box::new(step_model(path)?);
        let beside = path.with_extension("eval.onnx");
        let eval = eval.or(beside.is_file().then_some(&*beside)).map(onnx::read).transpose()?.map(Box::new);
        Ok(Self::Step { step, eval })
    }

    /// The choices of `config`, with those that it leaves to what is trained, and checked against it.
    pub fn complete(&self, config: Config, learning_rate: Option<f32>) -> Result<Config> {
        match self {
            Self::Artifacts(artifacts) => {
                if let Some(name) = config.others.keys().next() {
                    return Err(Error::input(format!("--set {name} is of no use: artifacts have no such input")));
                }
                let (r, alpha) = exposed_numbers(&artifacts.training_model, config.r, config.alpha)?;
                let learning_rate = learning_rate.unwrap_or(LEARNING_RATE_OF_ARTIFACTS);
                Ok(Config { r, alpha, learning_rate, ..config })
            }
            Self::Step { step, .. } => {
                let model = StepModel::recognise(step)?;
                if learning_rate.is_some() && model.default_of(LEARNING_RATE).is_none() {
                    return Err(Error::input(format!(
                        "--lr is of no use: the step model has no input `{LEARNING_RATE}`"
                    )));
                }
                let learning_rate = learning_rate.or(model.default_of(LEARNING_RATE)).unwrap_or(0.0);
                let config = Config { learning_rate, ..config };
                let (r, alpha, others) = (config.r, config.alpha, config.others.clone());
                model
                    .given(&Rates { r, alpha, others, ..Rates::new(learning_rate) }, 0)
                    .map_err(|e| e.in_file(step.path()))?;
                for (option, value) in [("r", r), ("alpha", alpha)] {
                    if let Some(value) = value.filter(|value| !(value.is_finite() && *value >= 0.0)) {
                        return Err(Error::input(format!("--{option} must be a number from 0 on, not {value}")));
                    }
                }
                Ok(config)
            }
        }
    }

    /// The SHA-256 of the file that holds the gradient, in hexadecimal: which model it is.
    pub fn digest(&self) -> Result<String> {
        let file = match self {
            Self::Artifacts(artifacts) => &artifacts.training_model,
            Self::Step { step, .. } => step.path(),
        };
        let bytes = std::fs::read(file).map_err(|error| Error::io("read the file", file, &error))?;
        Ok(Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Loads it into the engine that the arguments ask for, as it was at `checkpoint`.
    pub fn load(self, arguments: &Arguments, checkpoint: Option<&Checkpoint>) -> Result<Loaded> {
        let options = Options { device: arguments.device, seed: arguments.seed.into(), threads: arguments.threads };
        let named = arguments.ort_lib.as_deref();
        match self {
            Self::Artifacts(mut artifacts) => {
                if matches!(arguments.engine, EngineName::Onnxruntime | EngineName::Tract) {
                    return Err(Error::input("a folder of artifacts is trained by the engine ort-training only")
                        .help("leave --engine out"));
                }
                let runtime = runtime::for_training(named)?;
                if arguments.verbose {
                    let (version, library) = (&runtime.version, runtime.library.display());
                    eprintln!("ONNX Runtime {version} on {}: {library}", arguments.device);
                }
                if let Some(checkpoint) = checkpoint {
                    artifacts.checkpoint = checkpoint.engine_file();
                }
                OrtTraining::load(&runtime, &artifacts, &options).map(Loaded::Artifacts)
            }
            Self::Step { step, eval } => {
                let (engine, why) = match arguments.engine {
                    EngineName::Auto => match Available::best(named, arguments.device)? {
                        Available::Tract => (
                            Available::Tract,
                            ": no ONNX Runtime was found; `gnp-run engines install onnxruntime` gets one, which is faster",
                        ),
                        found => (found, ": the fastest engine that is here"),
                    },
                    EngineName::Onnxruntime => (Available::onnxruntime(named)?, ""),
                    EngineName::Tract => (Available::Tract, ""),
                    EngineName::OrtTraining => {
                        return Err(Error::input("a step model is trained by the engines onnxruntime and tract")
                            .help("leave --engine out"));
                    }
                };
                if !arguments.quiet {
                    eprintln!("training with {engine} on {}{why}", arguments.device);
                }
                let mut engine = engine.load(&step, eval.as_deref(), &options)?;
                if let Some(checkpoint) = checkpoint {
                    engine.set_state(&State::read(&checkpoint.engine_file())?)?;
                }
                Ok(Loaded::Step(engine))
            }
        }
    }
}

/// Reads the step model in `path`.
///
/// An ordinary model would be rewritten here.
fn step_model(path: &Path) -> Result<Model> {
    let model = onnx::read(path)?;
    if StepModel::is_one(&model) {
        return Ok(model);
    }
    Err(Error::input("not a step model: it does no training step")
        .in_file(path)
        .help("gnp-rewrite makes a step model of an ordinary one; artifacts are trained by naming their folder"))
}

/// A trainee in its engine.
pub enum Loaded {
    Artifacts(OrtTraining),
    Step(Box<dyn StepEngine>),
}

impl Loaded {
    pub fn engine(&mut self) -> &mut dyn Engine {
        match self {
            Self::Artifacts(engine) => engine,
            Self::Step(engine) => &mut **engine,
        }
    }

    /// Writes what came of the training into the run's folder: what it is, and where it lies.
    pub fn write(&mut self, folder: &RunFolder) -> Result<(&'static str, PathBuf)> {
        match self {
            Self::Artifacts(engine) => Ok(("model", folder.write_model(|file| engine.export(file))?)),
            Self::Step(engine) => Ok(("state", folder.write_state(|file| engine.state()?.write(file))?)),
        }
    }
}
