//! Tensors in memory, and the ports of a graph that they go through.

pub mod finite;
mod port;
mod tensor;

pub use finite::NotFinite;
pub use port::{Port, check_batch};
pub use tensor::{ElementType, Tensor};
