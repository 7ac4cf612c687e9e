//! The Gradient Norm Penalty in ONNX training graphs.
//!
//! [`rewrite`](mod@rewrite) makes a step model of a forward model, or puts the penalty into an ONNX Runtime training
//! artifact; [`train`] trains either through an [`engine`], and [`experiment`] is a whole run as one call. The steps of
//! a rewrite are modules of their own: [`onnx`] reads and writes the file, [`graph`] edits it, [`float32`], [`normalise`],
//! [`opening`], [`shapes`], [`composite`] and [`lowering`] prepare a forward model, [`weights`] tells what trains,
//! [`loss`] puts a loss on it and [`autodiff`] differentiates it; [`objective`] is the loss and its gradient,
//! [`penalty`] is the paper, [`transform`] the optimizer, and [`emit`] writes the result. [`contract`] has the names
//! that a caller of it sees.
//!
//! ```
//! use gnp::emit::artifact::{self, Inside, Settings};
//! use gnp::objective::Artifact;
//! use gnp::onnx;
//! use gnp::penalty::Penalty;
//!
//! let mut model = onnx::read("models/mlp/training_model.onnx")?;
//! let objective = Artifact::recognise(&model)?;
//! let penalty = Penalty { r: 0.05, alpha: 1.0, ..Penalty::default() };
//! artifact::penalise(&mut model, &objective, &Settings { penalty, ..Settings::default() }, &Inside::default())?;
//! assert_eq!(model.graph.node.iter().filter(|node| node.op_type() == "SoftmaxCrossEntropyLoss").count(), 2);
//! # Ok::<(), gnp::Error>(())
//! ```
//!
//! The library never prints and never exits; every failure is an [`Error`] that says where, what, and what to do.

pub mod cli;
#[cfg(all(feature = "ort", feature = "install", feature = "tract"))]
pub mod programs;

pub use ::gnp_train as train;
pub use gnp_base::{Error, ErrorKind, Result, caught, choice, contract, error, escaped, files, formula, limits, named};
pub use gnp_checkpoint as checkpoint;
pub use gnp_data as data;
pub use gnp_engine as engine;
pub use gnp_gradient::{autodiff, loss, lowering, whole};
pub use gnp_model::{composite, float32, graph, normalise, onnx, opening, recurrent, schema, shapes};
pub use gnp_report as report;
pub use gnp_step::{accumulate, emit, objective, penalty, precision, rewrite, transform, weights};
pub use gnp_tensor as tensor;
pub use gnp_train::{check, experiment};

/// Compiles the README's examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
