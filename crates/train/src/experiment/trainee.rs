//! What is trained: an ordinary model, a step model, or a folder of artifacts; and the engine that it is loaded into.

use super::run::{Notice, Observer};
use super::{EngineKind, Experiment, Init};
use crate::{Checkpoint, Config, GrWarmup, RunFolder, Span, exposed_numbers, find_artifacts};
use gnp_base::contract::{ALPHA, LEARNING_RATE, R, WARMUP_STEPS};
use gnp_base::{Error, Result, files};
use gnp_engine::ort_training::{Artifacts, Options};
use gnp_engine::runtime::Runtime;
use gnp_engine::{Available, Engine, OrtTraining, Rates, State, StepEngine, StepModel, runtime};
use gnp_gradient::lowering;
use gnp_model::onnx::{self, ExternalData, Model, Watch, WriteOptions};
use gnp_step::emit::step::Renames;
use gnp_step::emit::trained::Trained;
use gnp_step::penalty::Warmup;
use gnp_step::rewrite::{self, StepConfig};
use gnp_step::weights::Edit;
use gnp_tensor::Tensor;
use sha2::{Digest, Sha256};
use std::io;
use std::path::{Path, PathBuf};

/// What artifacts, which have no learning rate of their own, are trained with.
const LEARNING_RATE_OF_ARTIFACTS: f32 = 1e-3;

/// What a path names, for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder of ONNX Runtime's training artifacts.
    Artifacts,
    /// A step model, as `gnp-rewrite` makes them.
    Step,
    /// An ordinary model, which a step model is made of.
    Forward,
}

impl Kind {
    /// What the file or folder at `path` is.
    ///
    /// # Errors
    /// Where it is neither a folder nor an ONNX model, or one file of a folder of artifacts.
    ///
    /// ```
    /// use gnp_train::experiment::Kind;
    /// assert_eq!(Kind::of("../../models/mlp".as_ref())?, Kind::Artifacts);
    /// assert_eq!(Kind::of("../../models/mlp/model.onnx".as_ref())?, Kind::Forward);
    /// # Ok::<(), gnp_base::Error>(())
    /// ```
    pub fn of(path: &Path) -> Result<Self> {
        if path.is_dir() { Ok(Self::Artifacts) } else { Self::of_model(&onnx::read(path)?) }
    }

    fn of_model(model: &Model) -> Result<Self> {
        if StepModel::is_one(model) {
            return Ok(Self::Step);
        }
        if rewrite::is_training_model(model) {
            return Err(Error::input("is a part of ONNX Runtime's training artifacts")
                .in_file(model.path())
                .help("name their folder"));
        }
        Ok(Self::Forward)
    }
}

/// What is trained, before it is loaded.
pub(super) enum Trainee {
    /// A folder of ONNX Runtime's training artifacts.
    Artifacts(Artifacts),
    /// A step model.
    Step(Box<Step>),
}

/// A step model, and what it was made of where that is known.
pub(super) struct Step {
    step: Model,
    /// Whether it was made for this run.
    is_made: bool,
    /// What it is evaluated with.
    eval: Option<Model>,
    forward: Option<Model>,
}

impl Trainee {
    /// What the experiment names. An ordinary model is rewritten.
    pub fn open(experiment: &Experiment, observer: &mut dyn Observer) -> Result<Self> {
        let path = &*experiment.model;
        let mut model = if path.is_dir() { None } else { Some(onnx::read(path)?) };
        if let (Some(model), Some(step)) = (&mut model, &experiment.step) {
            model.limits = step.limits;
        }
        let kind = model.as_ref().map_or(Ok(Kind::Artifacts), Kind::of_model)?;
        if experiment.step.is_some() && kind != Kind::Forward {
            return Err(Error::input(
                "options for making a step model are of no use: the training is in the model already",
            )
            .in_file(path)
            .help("give them with the ordinary model"));
        }
        let Some(model) = model else {
            if experiment.forward.is_some() {
                return Err(Error::input("a forward model is of no use: artifacts have their own evaluation model")
                    .in_file(path)
                    .help("leave --forward out"));
            }
            return find_artifacts(path).map(Self::Artifacts);
        };
        let (step, forward) = if kind == Kind::Step {
            let config = StepConfig::of(&model);
            let beside = config.as_ref().ok().map(|config| model.folder().join(&config.model));
            let forward = experiment.forward.clone().or(beside.filter(|file| file.is_file()));
            (model, forward.map(onnx::read).transpose()?)
        } else {
            let mut options = experiment.step.clone().unwrap_or_default();
            if experiment.gr_warmup_length.is_some() && options.warmup != Warmup::None {
                // The length is fed; the input needs a value all the same.
                options.warmup_steps = options.warmup_steps.max(1);
            }
            let (step, report) = rewrite::make_step(model.clone(), &options)?;
            observer.notice(Notice::Made(&report));
            (step, Some(model))
        };
        let eval = forward.as_ref().map(|forward| {
            let names = StepModel::recognise(&step)?.state.into_iter().map(|slot| slot.port.name).collect::<Vec<_>>();
            rewrite::make_evaluation(forward.clone(), &StepConfig::of(&step)?, &names)
        });
        let eval = eval.transpose()?;
        Ok(Self::Step(Box::new(Step { step, is_made: kind == Kind::Forward, eval, forward })))
    }

    /// The choices of the experiment, with those that it leaves to what is trained, and checked against it.
    pub fn complete(&self, experiment: &Experiment) -> Result<Config> {
        let (config, learning_rate) = (experiment.config.clone(), experiment.learning_rate);
        match self {
            Self::Artifacts(artifacts) => {
                if let Some(name) = config.others.keys().next() {
                    return Err(Error::input(format!("--set {name} is of no use: artifacts have no such input")));
                }
                let (r, alpha) = exposed_numbers(&artifacts.training_model, config.r, config.alpha)?;
                let learning_rate = learning_rate.unwrap_or(LEARNING_RATE_OF_ARTIFACTS);
                let gr_warmup = gr_warmup(experiment, experiment.gr_warmup, None, false)?;
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
                let gr_warmup = gr_warmup(experiment, what, length, true)?;
                let (r, alpha) = (r.or(model.default_of(R)), alpha.or(model.default_of(ALPHA)));
                Ok(Config { r, alpha, gr_warmup, ..config })
            }
        }
    }

    /// Checks that there will be a model to write to `output`.
    pub fn check_output(&self, output: &Path) -> Result<()> {
        match self {
            Self::Step(this) if this.forward.is_none() => Err(Error::input(
                "the trained model cannot be written: the model that the step model was made of is not known",
            )
            .in_file(output)
            .help("name it with --forward")),
            Self::Step(this) => {
                let models = this.forward.iter().chain([&this.step]);
                let mut inputs = models.clone().map(onnx::external_files).collect::<Result<Vec<_>>>()?.concat();
                inputs.extend(models.map(|model| model.path().to_owned()));
                files::ensure_no_input(output, inputs)
            }
            Self::Artifacts(_) => Ok(()),
        }
    }

    /// What a step model was made with, where it says.
    pub fn step_config(&self) -> Option<StepConfig> {
        match self {
            Self::Artifacts(_) => None,
            Self::Step(this) => StepConfig::of(&this.step).ok(),
        }
    }

    /// What a --dim is given to, that opens the batch of its input; none where there is no such flag.
    pub fn opens_with(&self) -> Option<&'static str> {
        match self {
            Self::Artifacts(_) => None,
            Self::Step(this) if this.is_made => Some("open it with"),
            Self::Step(_) => Some("make the step model anew with gnp-rewrite"),
        }
    }

    /// A BatchNormalization that takes statistics of one number a sample, where one trains.
    pub fn over_samples(&self) -> Result<Option<String>> {
        match self {
            Self::Artifacts(artifacts) => {
                Ok(lowering::trained_over_samples(&onnx::read(&artifacts.training_model)?.graph))
            }
            Self::Step(_) => Ok(self.step_config().and_then(|config| config.over_samples)),
        }
    }

    /// The SHA-256 of the model that holds the gradient, in hexadecimal: which model it is.
    ///
    /// The rates that a step model's inputs have by default are left out, and what it says of itself: a run is told by
    /// those that it has.
    pub fn digest(&self) -> Result<String> {
        let digest = match self {
            Self::Artifacts(Artifacts { training_model: file, .. }) => {
                let bytes = files::read(file).map_err(|error| Error::io("read the file", file, &error))?;
                Sha256::digest(&bytes)
            }
            Self::Step(this) => {
                let mut step = this.step.clone();
                step.header.metadata_props.clear();
                step.graph.initializer.retain(|tensor| ![LEARNING_RATE, R, ALPHA].contains(&tensor.name()));
                let mut hashing = Hashing(Sha256::new());
                onnx::encode(step, &mut hashing)?;
                hashing.0.finalize()
            }
        };
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Loads it into the engine that the experiment asks for, as it was at `checkpoint`.
    pub fn load(
        self,
        experiment: &Experiment,
        checkpoint: Option<&Checkpoint>,
        observer: &mut dyn Observer,
    ) -> Result<Loaded> {
        let seed = experiment.config.seed;
        let options = Options { device: experiment.device, seed: seed as i64, threads: experiment.threads };
        let named = experiment.ort_lib.as_deref();
        match self {
            Self::Artifacts(mut artifacts) => {
                if matches!(experiment.engine, EngineKind::Onnxruntime | EngineKind::Tract) {
                    return Err(Error::input("a folder of artifacts is trained by the engine ort-training only")
                        .help("leave --engine out"));
                }
                if experiment.init != Init::Keep {
                    return Err(Error::input("--init is for models and step models: artifacts begin as they are")
                        .help("leave --init out, or make the artifacts with other weights"));
                }
                let runtime = runtime::for_training(named)?;
                let (version, library) = (&runtime.version, runtime.library.display());
                let name = format!("the training API of ONNX Runtime {version}");
                observer.notice(Notice::Detail(&format!("{name} on {}: {library}", experiment.device)));
                if let Some(checkpoint) = checkpoint {
                    artifacts.checkpoint = checkpoint.engine_file();
                }
                let engine = OrtTraining::load(&runtime, &artifacts, &options)?;
                let engine = Box::new(engine);
                Ok(Loaded { name, run: LoadedRun::Artifacts { engine, runtime, artifacts, options } })
            }
            Self::Step(this) => {
                let Step { step, eval, forward, .. } = *this;
                let (available, why) = match experiment.engine {
                    EngineKind::Auto => match Available::best(named, experiment.device)? {
                        Available::Tract => (
                            Available::Tract,
                            ": no ONNX Runtime was found; `gnp-run engines install onnxruntime` gets one, which is faster",
                        ),
                        found => (found, ": the fastest engine that is here"),
                    },
                    EngineKind::Onnxruntime => (Available::onnxruntime(named)?, ""),
                    EngineKind::Tract => (Available::Tract, ""),
                    EngineKind::OrtTraining => {
                        return Err(Error::input("a step model is trained by the engines onnxruntime and tract")
                            .help("leave --engine out"));
                    }
                };
                observer.notice(Notice::Info(&format!("training with {available} on {}{why}", experiment.device)));
                let mut engine = available.load(&step, eval.as_ref(), &options)?;
                match checkpoint {
                    Some(checkpoint) => engine.set_state(&State::read(&checkpoint.engine_file())?)?,
                    None if experiment.init != Init::Keep => {
                        let begin = experiment.init.apply(engine.state()?, seed);
                        engine.set_state(&begin)?;
                    }
                    None => {}
                }
                let name = available.name();
                let (edits, renames) = StepConfig::of(&step).map(|c| (c.edits, c.renames)).unwrap_or_default();
                let forward = forward.map(|model| Box::new(Original { model, edits, renames }));
                Ok(Loaded { name, run: LoadedRun::Step { engine, forward } })
            }
        }
    }
}

/// A hash of what is written.
struct Hashing(Sha256);

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The warm-up of the penalty: of `length` where the experiment has none.
fn gr_warmup(experiment: &Experiment, what: Warmup, length: Option<Span>, in_graph: bool) -> Result<Option<GrWarmup>> {
    let given = experiment.gr_warmup_length;
    if what == Warmup::None {
        return match given {
            None => Ok(None),
            Some(_) => Err(Error::input("--gr-warmup-epochs is of no use: the penalty is not warmed up")
                .help("say with --gr-warmup what grows, to gnp-rewrite where the model is a step model already")),
        };
    }
    let length = given.or(length).ok_or_else(|| {
        Error::input("the warm-up of the penalty has no length")
            .help("give it with --gr-warmup-steps or --gr-warmup-epochs")
    })?;
    Ok(Some(GrWarmup { what, length, in_graph }))
}

/// The model that trained weights go into.
struct Original {
    model: Model,
    /// What is changed in it first.
    edits: Vec<Edit>,
    /// What of its values is called otherwise in the step model.
    renames: Renames,
}

/// A trainee in its engine.
pub(super) struct Loaded {
    /// The engine's name.
    pub name: String,
    run: LoadedRun,
}

enum LoadedRun {
    /// With what it was loaded from.
    Artifacts { engine: Box<OrtTraining>, runtime: Runtime, artifacts: Artifacts, options: Options },
    /// With the model that its trained weights go into.
    Step { engine: Box<dyn StepEngine>, forward: Option<Box<Original>> },
}

impl Loaded {
    pub fn engine(&mut self) -> &mut dyn Engine {
        match &mut self.run {
            LoadedRun::Artifacts { engine, .. } => &mut **engine,
            LoadedRun::Step { engine, .. } => &mut **engine,
        }
    }

    /// Writes what came of the training into the run's folder, and what the parameters were at the checkpoint `best`,
    /// where there is one; of these the best to `output` too, where it is a model. Returns what that is, and where it
    /// lies.
    pub fn write(
        &mut self,
        folder: &RunFolder,
        best: Option<&Checkpoint>,
        output: Option<&Path>,
        external_data: ExternalData,
        watch: Watch<'_>,
    ) -> Result<(String, PathBuf)> {
        let (what, name) = match best {
            None => ("model", RunFolder::MODEL),
            Some(_) => ("best model", RunFolder::BEST_MODEL),
        };
        let written = folder.path_of(name);
        let options = WriteOptions { force: true, external_data, ..WriteOptions::default() };
        match &mut self.run {
            LoadedRun::Artifacts { engine, runtime, artifacts, options: engine_options } => {
                folder.write_model(|file| engine.export(file))?;
                if let Some(best) = best {
                    let artifacts = Artifacts { checkpoint: best.engine_file(), ..artifacts.clone() };
                    let mut engine = OrtTraining::load(runtime, &artifacts, engine_options)?;
                    folder.write_result(RunFolder::BEST_MODEL, |file| engine.export(file))?;
                }
                if let Some(output) = output {
                    onnx::write_watched(onnx::read(&written)?, output, &options, watch)?;
                }
            }
            LoadedRun::Step { engine, forward: Some(forward) } => {
                let last = engine.state()?;
                let mut write = |state: &State, file: &Path| write_trained(forward, state, file, &options, watch);
                write(&last, &folder.path_of(RunFolder::MODEL))?;
                let best = best.map(|best| State::read(&best.engine_file())).transpose()?;
                if let Some(best) = &best {
                    write(best, &written)?;
                }
                if let Some(output) = output {
                    write(best.as_ref().unwrap_or(&last), output)?;
                }
            }
            // There is no model to write: `Trainee::check_output`.
            LoadedRun::Step { engine, forward: None, .. } => {
                return Ok(("state".into(), folder.write_state(|file| engine.save(file))?));
            }
        }
        Ok((what.into(), output.map_or(written, Path::to_owned)))
    }
}

/// Writes a model with the weights of `state`: whole or not at all.
fn write_trained(
    forward: &Original,
    state: &State,
    file: &Path,
    options: &WriteOptions,
    watch: Watch<'_>,
) -> Result<()> {
    state.check_finite()?;
    let mut trained = forward.model.clone();
    rewrite::restore(&mut trained, trained_tensors(state), &forward.edits, &forward.renames)?;
    onnx::write_watched(trained, file, options, watch).map(drop)
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
