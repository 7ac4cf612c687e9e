//! What all of gnp shares: errors, which files may be read and replaced, how large things may become, and the names of
//! what is written ([`contract`]).

pub mod choice;
pub mod contract;
pub mod digest;
pub mod error;
pub mod escaped;
pub mod files;
pub mod limits;
pub mod named;
pub mod naming;

pub use error::{Error, ErrorKind, Result};
