//! Training runs: data in batches, learning rates, metrics, checkpoints, and the loop over an
//! [`gnp_engine::Engine`]. [`experiment`] is a whole run as one call.
#![forbid(unsafe_code)]

mod best;
pub mod check;
mod checkpoint;
mod counts;
mod divergence;
mod evaluate;
pub mod experiment;
mod fingerprint;
mod fit;
mod measure;
mod original;
mod plan;
mod policy;
mod progress;
mod rehearsal;
mod run_folder;
mod schedule;
mod scores;
mod span;
mod training;

pub use best::{Best, Metric, Standing};
pub use checkpoint::Checkpoint;
pub use evaluate::{Evaluation, class_count, evaluate};
#[cfg(feature = "ort")]
pub use experiment::{exposed_numbers, find_artifacts};
pub use fingerprint::Fingerprint;
pub use fit::{Ended, Fit, fit, prepare};
pub use original::Original;
pub use plan::{OwnRates, OwnWarmup, Plan, Planned, Steps};
pub use policy::CheckpointPolicy;
pub use progress::Progress;
pub use rehearsal::rehearse;
pub use run_folder::{RunFolder, is_saving};
pub use schedule::{LearningRate, Schedule};
pub use span::Span;
pub use training::TrainingSettings;
