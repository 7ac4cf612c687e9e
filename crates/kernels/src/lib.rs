//! Kernels for the functions that a step model is made of.
//!
//! A step model calls model-local functions of the domain `gnp`, whose bodies are standard operators: any ONNX Runtime
//! inlines them. Where this library is registered, a kernel of the function's name runs instead.

pub mod conv;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod elementwise;
pub mod floats;
pub mod layer_norm;
mod layout;
mod math;
pub mod matmul;
pub mod max_pool;
pub mod ort;
pub mod reduce;
mod simd;
#[cfg(test)]
mod testing;
pub mod threads;
mod vector;
