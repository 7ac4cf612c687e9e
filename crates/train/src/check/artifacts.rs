//! Training artifacts, in ONNX Runtime's training API.

use super::{Loaded, trial};
use gnp_base::contract::artifacts::FileNames;
use gnp_base::contract::{ALPHA, R};
use gnp_base::{Error, Result};
use gnp_engine::ort_training::Artifacts;
use gnp_engine::runtime::Runtime;
use gnp_engine::{EngineOptions, OrtTraining, Rates};
use gnp_model::graph::Graph;
use gnp_model::onnx;
use gnp_step::penalty::Penalty;
use gnp_step::rewrite::{verify, verify_names};
use std::path::Path;

/// Reads the training model at `path` from disk, checks it, loads it in `runtime`, where there is one, with the other
/// artifacts in `artifacts`, which are called as `names` say, and tries a step on made-up data.
///
/// # Errors
/// Where structure, names or types are not as they should be, or the runtime refuses the model or the step.
pub fn check(path: &Path, artifacts: &Path, names: &FileNames, runtime: Result<&Runtime, &Error>) -> Result<Loaded> {
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
    let files = Artifacts { training_model: path.to_owned(), ..Artifacts::named(artifacts, names) };
    if !files.checkpoint.exists() || !files.optimizer_model.exists() {
        return why_not("its checkpoint and optimizer model are not in the folder of the input".into());
    }
    let mut engine = OrtTraining::load(runtime, &files, &EngineOptions::default())?;
    let has = |name: &str| model.graph.input.iter().any(|input| input.name() == name);
    let Penalty { r, alpha, .. } = Penalty::default();
    let rates = Rates { r: has(R).then_some(r), alpha: has(ALPHA).then_some(alpha), ..Rates::new(0.001) };
    let step = trial::take(&mut engine, &model, &rates).map_err(|e| e.in_file(path))?;
    Ok(Loaded { runtime: Some(format!("ONNX Runtime {}", runtime.version)), step: Some(step), why_not: None })
}
