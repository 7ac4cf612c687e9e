//! From a model to one training step with the Gradient Norm Penalty, as a graph.
//!
//! [`rewrite`](mod@rewrite) is the way as one call. Its parts: [`weights`] tells what trains, [`objective`] is the loss
//! and its gradient as a function of the parameters, [`penalty`] is the paper, [`transform`] the optimizer,
//! [`precision`] what is computed in half precision, [`emit`] writes.
//!
//! ```
//! use gnp_model::onnx;
//! use gnp_step::penalty::Penalty;
//! use gnp_step::rewrite::{StepOptions, make_step};
//! let model = onnx::read("../../models/vit/model.onnx")?;
//! let penalty = Penalty { r: 0.05, alpha: 1.0, ..Penalty::default() };
//! let loss = gnp_gradient::loss::LossKind::CrossEntropy.into();
//! let (step, report) = make_step(model, &StepOptions { penalty, loss, ..StepOptions::default() })?;
//! assert_eq!(step.graph.output[0].name(), "loss");
//! assert!(!report.parameters.is_empty());
//! # Ok::<(), gnp_base::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod accumulate;
pub mod emit;
pub mod fit;
pub mod objective;
pub mod pass;
pub mod penalty;
pub mod precision;
mod recompute;
pub mod rewrite;
pub mod stack;
pub mod transform;
pub mod weights;
