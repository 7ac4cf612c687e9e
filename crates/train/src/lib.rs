//! Training runs: data in batches, learning rates, metrics, checkpoints, and the loop over an
//! [`gnp_engine::Engine`].

mod artifacts;
mod best;
pub mod check;
mod checkpoint;
mod counts;
mod divergence;
mod evaluate;
pub mod experiment;
mod fit;
mod measure;
mod plan;
mod policy;
mod rehearsal;
mod run_folder;
mod schedule;
mod span;

pub use artifacts::{exposed_numbers, find_artifacts};
pub use best::{Best, Metric, Standing};
pub use checkpoint::{Checkpoint, Fingerprint, Progress};
pub use evaluate::{Evaluation, class_count, evaluate};
pub use fit::{Config, Ended, Run, fit, prepare};
pub use plan::{GrWarmup, Plan, Planned};
pub use policy::CheckpointPolicy;
pub use rehearsal::rehearse;
pub use run_folder::{RunFolder, is_saving};
pub use schedule::{LearningRate, Schedule};
pub use span::Span;
