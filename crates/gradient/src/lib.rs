//! The gradient of an ONNX graph.

pub mod autodiff;
pub mod loss;
pub mod lowering;
pub mod whole;
