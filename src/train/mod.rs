//! Training runs: data in batches, learning rates, metrics, checkpoints, and the loop over an [`crate::engine::Engine`].

mod artifacts;
mod checkpoint;
pub mod data;
mod evaluate;
mod fit;
mod metrics;
pub mod report;
mod run_folder;
mod schedule;

pub use artifacts::{exposed_numbers, find_artifacts};
pub use checkpoint::{Checkpoint, Fingerprint, Progress};
pub use evaluate::{Evaluation, class_count, evaluate};
pub use fit::{Config, Ended, Run, fit, prepare};
pub use metrics::{EpochReport, Event, Mean, Measures, StepReport, count_in_top};
pub use run_folder::RunFolder;
pub use schedule::{LearningRate, Schedule};
