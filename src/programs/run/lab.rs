//! What the demo trains: its network, as an ordinary model or as artifacts, in an engine.

use super::engines;
use crate::contract::GRAD_NORM;
use crate::data::Feed;
use crate::emit::artifact::Settings;
use crate::engine::ort_training::Artifacts;
use crate::engine::runtime::{self, Package, Runtime};
use crate::engine::{Available, Device, Engine, EngineKind, EngineOptions, OrtTraining, Rates};
use crate::experiment::{EngineChoice, ModelSettings, Run, Trained};
use crate::loss::LossKind;
use crate::penalty::Penalty;
use crate::rewrite::{self, StepOptions};
use crate::tensor::Tensor;
use crate::transform::{Optimizer, OptimizerKind};
use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The demo's network, and what trains it.
pub enum Lab {
    /// An ordinary model: of the step model made of it r and α are inputs.
    Model { engine: Available, file: PathBuf },
    /// ONNX Runtime's training API, with an artifact for each r and α.
    Artifacts { runtime: Runtime, folder: PathBuf },
}

impl Lab {
    /// Unpacks the network into `folder`. tract is within this program; other engines are looked for, ONNX Runtime's
    /// training API is installed where it is missing.
    pub fn new(name: EngineKind, ort_lib: Option<&Path>, folder: &Path) -> Result<Self> {
        if name == EngineKind::OrtTraining {
            return Self::artifacts(ort_lib, folder);
        }
        let engine = Available::of(name, ort_lib, Device::Cpu)?;
        let file = folder.join("model.onnx");
        unpack(&file, include_bytes!("../../../models/mlp/model.onnx"))?;
        Ok(Self::Model { engine, file })
    }

    fn artifacts(ort_lib: Option<&Path>, folder: &Path) -> Result<Self> {
        let chosen = ort_lib.is_some() || std::env::var_os("ORT_DYLIB_PATH").is_some();
        let runtime = match runtime::for_training(ort_lib, Device::Cpu) {
            Err(_) if !chosen => engines::install(Package::Training)?,
            found => found?,
        };
        let plain = folder.join("plain");
        fs::create_dir(&plain).map_err(|error| Error::io("unpack the demo", &plain, &error))?;
        unpack(&plain.join("training_model.onnx"), include_bytes!("../../../models/mlp/training_model.onnx"))?;
        unpack(&plain.join("eval_model.onnx"), include_bytes!("../../../models/mlp/eval_model.onnx"))?;
        unpack(&plain.join("optimizer_model.onnx"), include_bytes!("../../../models/mlp/optimizer_model.onnx"))?;
        unpack(&plain.join("checkpoint"), include_bytes!("../../../models/mlp/checkpoint"))?;
        Ok(Self::Artifacts { runtime, folder: folder.to_owned() })
    }

    /// What trains, in words.
    pub fn name(&self) -> String {
        match self {
            Self::Model { engine, .. } => engine.to_string(),
            Self::Artifacts { runtime, .. } => format!("the training API of ONNX Runtime {}", runtime.version),
        }
    }

    /// Has `run` train the network with `penalty`.
    pub fn equip(&self, run: &mut Run, penalty: &Penalty) -> Result<()> {
        match self {
            Self::Model { engine, file } => {
                let step = StepOptions {
                    loss: LossKind::CrossEntropy.into(),
                    optimizer: Optimizer { kind: OptimizerKind::AdamW, ..Optimizer::default() },
                    ..StepOptions::default()
                };
                run.model = ModelSettings { path: file.clone(), step: Some(step), ..run.model.clone() };
                (run.training.r, run.training.alpha) = (Some(penalty.r), Some(penalty.alpha));
                run.engine.engine = EngineChoice::own(engine.clone());
            }
            Self::Artifacts { runtime, folder } => {
                run.model.path = rewritten(folder, penalty, false)?;
                run.engine.engine = EngineKind::OrtTraining.into();
                run.engine.ort_lib = Some(runtime.library.clone());
            }
        }
        Ok(())
    }

    /// ‖∇L‖ over the whole training set, at the parameters that the run ended with: a step that moves no parameter.
    pub fn gradient_norm(&self, trained: &mut Trained<'_>, scratch: &Path) -> Result<f64> {
        let (engine, train) = trained.parts();
        let batch = whole(train)?;
        match self {
            Self::Model { .. } => norm_of(engine, &batch, &Rates { r: Some(0.0), ..Rates::new(0.0) }),
            Self::Artifacts { runtime, folder } => {
                let checkpoint = scratch.join("trained");
                engine.save(&checkpoint)?;
                let probe = rewritten(folder, &Penalty::default(), true)?;
                let artifacts = Artifacts { checkpoint, ..Artifacts::in_folder(&probe) };
                let mut engine = OrtTraining::load(runtime, &artifacts, &EngineOptions::default())?;
                norm_of(&mut engine, &batch, &Rates::new(0.0))
            }
        }
    }
}

/// All of the data in one batch.
fn whole(data: &Feed<'_>) -> Result<Vec<Tensor>> {
    let rows: Vec<usize> = (0..data.data().len()).collect();
    data.batch(&rows)
}

fn norm_of(engine: &mut dyn Engine, batch: &[Tensor], rates: &Rates) -> Result<f64> {
    let outputs = engine.step(batch, rates)?;
    let norm = Tensor::scalar_named(engine.step_outputs(), &outputs, GRAD_NORM);
    norm.map(f64::from).ok_or_else(|| Error::internal(format!("the graph does not return {GRAD_NORM}")))
}

/// The folder of the artifacts with `penalty` in them, made where it is not there yet.
fn rewritten(folder: &Path, penalty: &Penalty, metrics: bool) -> Result<PathBuf> {
    let plain = folder.join("plain");
    if penalty.is_plain() && !metrics {
        return Ok(plain);
    }
    let output = folder.join(format!("r{}-alpha{}-{metrics}", penalty.r, penalty.alpha));
    if !output.is_dir() {
        let settings = Settings { penalty: *penalty, metrics, ..Settings::default() };
        rewrite::rewrite(&plain, &output, &rewrite::Options { settings, ..Default::default() })?;
    }
    Ok(output)
}

fn unpack(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|error| Error::io("unpack the demo", path, &error))
}
