//! What a run is made of.

use super::{Configuration, Init};
use crate::TrainingSettings;
use gnp_base::contract::artifacts::FileNames;
use gnp_data::{DataSource, Preparation};
use gnp_engine::{Backend, CudaGraph, Device, EngineKind, HalfPrecision, Kernels, Layout, OrtOption, Tf32};
use gnp_model::onnx::ExternalData;
use gnp_step::rewrite::StepOptions;
use std::fs;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;

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

/// One training run, from files to files: the settings of each part of it, and a seed.
///
/// A setting that is not given is `None`; what then counts is said where it is. What the step model holds, or is made
/// with ([`ModelSettings::step`]), counts where [`TrainingSettings`] have no rate of their own.
#[derive(Clone, Debug)]
pub struct Run {
    /// What trains.
    pub model: ModelSettings,
    /// What it is trained on.
    pub data: DataSettings,
    /// How it is trained.
    pub training: TrainingSettings,
    /// What computes the steps.
    pub engine: EngineSettings,
    /// What is written.
    pub output: OutputSettings,
    /// Decides everything random: what of the data is split off and drawn, label noise, the order of the samples,
    /// augmentation, which steps have the penalty, the engine's draws.
    pub seed: u64,
}

/// What trains.
#[derive(Clone, Debug)]
pub struct ModelSettings {
    /// An ordinary model, a step model, or a folder of training artifacts.
    pub path: PathBuf,
    /// The model that a step model was made of, to evaluate and to put the trained weights into; where none is given,
    /// the file of its name beside the step model.
    pub forward: Option<PathBuf>,
    /// How an ordinary model is made a step model; the defaults where none are given. Nothing else can be given any.
    pub step: Option<StepOptions>,
    /// In how many parts a step model that is made takes a batch, where the options do not say: as many as memory makes
    /// necessary. At once where not given.
    pub fit_memory: Option<FitMemory>,
    /// Where the training begins.
    pub init: Init,
    /// What the files of a folder of artifacts are called.
    pub names: FileNames,
}

/// Taking each batch in as many parts as a step needs to fit into memory, by an estimate ([`gnp_step::fit`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FitMemory {
    /// The bytes that a step may take; where none are given, nine tenths of what is free on the device, less what the
    /// files of data hold.
    pub limit: Option<u64>,
}

/// What a model is trained on.
#[derive(Clone, Debug)]
pub struct DataSettings {
    /// Where the data lie.
    pub source: DataSource,
    /// How samples are divided, normalised and augmented.
    pub preparation: Preparation,
    /// The fraction of the training labels that is redrawn at random.
    pub label_noise: f64,
}

/// What computes the steps of a run.
#[derive(Clone, Debug, Default)]
pub struct EngineSettings {
    /// The engine.
    pub engine: EngineChoice,
    /// Where it computes.
    pub device: Device,
    /// The ONNX Runtime library to use, rather than one that is found.
    pub ort_lib: Option<PathBuf>,
    /// The threads that one operator may use; one a core where none are given.
    pub threads: Option<NonZero<u16>>,
    /// How the graph is arranged.
    pub layout: Layout,
    /// What computes the functions that a step model calls.
    pub kernels: Kernels,
    /// Whether products on NVIDIA's cards are of factors rounded to TF32; as the engine has it where not given.
    pub tf32: Option<Tf32>,
    /// What computes in half precision, where a step model asks for that.
    pub half: HalfPrecision,
    /// Whether steps on NVIDIA's cards are recorded as CUDA graphs.
    pub cuda_graph: CudaGraph,
    /// ONNX Runtime's own options.
    pub ort_options: Vec<OrtOption>,
}

/// Which engine trains.
///
/// ```
/// use gnp_base::Result;
/// use gnp_engine::{Available, Backend, EngineOptions, StepEngine};
/// use gnp_gradient::loss::LossKind;
/// use gnp_model::onnx::Model;
/// use gnp_step::rewrite::StepOptions;
/// use gnp_train::experiment::{EngineChoice, Quiet, Run, run};
/// use std::sync::atomic::AtomicBool;
///
/// /// An engine of one's own: here one that says what it loads, and has another compute.
/// #[derive(Debug)]
/// struct Talkative(Available);
///
/// impl Backend for Talkative {
///     fn name(&self) -> String {
///         format!("talkative {}", self.0.name())
///     }
///
///     fn load(&self, step: &Model, eval: Option<&Model>, options: &EngineOptions) -> Result<Box<dyn StepEngine>> {
///         println!("loading a step of {} nodes", step.graph.node.len());
///         self.0.load(step, eval, options)
///     }
/// }
///
/// let folder = tempfile::tempdir().unwrap();
/// let mut own = Run::new("../../models/mlp/model.onnx", "../../models/digits.npz", folder.path().join("run"));
/// let loss = LossKind::CrossEntropy.into();
/// own.model.step = Some(StepOptions { loss, ..StepOptions::default() });
/// own.data.preparation.divisor = Some(16.0);
/// own.engine.engine = EngineChoice::own(Talkative(Available::Tract));
/// let outcome = run(own, &mut Quiet, &AtomicBool::new(false))?;
/// assert_eq!(outcome.engine, "talkative tract");
/// # Ok::<(), gnp_base::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum EngineChoice {
    /// One of those that come with gnp.
    Of(EngineKind),
    /// One of one's own, for models and step models.
    Own(Arc<dyn Backend>),
}

impl EngineChoice {
    /// An engine of one's own.
    pub fn own(backend: impl Backend + 'static) -> Self {
        Self::Own(Arc::new(backend))
    }
}

impl Default for EngineChoice {
    fn default() -> Self {
        Self::Of(EngineKind::default())
    }
}

impl From<EngineKind> for EngineChoice {
    fn from(kind: EngineKind) -> Self {
        Self::Of(kind)
    }
}

/// What a run writes.
#[derive(Clone, Debug)]
pub struct OutputSettings {
    /// Where metrics, checkpoints and results are written.
    pub folder: PathBuf,
    /// What becomes of a run that is there already.
    pub existing: Existing,
    /// Where the trained model is written besides.
    pub file: Option<PathBuf>,
    /// What becomes of the model's external data in the results.
    pub external_data: ExternalData,
    /// Whether it is told at the end where the time of the steps went.
    pub profile: bool,
    /// What the run was started with, for `config.toml` in its folder; no such file where there is none.
    pub configuration: Option<Configuration>,
}

impl Run {
    /// A run of `model` on the data at `data` with the defaults of `gnp-run`, one epoch long.
    pub fn new(model: impl Into<PathBuf>, data: impl Into<PathBuf>, folder: impl Into<PathBuf>) -> Self {
        Self {
            model: ModelSettings {
                path: model.into(),
                forward: None,
                step: None,
                fit_memory: None,
                init: Init::default(),
                names: FileNames::default(),
            },
            data: DataSettings { source: DataSource::new(data), preparation: Preparation::default(), label_noise: 0.0 },
            training: TrainingSettings::default(),
            engine: EngineSettings::default(),
            output: OutputSettings {
                folder: folder.into(),
                existing: Existing::default(),
                file: None,
                external_data: ExternalData::default(),
                profile: false,
                configuration: None,
            },
            seed: 0,
        }
    }

    /// What it reads: files, and folders of data.
    pub(super) fn inputs(&self) -> Vec<PathBuf> {
        let DataSource { train, test, labels, test_labels, selection, .. } = &self.data.source;
        let of_data = [test, labels, test_labels, &selection.tokenizer];
        let more = [&self.model.forward, &self.engine.ort_lib].into_iter().chain(of_data).flatten();
        // A folder of artifacts has no files but those.
        let artifacts = fs::read_dir(&self.model.path).into_iter().flatten().flatten().map(|entry| entry.path());
        [&self.model.path, train].into_iter().chain(more).cloned().chain(artifacts).collect()
    }
}
