//! The Gradient Norm Penalty in ONNX training graphs.

pub mod cli;
pub mod engine;
pub mod error;
pub mod graph;
pub mod onnx;
pub mod train;

pub use error::{Error, ErrorKind, Result};
