//! What the demo trains with: its network, as a step model or as artifacts, in an engine.

use crate::engines;
use gnp::contract::GRAD_NORM;
use gnp::data::Feed;
use gnp::emit::artifact::Settings;
use gnp::engine::ort_training::{Artifacts, Options};
use gnp::engine::runtime::{self, Package, Runtime};
use gnp::engine::{Available, Device, Engine, OrtTraining, Rates, StepModel};
use gnp::experiment::EngineKind;
use gnp::loss::{LossKind, Wanted};
use gnp::onnx::{self, Model};
use gnp::penalty::Penalty;
use gnp::rewrite::{self, StepConfig, StepOptions, make_evaluation, make_step};
use gnp::transform::{Optimizer, OptimizerKind};
use gnp::{Error, Result};
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};

/// The demo's network in whatever engine was asked for.
pub enum Lab {
    /// One step model, whose r and α are inputs.
    Step { engine: Available, step: Box<Model>, eval: Box<Model> },
    /// ONNX Runtime's training API, with an artifact for each r and α.
    Artifacts { runtime: Runtime, folder: PathBuf },
}

impl Lab {
    /// Unpacks the network into `folder`. tract is within this program; other engines are looked for, ONNX Runtime's
    /// training API is installed where it is missing.
    pub fn new(name: EngineKind, ort_lib: Option<&Path>, folder: &Path) -> Result<Self> {
        let engine = match name {
            EngineKind::OrtTraining => return Self::artifacts(ort_lib, folder),
            EngineKind::Auto => Available::best(ort_lib, Device::Cpu)?,
            EngineKind::Onnxruntime => Available::onnxruntime(ort_lib)?,
            EngineKind::Tract => Available::Tract,
        };
        let forward = folder.join("model.onnx");
        unpack(&forward, include_bytes!("../../../models/mlp/model.onnx"))?;
        let forward = onnx::read(forward)?;
        let options = StepOptions {
            loss: Wanted { loss: Some(LossKind::CrossEntropy), ..Wanted::default() },
            optimizer: Optimizer { kind: OptimizerKind::AdamW, ..Optimizer::default() },
            ..StepOptions::default()
        };
        let (step, _) = make_step(forward.clone(), &options)?;
        let names: Vec<_> = StepModel::recognise(&step)?.state.into_iter().map(|slot| slot.port.name).collect();
        let eval = make_evaluation(forward, &StepConfig::of(&step)?, &names)?;
        Ok(Self::Step { engine, step: Box::new(step), eval: Box::new(eval) })
    }

    fn artifacts(ort_lib: Option<&Path>, folder: &Path) -> Result<Self> {
        let chosen = ort_lib.is_some() || std::env::var_os("ORT_DYLIB_PATH").is_some();
        let runtime = match runtime::for_training(ort_lib) {
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
            Self::Step { engine, .. } => engine.to_string(),
            Self::Artifacts { runtime, .. } => format!("the training API of ONNX Runtime {}", runtime.version),
        }
    }

    /// The network at its beginning, to be trained with `penalty`. The step model takes r and α with every step.
    pub fn load(&self, penalty: &Penalty) -> Result<Box<dyn Engine>> {
        let options = Options { threads: NonZero::new(1), ..Options::default() };
        match self {
            Self::Step { engine, step, eval } => Ok(engine.load(step, Some(eval), &options)?),
            Self::Artifacts { runtime, folder } => {
                let artifacts = Artifacts::in_folder(&rewritten(folder, penalty, false)?);
                Ok(Box::new(OrtTraining::load(runtime, &artifacts, &options)?))
            }
        }
    }

    /// ‖∇L‖ over the whole training set, at the parameters that `engine` ended with: a step that moves no parameter.
    pub fn gradient_norm(&self, engine: &mut dyn Engine, train: &Feed<'_>) -> Result<f64> {
        let rows: Vec<usize> = (0..train.data().len()).collect();
        let batch = train.batch(&rows)?;
        let still = Rates { r: Some(0.0), ..Rates::new(0.0) };
        match self {
            Self::Step { .. } => norm_of(engine, |engine| engine.step(&batch, &still)),
            Self::Artifacts { runtime, folder } => {
                let checkpoint = folder.join("trained");
                engine.save(&checkpoint)?;
                let probe = rewritten(folder, &Penalty::default(), true)?;
                let artifacts = Artifacts { checkpoint, ..Artifacts::in_folder(&probe) };
                let mut engine = OrtTraining::load(runtime, &artifacts, &Options::default())?;
                norm_of(&mut engine, |engine| engine.step(&batch, &Rates::new(0.0)))
            }
        }
    }
}

fn norm_of(
    engine: &mut dyn Engine,
    step: impl FnOnce(&mut dyn Engine) -> Result<Vec<gnp::tensor::Tensor>>,
) -> Result<f64> {
    let index = engine.step_outputs().iter().position(|output| output == GRAD_NORM);
    let outputs = step(engine)?;
    let norm = index.and_then(|index| outputs.get(index)?.to_scalar());
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
