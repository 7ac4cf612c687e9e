//! Groups of arguments that both binaries have.

mod penalty;
mod step;

pub use penalty::PenaltyArguments;
pub use step::StepArguments;
