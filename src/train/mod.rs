//! Training runs: data in batches, learning rates, metrics, checkpoints, and the loop over an
//! [`crate::engine::Engine`].

mod artifacts;
pub mod augment;
mod best;
mod checkpoint;
mod counts;
pub mod data;
mod divergence;
mod evaluate;
mod fit;
mod means;
mod measure;
mod metrics;
mod plan;
mod policy;
mod rehearsal;
pub mod report;
mod run_folder;
mod schedule;
mod span;

pub use artifacts::{exposed_numbers, find_artifacts};
pub use best::{Best, Metric, Standing};
pub use checkpoint::{Checkpoint, Fingerprint, Progress};
pub use counts::Counts;
pub use evaluate::{Evaluation, class_count, evaluate};
pub use fit::{Config, Ended, Run, fit, prepare};
pub use means::Means;
pub use metrics::{EpochReport, Event, Mean, Measures, StepReport, count_in_top};
pub use plan::{GrWarmup, Plan, Planned};
pub use policy::CheckpointPolicy;
pub use rehearsal::rehearse;
pub use run_folder::{RunFolder, is_saving};
pub use schedule::{LearningRate, Schedule};
pub use span::Span;
