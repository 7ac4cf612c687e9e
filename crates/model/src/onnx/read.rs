//! Reading: map, check, decode.

use super::model::{Model, NO_MODEL};
use super::proto::ModelProto;
use super::{external, fits, wire};
use bytes::Bytes;
use gnp_base::files;
use gnp_base::{Error, Result};
use prost::Message as _;
use std::path::Path;

/// Maps and decodes the model at `path`.
///
/// # Errors
/// Where the file cannot be read, is empty, cut short or no ONNX model, has fields that would be lost, or refers to
/// external data that is missing, too short, or outside the model's folder; where a tensor has other bytes than its
/// dims say.
pub fn read(path: impl AsRef<Path>) -> Result<Model> {
    let path = path.as_ref();
    from_bytes(files::map(path)?, path)
}

/// Decodes a model that is in memory. The payload of every tensor stays a slice of `bytes`; external data, and what is
/// said of the model, are relative to `path`, which need not exist.
///
/// # Errors
/// As [`read`].
pub fn from_bytes(bytes: Bytes, path: impl AsRef<Path>) -> Result<Model> {
    let path = path.as_ref();
    let model = decode(bytes).and_then(|proto| Model::new(proto, path)).map_err(|e| e.in_file(path))?;
    external::check(&model)?;
    fits::check(&model)?;
    Ok(model)
}

fn decode(bytes: Bytes) -> Result<ModelProto> {
    if bytes.is_empty() {
        return Err(Error::format("the file is empty").help(NO_MODEL));
    }
    wire::check_model(&bytes)?;
    ModelProto::decode(bytes).map_err(|e| Error::format(format!("not an ONNX model: {e}")).help(NO_MODEL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{GraphProto, TensorProto};

    #[test]
    fn payloads_are_slices_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        let raw_data = Some(Bytes::from(vec![7u8; 4096]));
        let initializer = vec![TensorProto { raw_data, float_data: vec![vec![1u8; 8].into()], ..Default::default() }];
        let graph = Some(GraphProto { initializer, ..Default::default() });
        std::fs::write(&path, ModelProto { graph, ..Default::default() }.encode_to_vec()).unwrap();

        let bytes = files::map(&path).unwrap();
        let range = bytes.as_ptr_range();
        let proto = decode(bytes.clone()).unwrap();
        let tensor = &proto.graph.unwrap().initializer[0];
        assert!(range.contains(&tensor.raw_data.as_ref().unwrap().as_ptr()));
        assert!(range.contains(&tensor.float_data[0].as_ptr()));
    }

    #[test]
    fn what_is_no_model_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        for (bytes, says) in [(&b""[..], "empty"), (b"hello world", "not an ONNX model"), (b"\x08\x08", "no graph")] {
            std::fs::write(&path, bytes).unwrap();
            let error = read(&path).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert!(error.to_string().contains("m.onnx"), "{error}");
        }
    }
}
