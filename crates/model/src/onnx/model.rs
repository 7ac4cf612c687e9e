//! A model in memory.

use super::proto::{GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, standard_domain};
use gnp_base::files::folder_of;
use gnp_base::limits::Limits;
use gnp_base::{Error, Result};
use std::path::{Path, PathBuf};

/// What is expected of a file that is no model.
pub(super) const NO_MODEL: &str = "expected a protobuf file as exporters write it, with the ending .onnx";

/// A decoded model and the file that it came from.
///
/// Tensor payloads are slices of the mapped file; cloning a model clones no weight.
#[derive(Clone, Debug)]
pub struct Model {
    /// Everything but the main graph; its field `graph` is empty.
    pub header: ModelProto,
    /// The main graph.
    pub graph: GraphProto,
    /// How large what is made of it may become.
    pub limits: Limits,
    path: PathBuf,
}

impl Model {
    /// A model from its messages; external data is relative to the folder of `path`.
    ///
    /// # Errors
    /// Where the model has no graph.
    pub fn new(mut proto: ModelProto, path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        match proto.graph.take() {
            Some(graph) => Ok(Self { header: proto, graph, limits: Limits::default(), path }),
            None => Err(Error::format("not an ONNX model: it has no graph").help(NO_MODEL).in_file(path)),
        }
    }

    /// The messages as they stand in a file.
    pub fn into_proto(self) -> ModelProto {
        ModelProto { graph: Some(self.graph), ..self.header }
    }

    /// The file that the model came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that external data is relative to.
    pub fn folder(&self) -> &Path {
        folder_of(&self.path)
    }

    /// The value of an entry of the model's metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.header.metadata_props.iter().find(|e| e.key() == key).map(|e| e.value())
    }

    /// Adds an entry to the model's metadata.
    pub fn add_metadata(&mut self, key: &str, value: impl Into<String>) {
        self.header.metadata_props.push(StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) });
    }

    /// The version of the operator set `domain` (empty for `ai.onnx`) that the model is written in.
    pub fn opset(&self, domain: &str) -> Option<i64> {
        self.header.opset_import.iter().find(|o| standard_domain(o.domain()) == domain).map(|o| o.version())
    }

    /// Imports the operators of a domain, in this version, unless the model does so already.
    pub fn import(&mut self, domain: &str, version: i64) {
        if self.opset(domain).is_none() {
            let import = OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
            self.header.opset_import.push(import);
        }
    }
}
