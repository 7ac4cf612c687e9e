//! Groups of arguments.

mod checkpoint;
mod penalty;
mod step;

pub use checkpoint::CheckpointArguments;
pub use penalty::PenaltyArguments;
pub use step::StepArguments;
