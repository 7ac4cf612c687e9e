//! A whole training run as one call, from files to files: what `gnp-run` does.
//!
//! [`run`](run()) takes a [`Run`], tells an [`Observer`] what happens, and returns an [`Outcome`]. What it trains is an
//! ordinary model, which it makes a step model of, a step model, or a folder of ONNX Runtime's training artifacts.
//!
//! ```
//! use gnp_engine::EngineKind;
//! use gnp_gradient::loss::LossKind;
//! use gnp_step::rewrite::StepOptions;
//! use gnp_train::experiment::{Quiet, Run, run};
//! use std::sync::atomic::AtomicBool;
//!
//! let folder = tempfile::tempdir().unwrap();
//! let mut digits = Run::new("../../models/mlp/model.onnx", "../../models/digits.npz", folder.path().join("run"));
//! let loss = LossKind::CrossEntropy.into();
//! digits.model.step = Some(StepOptions { loss, ..StepOptions::default() });
//! digits.data.preparation.divisor = Some(16.0);
//! digits.training.epochs = 2;
//! digits.training.learning_rate = Some(0.05);
//! digits.engine.engine = EngineKind::Tract.into();
//! let outcome = run(digits, &mut Quiet, &AtomicBool::new(false))?;
//! assert_eq!(outcome.last.unwrap().epoch, 2);
//! assert!(folder.path().join("run/model.onnx").is_file());
//! # Ok::<(), gnp_base::Error>(())
//! ```
//!
//! It is a chain of stages, each made of the one before by one call: [`Opened`], [`Loaded`], [`Rehearsed`],
//! [`Trained`], and the [`Outcome`]. Who wants to look at the engine between two of them takes the stages by
//! themselves.

mod configuration;
mod counting;
mod curves;
mod init;
mod loaded;
mod observer;
mod opened;
mod outcome;
mod rehearsed;
mod run;
mod settings;
mod setup;
pub mod sweep;
mod trained;
mod trainee;
mod written;

pub use configuration::Configuration;
pub use init::Init;
pub use loaded::Loaded;
pub use observer::{Notice, Observer, Overview, Quiet};
pub use opened::Opened;
pub use outcome::Outcome;
pub use rehearsed::Rehearsed;
pub use run::run;
pub use settings::{
    DataSettings, EngineChoice, EngineSettings, Existing, FitMemory, ModelSettings, OutputSettings, Run,
};
pub use trained::Trained;
pub use trainee::Kind;
#[cfg(feature = "ort")]
pub use trainee::{exposed_numbers, find_artifacts};
