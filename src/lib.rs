//! The Gradient Norm Penalty in ONNX training graphs.
//!
//! [`rewrite`](mod@rewrite) makes a step model of a forward model, or puts the penalty into an ONNX Runtime training
//! artifact; [`train`] trains either through an [`engine`], and [`experiment`] is a whole run as one call. The steps of
//! a rewrite are modules of their own: [`onnx`] reads and writes the file, [`graph`] edits it, [`normalise`],
//! [`opening`], [`shapes`] and [`lowering`] prepare a forward model, [`weights`] tells what trains, [`loss`] puts a
//! loss on it and [`autodiff`] differentiates it; [`objective`] is the loss and its gradient, [`penalty`] is the paper,
//! [`transform`] the optimizer, and [`emit`] writes the result. [`contract`] has the names that a caller of it sees.
//!
//! ```
//! use gnp::emit::artifact::{self, Settings};
//! use gnp::objective::Artifact;
//! use gnp::onnx;
//! use gnp::penalty::Penalty;
//!
//! let mut model = onnx::read("models/mlp/training_model.onnx")?;
//! let objective = Artifact::recognise(&model)?;
//! let penalty = Penalty { r: 0.05, alpha: 1.0, ..Penalty::default() };
//! artifact::penalise(&mut model, &objective, &Settings { penalty, ..Settings::default() })?;
//! assert_eq!(model.graph.node.iter().filter(|node| node.op_type() == "SoftmaxCrossEntropyLoss").count(), 2);
//! # Ok::<(), gnp::Error>(())
//! ```
//!
//! The library never prints and never exits; every failure is an [`Error`] that says where, what, and what to do.

pub mod autodiff;
pub mod choice;
pub mod cli;
pub mod contract;
pub mod emit;
pub mod engine;
pub mod error;
pub mod escaped;
pub mod experiment;
pub mod files;
pub mod graph;
pub mod limits;
pub mod loss;
pub mod lowering;
mod naming;
pub mod normalise;
pub mod objective;
pub mod onnx;
pub mod opening;
pub mod penalty;
mod quietly;
pub mod rewrite;
pub mod schema;
pub mod shapes;
pub mod train;
pub mod transform;
pub mod weights;

pub use error::{Error, ErrorKind, Result};

/// Compiles the README's examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
