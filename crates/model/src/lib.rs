//! Any ONNX model: read, edited, analysed and written.

pub mod graph;
pub mod normalise;
pub mod onnx;
pub mod opening;
pub mod schema;
pub mod shapes;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
