//! Groups of arguments, those that both binaries have among them.

pub mod bounded;
mod checkpoint;
mod data;
pub mod named;
mod penalty;
mod schedule;
mod step;

pub use checkpoint::CheckpointArguments;
pub use data::DataArguments;
pub use penalty::PenaltyArguments;
pub use schedule::ScheduleArguments;
pub use step::StepArguments;
