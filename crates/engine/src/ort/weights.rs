//! External data that is handed to ONNX Runtime in memory: the files are mapped, wherever they lie.
//!
//! So a model is loaded that no file holds, and nothing is copied or linked for it. ONNX Runtime itself would look for
//! external data beside the model's file alone.

use super::api::c_path;
use bytes::Bytes;
use gnp_base::Result;
use gnp_model::onnx::proto::tensor_proto::DataLocation;
use gnp_model::onnx::proto::{StringStringEntryProto, TensorProto};
use gnp_model::onnx::{ExternalLocation, Model, Payloads};
use ort::sys::os_char;
use std::path::{Path, PathBuf};

/// Smaller tensors are brought into the model: their numbers may decide shapes.
const LARGE: u64 = 64 << 10;

/// The files that a model's large initializers lie in. They must live as long as the session that they were handed to.
#[derive(Default)]
pub(super) struct Weights {
    files: Vec<PathBuf>,
    /// What the model calls each file, as ONNX Runtime takes it.
    pub names: Vec<Vec<os_char>>,
    /// The bytes of each file.
    pub maps: Vec<Bytes>,
}

impl Weights {
    /// Maps the files of the large initializers of `model`'s main graph, and has it hold all else itself.
    pub fn take_out(model: &mut Model) -> Result<Self> {
        let mut payloads = Payloads::new(model.folder());
        let mut weights = Self::default();
        let mut large = Vec::new();
        for (index, tensor) in model.graph.initializer.iter_mut().enumerate() {
            let Some(location) = ExternalLocation::of(tensor)? else { continue };
            let map = payloads.file(&location.file)?;
            let length = location.length.unwrap_or((map.len() as u64).saturating_sub(location.offset));
            if length >= LARGE {
                let file = weights.number(&location.file, map)?;
                large.push((index, reference(file, location.offset, length)));
                // Until the others are brought in.
                tensor.data_location = None;
            }
        }
        payloads.bring_in(model)?;
        for (index, entries) in large {
            let tensor: &mut TensorProto = &mut model.graph.initializer[index];
            tensor.data_location = Some(DataLocation::External as i32);
            tensor.external_data = entries;
        }
        Ok(weights)
    }

    fn number(&mut self, file: &Path, map: Bytes) -> Result<usize> {
        if let Some(number) = self.files.iter().position(|known| known == file) {
            return Ok(number);
        }
        let number = self.files.len();
        self.files.push(file.to_owned());
        self.names.push(c_path(Path::new(&name(number)))?);
        self.maps.push(map);
        Ok(number)
    }
}

fn name(file: usize) -> String {
    format!("memory{file}")
}

fn reference(file: usize, offset: u64, length: u64) -> Vec<StringStringEntryProto> {
    [("location", name(file)), ("offset", offset.to_string()), ("length", length.to_string())]
        .map(|(key, value)| StringStringEntryProto { key: Some(key.into()), value: Some(value) })
        .to_vec()
}
