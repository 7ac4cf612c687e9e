//! A step model, made for the run or before.

#[cfg(feature = "ort")]
use super::artifacts;
use super::fitted::Fitted;
use super::in_engine::InEngine;
use crate::experiment::{EngineChoice, Init, Notice, Observer, Run};
use crate::{Checkpoint, Original, OwnRates, OwnWarmup, Span, TrainingSettings};
use gnp_base::choice::Choice;
use gnp_base::contract::{ALPHA, LEARNING_RATE, R, WARMUP_STEPS};
use gnp_base::digest::Digest;
use gnp_base::{Error, Result, files};
#[cfg(feature = "ort")]
use gnp_engine::runtime;
use gnp_engine::{Available, Backend, EngineKind, EngineOptions, Rates, State, StepEngine, StepModel};
use gnp_gradient::autodiff::Gradients;
use gnp_model::onnx::{self, Model};
use gnp_step::accumulate::{Accumulate, PerturbPer};
use gnp_step::penalty::Warmup;
use gnp_step::rewrite::{self, StepConfig, StepOptions};
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

/// A step model, and what it was made of where that is known.
pub(in crate::experiment) struct Step {
    step: Model,
    /// How it was made, where it was made for this run.
    made: Option<StepOptions>,
    /// In how many parts a batch is taken, where memory has told that.
    fitted: Option<Fitted>,
    /// What it is evaluated with.
    eval: Option<Model>,
    forward: Option<Model>,
}

impl Step {
    /// The step model `step`, made of the model `forward`, or of that of its name beside it.
    pub(super) fn open(step: Model, forward: Option<&Path>) -> Result<Self> {
        let beside = StepConfig::of(&step).ok().map(|config| step.folder().join(&config.model));
        let forward = forward.map(Path::to_owned).or(beside.filter(|file| file.is_file()));
        Self::new(step, None, None, forward.map(onnx::read).transpose()?)
    }

    /// The step model that is made of `forward` for the run.
    pub(super) fn make(
        forward: Model,
        run: &Run,
        begun: Option<&Checkpoint>,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let mut options = run.model.step.clone().unwrap_or_default();
        let is_by_training_api = matches!(run.engine.engine, EngineChoice::Of(EngineKind::OrtTraining));
        if options.gradients != Gradients::Standard && !is_by_training_api {
            return Err(Error::input(
                "--gradients: ONNX Runtime's training API alone has other operators than the standard's",
            )
            .in_file(forward.path())
            .help("train with it, --engine ort-training, or leave --gradients out"));
        }
        if run.training.penalty_warmup_length.is_some() && options.warmup != Warmup::None {
            // The length is fed; the input needs a value all the same.
            options.warmup_steps = options.warmup_steps.max(1);
        }
        let (mut step, mut report) = rewrite::make_step(forward.clone(), &options)?;
        let fitted = run.model.fit_memory.filter(|_| options.accumulate.is_none());
        let fitted = fitted.map(|fit| Fitted::of(fit, &step, run, begun)).transpose();
        let fitted = fitted.map_err(|error| error.in_file(forward.path()))?;
        if let Some(Fitted { parts, why }) = &fitted {
            if parts.get() > 1 {
                options.accumulate = Some(Accumulate { parts: *parts, perturb_per: PerturbPer::Batch });
                (step, report) = rewrite::make_step(forward.clone(), &options)?;
            }
            report.choices.push(Choice::new(why.clone(), "--micro-batch"));
        }
        observer.notice(Notice::Made(&report));
        Self::new(step, Some(options), fitted, Some(forward))
    }

    fn new(step: Model, made: Option<StepOptions>, fitted: Option<Fitted>, forward: Option<Model>) -> Result<Self> {
        let eval = forward.as_ref().map(|forward| {
            let names = StepModel::recognise(&step)?.state.into_iter().map(|slot| slot.port.name).collect::<Vec<_>>();
            rewrite::make_evaluation(forward.clone(), &StepConfig::of(&step)?, &names)
        });
        let eval = eval.transpose()?;
        Ok(Self { step, made, fitted, eval, forward })
    }

    /// What is fed where the training gives nothing, checked against what it gives.
    pub(super) fn own_rates(&self, training: &TrainingSettings) -> Result<OwnRates> {
        let model = StepModel::recognise(&self.step)?;
        let own_rate = model.default_of(LEARNING_RATE);
        if training.learning_rate.is_some() && own_rate.is_none() {
            return Err(Error::input(format!("--lr is of no use: the step model has no input `{LEARNING_RATE}`")));
        }
        let (r, alpha, others) = (training.r, training.alpha, training.others.clone());
        let rate = training.learning_rate.or(own_rate).unwrap_or(0.0);
        model.given(&Rates { r, alpha, others, ..Rates::new(rate) }, 0).map_err(|e| e.in_file(self.step.path()))?;
        for (option, value) in [("r", r), ("alpha", alpha)] {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value >= 0.0)) {
                return Err(Error::input(format!("--{option} must be a number from 0 on, not {value}")));
            }
        }
        let what = self.config().map_or(Warmup::None, |config| config.warmup);
        let length = model.default_of(WARMUP_STEPS).map(|steps| Span::Steps(steps as u64));
        Ok(OwnRates {
            learning_rate: own_rate,
            r: model.default_of(R),
            alpha: model.default_of(ALPHA),
            warmup: Some(OwnWarmup { what, length }),
        })
    }

    pub(super) fn check_output(&self, output: &Path) -> Result<()> {
        if self.forward.is_none() {
            return Err(Error::input(
                "the trained model cannot be written: the model that the step model was made of is not known",
            )
            .in_file(output)
            .help("name it with --forward"));
        }
        let models = self.forward.iter().chain([&self.step]);
        let mut inputs = models.clone().map(onnx::external_files).collect::<Result<Vec<_>>>()?.concat();
        inputs.extend(models.map(|model| model.path().to_owned()));
        files::ensure_no_input(output, inputs)
    }

    /// What it was made with, where it says.
    pub(super) fn config(&self) -> Option<StepConfig> {
        StepConfig::of(&self.step).ok()
    }

    pub(super) fn fitted(&self) -> Option<NonZero<u32>> {
        self.fitted.as_ref().map(|fitted| fitted.parts)
    }

    pub(super) fn opens_with(&self) -> &'static str {
        if self.made.is_some() { "open it with" } else { "make the step model anew with gnp-rewrite" }
    }

    /// The rates that its inputs have by default are left out, and what it says of itself: a run is told by those that
    /// it has.
    pub(super) fn digest(&self) -> Result<String> {
        let mut step = self.step.clone();
        step.header.metadata_props.clear();
        step.graph.initializer.retain(|tensor| ![LEARNING_RATE, R, ALPHA].contains(&tensor.name()));
        let mut digest = Digest::default();
        onnx::encode(step, &mut digest)?;
        Ok(digest.hex())
    }

    pub(super) fn load(
        self,
        run: &Run,
        options: &EngineOptions,
        checkpoint: Option<&Checkpoint>,
        observer: &mut dyn Observer,
    ) -> Result<InEngine> {
        let (name, mut engine) = self.in_engine(run, options, observer)?;
        match checkpoint {
            Some(checkpoint) => engine.set_state(&State::read(&checkpoint.engine_file())?)?,
            None if run.model.init != Init::Keep => {
                let begin = run.model.init.apply(engine.state()?, run.seed);
                engine.set_state(&begin)?;
            }
            None => {}
        }
        let config = self.config().unwrap_or_default();
        let forward = self.forward.map(|model| Box::new(Original::new(model, config)));
        let chosen = self.fitted.map(|fitted| fitted.why);
        let mut loaded = InEngine::of_step(name, engine, forward, chosen);
        loaded.news().iter().for_each(|remark| observer.notice(Notice::Info(remark)));
        Ok(loaded)
    }
}

impl Step {
    /// Its engine's name, and the engine with it.
    fn in_engine(
        &self,
        run: &Run,
        options: &EngineOptions,
        observer: &mut dyn Observer,
    ) -> Result<(String, Box<dyn StepEngine>)> {
        let device = run.engine.device;
        let mut training_with = |what: &str, why: &str| {
            observer.notice(Notice::Info(&format!("training with {what} on {device}{why}")));
        };
        #[cfg(feature = "ort")]
        if let (EngineChoice::Of(EngineKind::OrtTraining), Some(made), Some(forward)) =
            (&run.engine.engine, &self.made, &self.forward)
        {
            let runtime = runtime::for_training(run.engine.ort_lib.as_deref(), device)?;
            let name = artifacts::name(&runtime);
            training_with(&format!("{name} ({})", runtime.library.display()), "");
            let engine = artifacts::of_step(forward, made, &runtime, options, observer)?;
            if let Some(first_step) = runtime.first_step(device) {
                observer.notice(Notice::Info(&first_step));
            }
            return Ok((name, engine));
        }
        let (backend, why) = backend(run)?;
        training_with(&backend.description(), why);
        let engine = backend.load(&self.step, self.eval.as_ref(), options)?;
        if let Some(first_step) = backend.first_step(device) {
            observer.notice(Notice::Info(&first_step));
        }
        Ok((backend.name(), engine))
    }
}

/// The engine that the run asks for, and why it is that one where it was chosen here.
fn backend(run: &Run) -> Result<(Arc<dyn Backend>, &'static str)> {
    let kind = match &run.engine.engine {
        EngineChoice::Own(backend) => return Ok((backend.clone(), "")),
        EngineChoice::Of(kind) => *kind,
    };
    let found = Available::of(kind, run.engine.ort_lib.as_deref(), run.engine.device)?;
    let why = match kind {
        EngineKind::Auto if found.is_built_in() => {
            ": no ONNX Runtime was found; `gnp-run engines install onnxruntime` gets one, which is faster"
        }
        EngineKind::Auto => ": the fastest engine that is here",
        _ => "",
    };
    Ok((Arc::new(found), why))
}
