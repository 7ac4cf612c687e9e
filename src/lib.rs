//! The Gradient Norm Penalty in ONNX training graphs.

pub mod cli;
pub mod emit;
pub mod engine;
pub mod error;
pub mod graph;
pub mod objective;
pub mod onnx;
pub mod penalty;
pub mod rewrite;
pub mod train;

pub use error::{Error, ErrorKind, Result};
