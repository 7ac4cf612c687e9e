//! A folder of ONNX Runtime's training artifacts.

use super::InEngine;
use crate::experiment::{EngineChoice, Init, ModelSettings, Notice, Observer, Run};
use crate::{Checkpoint, OwnRates, TrainingSettings};
use gnp_base::contract::artifacts::FileNames;
use gnp_base::digest::sha256;
use gnp_base::{Error, Result, contract, files};
use gnp_engine::ort_training::Artifacts;
use gnp_engine::runtime::{self, Runtime};
use gnp_engine::{EngineKind, EngineOptions, OrtTraining, OrtTrainingStep, StepEngine};
use gnp_gradient::lowering;
use gnp_model::onnx::{self, Model};
use gnp_step::emit::artifact::Settings;
use gnp_step::emit::training::Interface;
use gnp_step::rewrite::{self, StepOptions, TakenBy};
use std::path::Path;

/// The artifacts of `names` in `folder`, all of which a run needs.
///
/// # Errors
/// Where some are missing: the message names them.
pub fn find_artifacts(folder: &Path, names: &FileNames) -> Result<Artifacts> {
    let artifacts = Artifacts { eval_model: Some(folder.join(names.eval_model())), ..Artifacts::named(folder, names) };
    let needed = [&artifacts.training_model, &artifacts.optimizer_model, &artifacts.checkpoint];
    let missing: Vec<_> = needed
        .into_iter()
        .chain(&artifacts.eval_model)
        .filter(|file| !file.exists())
        .filter_map(|file| file.file_name()?.to_str())
        .collect();
    if missing.is_empty() {
        return Ok(artifacts);
    }
    Err(Error::format(format!("not a folder of training artifacts: {} missing", missing.join(", "))).in_file(folder).help(
        "name the folder that onnxruntime.training.artifacts.generate_artifacts wrote, or that gnp-rewrite made of it",
    ))
}

/// The r and α that steps are taken with, where the training model has inputs for them: those given, else those that it
/// was rewritten with.
///
/// # Errors
/// Where one is given in vain, negative or not finite, or neither given nor recorded; where the training model is no
/// ONNX model.
pub fn exposed_numbers(
    training_model: &Path,
    r: Option<f32>,
    alpha: Option<f32>,
) -> Result<(Option<f32>, Option<f32>)> {
    let model = onnx::read(training_model)?;
    let recorded = Settings::of(&model)?.map(|settings| settings.penalty);
    let number = |option: &str, input: &str, given: Option<f32>, recorded: Option<f32>| {
        let exposed = model.graph.input.iter().any(|port| port.name() == input);
        match given.or(recorded.filter(|_| exposed)) {
            None if exposed => {
                Err(Error::input(format!("the graph has an input `{input}`, but no value is given for it"))
                    .help(format!("give one with --{option}")))
            }
            Some(_) if !exposed => {
                Err(Error::input(format!("--{option} is of no use: the graph has no input `{input}`"))
                    .help(format!("rewrite the original artifacts with gnp-rewrite --expose {option}")))
            }
            Some(value) if !(value.is_finite() && value >= 0.0) => {
                Err(Error::input(format!("--{option} must be a number from 0 on, not {value}")))
            }
            value => Ok(value),
        }
        .map_err(|e| e.in_file(training_model))
    };
    Ok((
        number("r", contract::R, r, recorded.map(|p| p.r))?,
        number("alpha", contract::ALPHA, alpha, recorded.map(|p| p.alpha))?,
    ))
}

/// The engine's name.
pub(super) fn name(runtime: &Runtime) -> String {
    format!("the training API of ONNX Runtime {}", runtime.version)
}

/// The model `forward` in an engine of steps: artifacts that are made of it as its step model is, with all that is kept
/// from step to step in their training graph, and every number an input. They lie in a temporary folder.
pub(super) fn of_step(
    forward: &Model,
    made: &StepOptions,
    runtime: &Runtime,
    options: &EngineOptions,
    observer: &mut dyn Observer,
) -> Result<Box<dyn StepEngine>> {
    let interface =
        Interface { expose_r: true, expose_alpha: true, expose_others: true, metrics: true, loss_alone: false };
    let (artifacts, report) = rewrite::make_artifacts(forward.clone(), made, &interface, TakenBy::Graph)?;
    if report.artifacts.is_some_and(|artifacts| artifacts.draws) {
        observer.notice(Notice::Info(
            "the training API draws what is random, from the run's seed: other numbers than with other engines",
        ));
    }
    let folder = tempfile::tempdir().map_err(|e| Error::io("make a temporary folder", std::env::temp_dir(), &e))?;
    let names = FileNames::default();
    artifacts.write(folder.path(), &names, false).map_err(|e| e.in_place_of(folder.path(), forward.path()))?;
    let engine = OrtTraining::load(runtime, &Artifacts::named(folder.path(), &names), options)
        .map_err(|e| e.in_place_of(folder.path(), forward.path()))?;
    Ok(Box::new(OrtTrainingStep::new(engine, folder)))
}

/// What artifacts, which have no learning rate of their own, are trained with.
const LEARNING_RATE: f32 = 1e-3;

/// Artifacts that are trained.
pub(in crate::experiment) struct OfArtifacts(Artifacts);

impl OfArtifacts {
    pub(super) fn open(settings: &ModelSettings) -> Result<Self> {
        if settings.forward.is_some() {
            return Err(Error::input("a forward model is of no use: artifacts have their own evaluation model")
                .in_file(&settings.path)
                .help("leave --forward out"));
        }
        find_artifacts(&settings.path, &settings.names).map(Self)
    }

    /// What is fed where the training gives nothing, checked against what it gives.
    pub(super) fn own_rates(&self, training: &TrainingSettings) -> Result<OwnRates> {
        if let Some(name) = training.others.keys().next() {
            return Err(Error::input(format!("--set {name} is of no use: artifacts have no such input")));
        }
        let (r, alpha) = exposed_numbers(&self.0.training_model, training.r, training.alpha)?;
        Ok(OwnRates { learning_rate: Some(LEARNING_RATE), r, alpha, warmup: None })
    }

    pub(super) fn check_output(&self, output: &Path) -> Result<()> {
        let Some(eval) = &self.0.eval_model else { return Ok(()) };
        match onnx::read(eval)?.graph.output.len() {
            0 | 1 => Err(Error::input(
                "the trained model cannot be written: the evaluation model returns nothing but the loss",
            )
            .in_file(output)
            .help("leave -o out, or make the artifacts without --loss-alone, or with `additional_output_names`")),
            _ => Ok(()),
        }
    }

    pub(super) fn over_samples(&self) -> Result<Option<String>> {
        Ok(lowering::trained_over_samples(&onnx::read(&self.0.training_model)?.graph))
    }

    pub(super) fn digest(&self) -> Result<String> {
        let file = &self.0.training_model;
        files::read(file).map(sha256).map_err(|error| Error::io("read the file", file, &error))
    }

    pub(super) fn load(
        self,
        run: &Run,
        options: EngineOptions,
        checkpoint: Option<&Checkpoint>,
        observer: &mut dyn Observer,
    ) -> Result<InEngine> {
        let Self(mut artifacts) = self;
        if !matches!(run.engine.engine, EngineChoice::Of(EngineKind::Auto | EngineKind::OrtTraining)) {
            return Err(Error::input("a folder of artifacts is trained by the engine ort-training only")
                .help("leave --engine out"));
        }
        let runtime = runtime::for_training(run.engine.ort_lib.as_deref(), run.engine.device)?;
        let (name, library) = (name(&runtime), runtime.library.display());
        observer.notice(Notice::Detail(&format!("{name} on {}: {library}", run.engine.device)));
        if let Some(checkpoint) = checkpoint {
            artifacts.checkpoint = checkpoint.engine_file();
        }
        let mut engine = Box::new(OrtTraining::load(&runtime, &artifacts, &options)?);
        if checkpoint.is_none() && run.model.init != Init::Keep {
            let begin = run.model.init.apply(engine.parameters()?, run.seed);
            begin.iter().try_for_each(|(name, tensor)| engine.set_parameter(name, tensor))?;
        }
        if let Some(first_step) = runtime.first_step(run.engine.device) {
            observer.notice(Notice::Info(&first_step));
        }
        Ok(InEngine::of_artifacts(name, engine, runtime, artifacts, options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_step::rewrite::{Options, rewrite};

    #[test]
    fn names_the_files_that_are_missing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("training_model.onnx"), "").unwrap();
        let error = find_artifacts(folder.path(), &FileNames::default()).unwrap_err().to_string();
        assert!(error.ends_with("optimizer_model.onnx, checkpoint, eval_model.onnx missing"), "{error}");
    }

    #[test]
    fn rates_and_inputs_go_together() {
        let folder = tempfile::tempdir().unwrap();
        let plain = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/mlp/training_model.onnx");
        let exposed = folder.path().join("exposed.onnx");
        let settings = Settings { expose_r: true, ..Settings::default() };
        rewrite(&plain, &exposed, &Options { settings, ..Options::default() }).unwrap();

        assert_eq!(exposed_numbers(&plain, None, None).unwrap(), (None, None));
        assert_eq!(exposed_numbers(&exposed, Some(0.3), None).unwrap(), (Some(0.3), None));
        assert_eq!(exposed_numbers(&exposed, None, None).unwrap(), (Some(Settings::default().penalty.r), None));
        let message = |model, r, alpha| exposed_numbers(model, r, alpha).unwrap_err().to_string();
        assert!(message(&plain, Some(0.1), None).ends_with("--r is of no use: the graph has no input `gnp.r`"));
        assert!(message(&exposed, Some(0.1), Some(0.8)).contains("no input `gnp.alpha`"));
        assert!(message(&exposed, Some(-0.1), None).ends_with("--r must be a number from 0 on, not -0.1"));
    }
}
