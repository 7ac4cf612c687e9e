//! Tensors of zeros too large to write out: all of a model share one file without blocks of its own, `<model>.zeros`.

use super::DataType;
use super::Model;
use super::proto::tensor_proto::DataLocation;
use super::proto::{StringStringEntryProto, TensorProto};
use gnp_base::{Error, Result, files};
use std::path::{Path, PathBuf};

/// Stands for the file until the model's name is known.
const PLACEHOLDER: &str = "gnp.zeros";

impl TensorProto {
    /// A tensor of `bytes` zeros, whose payload is made when the model is written.
    pub fn zeros_beside(name: impl Into<String>, element: DataType, dims: &[i64], bytes: u64) -> Self {
        let entry = |key: &str, value: String| StringStringEntryProto { key: Some(key.into()), value: Some(value) };
        Self {
            name: Some(name.into()),
            data_type: Some(element as i32),
            dims: dims.to_vec(),
            data_location: Some(DataLocation::External as i32),
            external_data: vec![
                entry("location", PLACEHOLDER.into()),
                entry("offset", "0".into()),
                entry("length", bytes.to_string()),
            ],
            ..Default::default()
        }
    }

    /// Whether the payload is zeros that wait for the model to be written.
    pub fn is_zeros(&self) -> bool {
        self.external_data.iter().any(|entry| entry.key() == "location" && entry.value() == PLACEHOLDER)
    }
}

/// Whether this is the name of the file until the model's is known.
pub(super) fn is_placeholder(file: &Path) -> bool {
    file == Path::new(PLACEHOLDER)
}

/// The name of the file of zeros of a model at `path`.
pub(super) fn name(path: &Path) -> Result<PathBuf> {
    files::name_beside(path, ".zeros")
}

/// Makes the file of zeros beside `path` where the model needs one, and lets its tensors name it. Returns its name.
pub(super) fn place(model: &mut Model, path: &Path, force: bool) -> Result<Option<PathBuf>> {
    if !model.graph.initializer.iter().any(TensorProto::is_zeros) {
        return Ok(None);
    }
    let name = name(path)?;
    files::ensure_no_input(&files::folder_of(path).join(&name), super::external::external_files(model)?)?;
    let mut most = None;
    for tensor in &mut model.graph.initializer {
        let waits = tensor.is_zeros();
        for entry in tensor.external_data.iter_mut().filter(|entry| waits && entry.key() == "location") {
            entry.value = Some(name.to_string_lossy().into_owned());
        }
        let length = tensor.external_data.iter().find(|e| waits && e.key() == "length");
        most = most.max(length.and_then(|e| e.value().parse::<u64>().ok()));
    }
    let Some(most) = most else { return Ok(None) };
    let file = files::folder_of(path).join(&name);
    files::replace_file(&file, force, |f| f.set_len(most).map_err(|e| Error::io("write the file", &file, &e)))?;
    Ok(Some(name))
}
