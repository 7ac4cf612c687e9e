//! The ONNX file: decode, encode, tensors, external data. Knows nothing of training.
//!
//! [`read`] maps a file and decodes it; the payload of every tensor stays a slice of the map. [`write()`] streams a
//! model back, payloads from the map straight to the file, and replaces an existing file atomically or not at all.
//!
//! ```no_run
//! let model = gnp_model::onnx::read("model.onnx")?;
//! println!("{} nodes", model.graph.node.len());
//! gnp_model::onnx::write(model, "copy.onnx", &gnp_model::onnx::WriteOptions::default())?;
//! # Ok::<(), gnp_base::Error>(())
//! ```

mod attribute;
mod external;
mod fits;
mod floats;
mod model;
mod payload;
mod place;
pub mod proto;
mod read;
mod sink;
mod tensor;
mod visit;
mod wire;
mod write;
mod zeros;

pub use external::{ExternalLocation, external_files, external_locations, may_be_chosen};
pub use model::Model;
pub use payload::Payloads;
pub use place::is_taken;
pub use place::{Copying, Placement, Watch, place_file};
pub use proto::tensor_proto::DataType;
pub use read::{from_bytes, read};
pub use write::{ExternalData, WriteOptions, Written, bring_in, data_beside, encode, write, write_watched};
