//! Groups of arguments.

mod data;
mod penalty;
mod step;

pub use data::DataArguments;
pub use penalty::PenaltyArguments;
pub use step::StepArguments;
