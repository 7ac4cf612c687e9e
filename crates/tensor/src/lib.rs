//! Tensors in memory, and the ports of a graph that they go through.
//!
//! ```
//! use gnp_tensor::{ElementType, Port, Tensor, check_batch};
//! let ports = [Port::new("x", ElementType::F32, [None, Some(2)])];
//! check_batch(&ports, &[Tensor::zeros(ElementType::F32, &[8, 2])])?;
//! assert!(check_batch(&ports, &[Tensor::zeros(ElementType::F32, &[8, 3])]).is_err());
//! # Ok::<(), gnp_base::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod finite;
mod port;
mod tensor;

pub use finite::NotFinite;
pub use port::{Port, check_batch};
pub use tensor::{ElementType, Tensor};
