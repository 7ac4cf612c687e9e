//! Any ONNX model: read, edited, analysed and written.
//!
//! [`onnx`] is the file; [`schema`] checks its nodes by the standard; [`normalise`](mod@normalise) brings them to one
//! form; [`shapes`] tells types and sizes of all values; [`opening`] changes the sizes of the inputs; [`composite`]
//! writes out operators that others define; [`graph`] edits.
//!
//! ```
//! use gnp_model::{normalise::normalise, onnx, shapes};
//! use std::collections::BTreeMap;
//! let mut model = onnx::read("../../models/cnn/model.onnx")?;
//! normalise(&mut model)?;
//! let facts = shapes::analyse(&model, &BTreeMap::new())?;
//! let output = model.graph.output[0].name();
//! assert_eq!(facts.get(output).unwrap().to_string(), "FLOAT [batch, 10]");
//! # Ok::<(), gnp_base::Error>(())
//! ```

pub mod composite;
pub mod float32;
pub mod graph;
pub mod memory;
pub mod normalise;
pub mod onnx;
pub mod opening;
pub mod recurrent;
pub mod schema;
pub mod shapes;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
