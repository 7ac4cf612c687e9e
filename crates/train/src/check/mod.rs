//! Whether a written model keeps what the rewrite promises: structure, names, types; and whether an engine takes it.

#[cfg(feature = "ort")]
mod artifacts;
mod trial;

#[cfg(feature = "ort")]
pub use artifacts::check;
pub use trial::Trial;

use gnp_base::contract::{LEARNING_RATE, WARMUP_STEPS};
use gnp_base::{Error, Result};
use gnp_engine::{
    Available, Backend as _, Device, EngineOptions, HalfPrecision, Rates, StepEngine, StepModel, half_of,
};
use gnp_model::graph::Graph;
use gnp_model::onnx::{self, DataType, Model};
use gnp_step::rewrite::verify;
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

/// Reads the step model at `path` from disk and checks it: its structure and types; that the fastest engine that is
/// there loads the file (ONNX Runtime, the library `named` by the caller or one that is found, else tract), and
/// computes a step on made-up data. A step model in bfloat16 is for cards, and is not loaded here.
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
    load: impl FnOnce(&EngineOptions) -> Result<Box<dyn StepEngine>>,
) -> Result<Loaded> {
    let in_file = |error: Error| error.in_file(model.path());
    verify(model).and_then(|()| Graph::new(model.graph.clone())).map_err(in_file)?;
    if half_of(model) == Some(DataType::Bfloat16) {
        let why_not = Some("it computes in bfloat16, for which no engine has kernels on processors".to_owned());
        return Ok(Loaded { runtime: None, step: None, why_not });
    }
    let half = HalfPrecision::Emulated;
    let mut loaded = load(&EngineOptions { half, ..EngineOptions::default() })?;
    let step = StepModel::recognise(model)?;
    let mut rates = Rates::new(step.default_of(LEARNING_RATE).unwrap_or_default());
    // As after the warm-up, so that the second pass is computed.
    rates.others.extend(step.default_of(WARMUP_STEPS).map(|_| (WARMUP_STEPS.to_owned(), 0.0)));
    let trial = trial::take(&mut *loaded, model, &rates).map_err(in_file)?;
    Ok(Loaded { runtime: Some(engine.to_string()), step: Some(trial), why_not: None })
}
