//! What is trained: a folder of artifacts, or a step model; and the engine that it is loaded into.

use crate::train::{Arguments, EngineName};
use gnp::contract::{ALPHA, LEARNING_RATE, R, WARMUP_STEPS};
use gnp::emit::trained::Trained;
use gnp::engine::ort_training::{Artifacts, Options};
use gnp::engine::{Available, Engine, OrtTraining, Rates, State, StepEngine, StepModel, Tensor, runtime};
use gnp::onnx::{self, Model, WriteOptions};
use gnp::penalty::Warmup;
use gnp::rewrite::{self, StepConfig};
use gnp::train::{Checkpoint, Config, GrWarmup, RunFolder, Span, exposed_numbers, find_artifacts};
use gnp::{Error, Result, cli};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What artifacts, which have no learning rate of their own, are trained with.
const LEARNING_RATE_OF_ARTIFACTS: f32 = 1e-3;

/// What is trained, before it is loaded.
pub enum Trainee {
    /// A folder of ONNX Runtime's training artifacts.
    Artifacts(Artifacts),
    /// A step model.
    Step(Box<Step>),
}

/// A step model, and what it was made of where that is known.
pub struct Step {
    step: Model,
    /// What it is evaluated with.
    eval: Option<Model>,
    forward: Option<Model>,
    /// Holds the files of models that are made for this run.
    _scratch: TempDir,
}

impl Trainee {
    /// What the arguments name: a folder is one of artifacts, a file a step model or an ordinary one, which is rewritten. `root` is the
    /// run's folder; models that are made for the run lie beside it.
    pub fn open(arguments: &Arguments, root: &Path) -> Result<Self> {
        let path = &*arguments.model;
        let is_folder = path.is_dir();
        let model = if is_folder { None } else { Some(onnx::read(path)?) };
        let is_made = is_folder || model.as_ref().is_some_and(StepModel::is_one);
        // The penalty of artifacts with an input for it can be warmed up by what it is fed.
        let given = arguments.step.first_given().filter(|flag| !(is_folder && *flag == "--gr-warmup"));
        if let Some(flag) = given.or(arguments.penalty.first_fixed()).filter(|_| is_made) {
            return Err(Error::input(format!("{flag} is of no use: the training is in the model already"))
                .in_file(path)
                .help("give it to gnp-rewrite, or to gnp-run with the ordinary model"));
        }
        let Some(model) = model else {
            if arguments.forward.is_some() {
                return Err(Error::input("--forward is of no use: artifacts have their own evaluation model"));
            }
            return find_artifacts(path).map(Self::Artifacts);
        };
        if rewrite::is_training_model(&model) {
            return Err(Error::input("is a part of ONNX Runtime's training artifacts")
                .in_file(path)
                .help("name their folder"));
        }
        let scratch = scratch_beside(root)?;
        let (step, forward) = if is_made {
            let config = StepConfig::of(&model);
            let beside = config.as_ref().ok().map(|config| model.folder().join(&config.model));
            let forward = arguments.forward.clone().or(beside.filter(|file| file.is_file()));
            (model, forward.map(onnx::read).transpose()?)
        } else {
            let mut options = arguments.step.options(arguments.penalty.penalty()?, arguments.schedule.lr());
            if arguments.schedule.gr_warmup_length()?.is_some() {
                // A length in epochs is fed; the input needs a value all the same.
                options.warmup_steps = 1;
            }
            let (step, report) = rewrite::make_step(model.clone(), &options)?;
            if !arguments.quiet {
                eprint!("{}", cli::describe::step(&report));
            }
            (written(step, scratch.path(), "step.onnx")?, Some(model))
        };
        let eval = forward.as_ref().map(|forward| {
            let names = StepModel::recognise(&step)?.state.into_iter().map(|slot| slot.port.name).collect::<Vec<_>>();
            let eval = rewrite::make_evaluation(forward.clone(), &StepConfig::of(&step)?, &names)?;
            written(eval, scratch.path(), "eval.onnx")
        });
        let eval = eval.transpose()?;
        Ok(Self::Step(Box::new(Step { step, eval, forward, _scratch: scratch })))
    }

    /// The choices of `config`, with those that it leaves to what is trained, and checked against it.
    pub fn complete(&self, config: Config, arguments: &Arguments) -> Result<Config> {
        let learning_rate = arguments.schedule.lr();
        match self {
            Self::Artifacts(artifacts) => {
                if let Some(name) = config.others.keys().next() {
                    return Err(Error::input(format!("--set {name} is of no use: artifacts have no such input")));
                }
                let (r, alpha) = exposed_numbers(&artifacts.training_model, config.r, config.alpha)?;
                let learning_rate = learning_rate.unwrap_or(LEARNING_RATE_OF_ARTIFACTS);
                let length = arguments.step.gr_warmup_steps().map(|steps| Span::Steps(steps.into()));
                let gr_warmup = gr_warmup(arguments, arguments.step.gr_warmup(), length, false)?;
                Ok(Config { r, alpha, gr_warmup, learning_rate, ..config })
            }
            Self::Step(this) => {
                let model = StepModel::recognise(&this.step)?;
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
                    .map_err(|e| e.in_file(this.step.path()))?;
                for (option, value) in [("r", r), ("alpha", alpha)] {
                    if let Some(value) = value.filter(|value| !(value.is_finite() && *value >= 0.0)) {
                        return Err(Error::input(format!("--{option} must be a number from 0 on, not {value}")));
                    }
                }
                let what = StepConfig::of(&this.step).map_or(Warmup::None, |config| config.warmup);
                let length = model.default_of(WARMUP_STEPS).map(|steps| Span::Steps(steps as u64));
                let gr_warmup = gr_warmup(arguments, what, length, true)?;
                let (r, alpha) = (r.or(model.default_of(R)), alpha.or(model.default_of(ALPHA)));
                Ok(Config { r, alpha, gr_warmup, ..config })
            }
        }
    }

    /// The SHA-256 of the file that holds the gradient, in hexadecimal: which model it is.
    pub fn digest(&self) -> Result<String> {
        let file = match self {
            Self::Artifacts(artifacts) => &artifacts.training_model,
            Self::Step(this) => this.step.path(),
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
            Self::Step(this) => {
                let Step { step, eval, forward, _scratch } = *this;
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
                let mut engine = engine.load(&step, eval.as_ref(), &options)?;
                if let Some(checkpoint) = checkpoint {
                    engine.set_state(&State::read(&checkpoint.engine_file())?)?;
                }
                Ok(Loaded::Step { engine, forward: forward.map(Box::new), _scratch })
            }
        }
    }
}

/// The warm-up of the penalty: of `length` where it is not given in epochs.
fn gr_warmup(arguments: &Arguments, what: Warmup, length: Option<Span>, in_graph: bool) -> Result<Option<GrWarmup>> {
    let epochs = arguments.schedule.gr_warmup_length()?;
    if what == Warmup::None {
        return match epochs {
            None => Ok(None),
            Some(_) => Err(Error::input("--gr-warmup-epochs is of no use: the penalty is not warmed up")
                .help("say with --gr-warmup what grows, to gnp-rewrite where the model is a step model already")),
        };
    }
    let length = epochs.or(length).ok_or_else(|| {
        Error::input("the warm-up of the penalty has no length")
            .help("give it with --gr-warmup-steps or --gr-warmup-epochs")
    })?;
    Ok(Some(GrWarmup { what, length, in_graph }))
}

/// A folder beside the run's, so that large weights can be linked into it, which goes with the run.
fn scratch_beside(root: &Path) -> Result<TempDir> {
    let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(|error| Error::io("make the folder", parent, &error))?;
    let scratch = tempfile::Builder::new().prefix(".gnp-").tempdir_in(parent);
    scratch.map_err(|error| Error::io("write to the folder", parent, &error).help("name another folder with --out"))
}

/// Writes a model that was made, and reads it as an engine will.
fn written(model: Model, folder: &Path, name: &str) -> Result<Model> {
    let file = folder.join(name);
    onnx::write(model, &file, &WriteOptions { force: true, ..WriteOptions::default() })?;
    onnx::read(file)
}

/// A trainee in its engine.
pub enum Loaded {
    Artifacts(OrtTraining),
    /// With the model that its trained weights go into, and the folder of what was made for the run.
    Step {
        engine: Box<dyn StepEngine>,
        forward: Option<Box<Model>>,
        _scratch: TempDir,
    },
}

impl Loaded {
    pub fn engine(&mut self) -> &mut dyn Engine {
        match self {
            Self::Artifacts(engine) => engine,
            Self::Step { engine, .. } => &mut **engine,
        }
    }

    /// Writes what came of the training into the run's folder, a trained model to `output` too: what it is, and where it lies.
    pub fn write(&mut self, folder: &RunFolder, output: Option<&Path>) -> Result<(&'static str, PathBuf)> {
        let model = match self {
            Self::Artifacts(engine) => folder.write_model(|file| engine.export(file))?,
            Self::Step { engine, forward: Some(forward), .. } => {
                let state = engine.state()?;
                let mut trained = Model::clone(forward);
                rewrite::restore(&mut trained, trained_tensors(&state))?;
                // Whole or not at all, and with its data files under the names that they keep.
                let file = folder.root().join("model.onnx");
                onnx::write(trained, &file, &WriteOptions { force: true, ..WriteOptions::default() })?;
                file
            }
            Self::Step { engine, .. } => {
                let state = folder.write_state(|file| engine.state()?.write(file))?;
                return match output {
                    None => Ok(("state", state)),
                    Some(output) => Err(Error::input(
                        "the trained model cannot be written: the model that the step model was made of is not known",
                    )
                    .in_file(output)
                    .help(format!("name it with --forward; the trained weights are in {}", state.display()))),
                };
            }
        };
        let Some(output) = output else { return Ok(("model", model)) };
        let trained = onnx::read(&model)?;
        onnx::write(trained, output, &WriteOptions { force: true, ..WriteOptions::default() })?;
        Ok(("model", output.to_owned()))
    }
}

/// The float tensors of a state.
fn trained_tensors(state: &State) -> Vec<Trained> {
    let tensors = state.iter().filter_map(|(name, tensor)| {
        let Tensor::F32(array) = tensor else { return None };
        let payload: Vec<u8> = array.iter().flat_map(|x| x.to_le_bytes()).collect();
        let dims = array.shape().iter().map(|&size| size as i64).collect();
        Some(Trained { name: name.to_owned(), dims, payload: payload.into() })
    });
    tensors.collect()
}
