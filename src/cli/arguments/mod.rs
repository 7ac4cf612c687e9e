//! Groups of arguments, those that both binaries have among them.

pub mod bounded;
mod checkpoint;
mod data;
mod engine;
mod given;
mod invocation;
mod loss;
mod memory;
pub mod named;
mod penalty;
mod schedule;
mod step;

pub use checkpoint::CheckpointArguments;
pub use data::DataArguments;
pub use engine::EngineArguments;
pub use given::Given;
pub use invocation::InvocationArguments;
pub use memory::MemoryArguments;
pub use penalty::PenaltyArguments;
pub use schedule::ScheduleArguments;
pub use step::StepArguments;
