//! What a run is made of.

use super::{Configuration, Init};
use crate::{CheckpointPolicy, Config, Span};
use gnp_data as data;
use gnp_engine::Device;
use gnp_model::onnx::ExternalData;
use gnp_step::penalty::Warmup;
use gnp_step::rewrite::StepOptions;
use serde::{Deserialize, Serialize};
use std::fs;
use std::num::NonZero;
use std::path::PathBuf;
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// What trains.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    /// The best that is there for what is trained; says which, and why
    #[default]
    Auto,
    /// ONNX Runtime, any build of it: for step models
    Onnxruntime,
    /// The engine within this program: for step models
    Tract,
    /// ONNX Runtime's training API: for artifacts
    OrtTraining,
}

/// What becomes of a run that is in the folder already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// It stays; there is no new one.
    #[default]
    Refuse,
    /// It is removed.
    Replace,
    /// It goes on from its last checkpoint; where there is none yet, it begins anew.
    Resume,
}

/// One training run, from files to files.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// An ordinary model, a step model, or a folder of training artifacts.
    pub model: PathBuf,
    /// The model that a step model was made of, to evaluate and to put the trained weights into; where none is given,
    /// the file of its name beside the step model.
    pub forward: Option<PathBuf>,
    /// How an ordinary model is made a step model; the defaults where none are given. Nothing else can be given any.
    pub step: Option<StepOptions>,
    /// Where the training begins.
    pub init: Init,
    /// What is trained on.
    pub data: data::Options,
    /// How samples are divided, normalised and augmented.
    pub preparation: data::Preparation,
    /// The fraction of the training labels that is redrawn at random.
    pub label_noise: f64,
    /// Epochs, rates, seed.
    pub config: Config,
    /// The peak of the learning rate; where none is given, the step model's own, 0.001 for artifacts.
    pub learning_rate: Option<f32>,
    /// What of the penalty of artifacts is warmed up, which have inputs for r and α; a step model does it itself.
    pub gr_warmup: Warmup,
    /// For how long, in place of the step model's own length.
    pub gr_warmup_length: Option<Span>,
    /// When it evaluates, saves, and ends before its last epoch.
    pub policy: CheckpointPolicy,
    /// What trains.
    pub engine: EngineKind,
    /// Where it computes.
    pub device: Device,
    /// The ONNX Runtime library to use, rather than one that is found.
    pub ort_lib: Option<PathBuf>,
    /// The threads that one operator may use; one a core where none are given.
    pub threads: Option<NonZero<u16>>,
    /// Where metrics, checkpoints and results are written.
    pub folder: PathBuf,
    /// What becomes of a run that is there already.
    pub existing: Existing,
    /// Where the trained model is written besides.
    pub output: Option<PathBuf>,
    /// What becomes of the model's external data in the results.
    pub external_data: ExternalData,
    /// What the run was started with, for `config.toml` in its folder; no such file where there is none.
    pub configuration: Option<Configuration>,
}

impl Experiment {
    /// What it reads: files, and folders of data.
    pub(super) fn inputs(&self) -> Vec<PathBuf> {
        let data::Options { train, test, labels, test_labels, .. } = &self.data;
        let more = [&self.forward, &self.ort_lib, test, labels, test_labels].into_iter().flatten();
        // A folder of artifacts has no files but those.
        let artifacts = fs::read_dir(&self.model).into_iter().flatten().flatten().map(|entry| entry.path());
        [&self.model, train].into_iter().chain(more).cloned().chain(artifacts).collect()
    }

    /// A run of `model` on the data at `data` with the defaults of `gnp-run`, one epoch long.
    pub fn new(model: impl Into<PathBuf>, data: impl Into<PathBuf>, folder: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            forward: None,
            step: None,
            init: Init::default(),
            data: data::Options::new(data),
            preparation: data::Preparation::default(),
            label_noise: 0.0,
            config: Config::default(),
            learning_rate: None,
            gr_warmup: Warmup::None,
            gr_warmup_length: None,
            policy: CheckpointPolicy::default(),
            engine: EngineKind::default(),
            device: Device::Cpu,
            ort_lib: None,
            threads: None,
            folder: folder.into(),
            existing: Existing::default(),
            output: None,
            external_data: ExternalData::default(),
            configuration: None,
        }
    }
}
