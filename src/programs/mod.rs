//! The two programs: arguments and messages around the library.
//!
//! Each takes the words of a command line, its own name first, and returns the code that the process is to end with.

mod rewrite;
mod run;

pub use rewrite::gnp_rewrite;
pub use run::gnp_run;
