//! The two programs: arguments and messages around the library.
//!
//! Each takes the words of a command line, its own name first, and returns the code that the process is to end with.
//! What they do is there for other front ends too, which know settings by the programs' flags: a run or a sweep as the
//! words ask for it, and the report of a rewrite.

mod rewrite;
mod run;

pub use rewrite::{gnp_rewrite, rewrite_command, rewrite_reported};
pub use run::{SweepLine, gnp_run, run_command, run_of};
