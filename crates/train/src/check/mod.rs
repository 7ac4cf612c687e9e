//! Whether a written model keeps what the rewrite promises: structure, names, types; and whether an engine takes it.

mod trial;

pub use trial::Trial;

use gnp_base::contract::{ALPHA, LEARNING_RATE, R, WARMUP_STEPS};
use gnp_base::{Error, Result};
use gnp_engine::ort_training::{Artifacts, Options, OrtTraining};
use gnp_engine::runtime::Runtime;
use gnp_engine::{Available, Device, Rates, StepEngine, StepModel};
use gnp_model::graph::Graph;
use gnp_model::onnx::{self, Model};
use gnp_step::penalty::Penalty;
use gnp_step::rewrite::{verify, verify_names};
use serde::Serialize;
use std::path::Path;

/// Whether an engine takes a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Loaded {
    /// The engine that loaded it.
    pub runtime: Option<String>,
    /// What a step came to in it.
    pub step: Option<Trial>,
    /// Why none did.
    pub why_not: Option<String>,
}

/// Reads the training model at `path` from disk, checks it, loads it in `runtime`, where there is one, with the other
/// artifacts in `artifacts`, and tries a step on made-up data.
///
/// # Errors
/// Where structure, names or types are not as they should be, or the runtime refuses the model or the step.
pub fn check(path: &Path, artifacts: &Path, runtime: Result<&Runtime, &Error>) -> Result<Loaded> {
    let model = onnx::read(path)?;
    verify(&model)
        .and_then(|()| verify_names(&model))
        .and_then(|()| Graph::new(model.graph.clone()))
        .map_err(|e| e.in_file(path))?;
    let why_not = |why: String| Ok(Loaded { runtime: None, step: None, why_not: Some(why) });
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return why_not(format!("{error} (see gnp-run engines)")),
    };
    let files = Artifacts { training_model: path.to_owned(), ..Artifacts::in_folder(artifacts) };
    if !files.checkpoint.exists() || !files.optimizer_model.exists() {
        return why_not("its checkpoint and optimizer model are not in the folder of the input".into());
    }
    let mut engine = OrtTraining::load(runtime, &files, &Options::default())?;
    let has = |name: &str| model.graph.input.iter().any(|input| input.name() == name);
    let Penalty { r, alpha, .. } = Penalty::default();
    let rates = Rates { r: has(R).then_some(r), alpha: has(ALPHA).then_some(alpha), ..Rates::new(0.001) };
    let step = trial::take(&mut engine, &model, &rates).map_err(|e| e.in_file(path))?;
    Ok(Loaded { runtime: Some(format!("ONNX Runtime {}", runtime.version)), step: Some(step), why_not: None })
}

/// Reads the step model at `path` from disk and checks it: its structure and types; that the fastest engine that is
/// there loads the file (ONNX Runtime, the library `named` by the caller or one that is found, else tract), and
/// computes a step on made-up data.
///
/// # Errors
/// Where its structure, types, inputs or outputs are not as they should be, or the engine refuses the model or the
/// step.
pub fn check_step(path: &Path, named: Option<&Path>) -> Result<Loaded> {
    let model = onnx::read(path)?;
    let engine = Available::best(named, Device::Cpu)?;
    try_step(&model, &engine, |options| engine.load_file(&model, options))
}

/// The same of a step model that is not in a file.
///
/// # Errors
/// As [`check_step`].
pub fn check_unwritten_step(model: &Model, named: Option<&Path>) -> Result<Loaded> {
    let engine = Available::best(named, Device::Cpu)?;
    try_step(model, &engine, |options| engine.load(model, None, options))
}

fn try_step(
    model: &Model,
    engine: &Available,
    load: impl FnOnce(&Options) -> Result<Box<dyn StepEngine>>,
) -> Result<Loaded> {
    let in_file = |error: Error| error.in_file(model.path());
    verify(model).and_then(|()| Graph::new(model.graph.clone())).map_err(in_file)?;
    let mut loaded = load(&Options::default())?;
    let step = StepModel::recognise(model)?;
    let mut rates = Rates::new(step.default_of(LEARNING_RATE).unwrap_or_default());
    // As after the warm-up, so that the second pass is computed.
    rates.others.extend(step.default_of(WARMUP_STEPS).map(|_| (WARMUP_STEPS.to_owned(), 0.0)));
    let trial = trial::take(&mut *loaded, model, &rates).map_err(in_file)?;
    Ok(Loaded { runtime: Some(engine.to_string()), step: Some(trial), why_not: None })
}
