//! The gradient of an ONNX graph: [`loss`] puts a loss at its end, [`lowering`] lets what trains differently from how
//! it infers train, [`autodiff`] appends the gradient.
//!
//! ```
//! use gnp_gradient::autodiff::{Gradients, gradient};
//! use gnp_model::graph::{Builder, Graph, Value, scalar_info};
//! use gnp_model::onnx::{DataType, proto::GraphProto};
//! let input = vec![scalar_info("x", DataType::Float)];
//! let mut graph = Graph::new(GraphProto { input, ..Default::default() })?;
//! let x = Value::from("x");
//! let y = Builder::new(&mut graph, "loss").mul(&x, &x);
//! let dx = gradient(&mut graph, &y, &[x], Gradients::Standard, "gradient")?;
//! assert!(dx[0].is_some());
//! # Ok::<(), gnp_base::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod autodiff;
pub mod loss;
pub mod lowering;
pub mod whole;
