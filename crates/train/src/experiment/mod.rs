//! A whole training run as one call, from files to files: what `gnp-run` does.
//!
//! [`run`] takes an [`Experiment`], tells an [`Observer`] what happens, and returns an [`Outcome`]. What it trains is
//! an ordinary model, which it makes a step model of, a step model, or a folder of ONNX Runtime's training artifacts.
//!
//! ```
//! use gnp_train::experiment::{run, EngineKind, Quiet, Experiment};
//! use gnp_gradient::loss::{Wanted, LossKind};
//! use gnp_step::rewrite::StepOptions;
//! use std::sync::atomic::AtomicBool;
//!
//! let folder = tempfile::tempdir().unwrap();
//! let mut experiment = Experiment::new("../../models/mlp/model.onnx", "../../models/digits.npz", folder.path().join("run"));
//! let loss = Wanted { loss: Some(LossKind::CrossEntropy), ..Wanted::default() };
//! experiment.step = Some(StepOptions { loss, ..StepOptions::default() });
//! experiment.config.epochs = 2;
//! experiment.preparation.divisor = Some(16.0);
//! experiment.engine = EngineKind::Tract;
//! let outcome = run(experiment, &mut Quiet, &AtomicBool::new(false))?;
//! assert_eq!(outcome.last.unwrap().epoch, 2);
//! assert!(folder.path().join("run/model.onnx").is_file());
//! # Ok::<(), gnp_base::Error>(())
//! ```

mod configuration;
mod init;
mod options;
mod outcome;
mod run;
pub mod sweep;
mod trainee;

pub use configuration::Configuration;
pub use init::Init;
pub use options::{EngineKind, Existing, Experiment};
pub use outcome::Outcome;
pub use run::{Notice, Observer, Overview, Quiet, run};
pub use trainee::Kind;
