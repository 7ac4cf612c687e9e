//! Initializers that are handed to ONNX Runtime in memory: slices of the files that they lie in, wherever those are.
//!
//! So a model is loaded that no file holds, and nothing is copied or linked for it. ONNX Runtime itself would look for external data beside
//! the model's file alone.

use super::api::{Api, c_string};
use super::value::Value;
use crate::onnx::proto::TensorProto;
use crate::onnx::proto::tensor_proto::DataLocation;
use crate::onnx::{self, DataType, ExternalLocation, Model, for_each_tensor_mut};
use crate::{Error, Result};
use bytes::Bytes;
use foldhash::HashMap;
use ort::sys::ONNXTensorElementDataType as Element;
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// Smaller ones stay in the model: their numbers may decide shapes.
const LARGE: usize = 64 << 10;

/// Initializers taken out of a model. They must live as long as the session that they were handed to.
pub(super) struct Weights {
    pub names: Vec<CString>,
    pub values: Vec<Value<'static>>,
    /// What the values lie in.
    _bytes: Vec<Bytes>,
}

impl Weights {
    /// Takes the large initializers of the main graph out of `model`, and brings all other external data into it: what is left lies in no
    /// other file.
    pub fn take_out(api: &'static Api, model: &mut Model) -> Result<Self> {
        let mut files = Files { folder: model.folder().to_owned(), maps: HashMap::default() };
        let mut weights = Self { names: vec![], values: vec![], _bytes: vec![] };
        for tensor in &mut model.graph.initializer {
            let Some(bytes) = files.bytes(tensor)?.filter(|bytes| bytes.len() >= LARGE) else { continue };
            let Some(element) = tensor.element().and_then(element).filter(|element| fits(&bytes, *element, tensor))
            else {
                continue;
            };
            let shape: Vec<usize> = tensor.dims.iter().map(|&dim| usize::try_from(dim).unwrap_or(0)).collect();
            // SAFETY: the elements are as many as the shape says, aligned, and live as long as `_bytes`, beside the value; the
            // memory of `Bytes` does not move.
            let value = unsafe { Value::of_memory(api, bytes.as_ptr(), bytes.len(), &shape, element.0)? };
            weights.names.push(c_string(tensor.name())?);
            weights.values.push(value);
            weights._bytes.push(bytes);
            stub(tensor);
        }
        let mut failed = None;
        for_each_tensor_mut(model, &mut |tensor| {
            if failed.is_none() && tensor.is_external() && !is_stub(tensor) {
                failed = files.bring_in(tensor).err();
            }
        });
        failed.map_or(Ok(weights), Err)
    }
}

/// The location that stands for memory; no file has it.
const STUB: &str = "gnp.memory";

/// ONNX Runtime replaces external initializers only.
fn stub(tensor: &mut TensorProto) {
    let entry = |key: &str, value: &str| onnx::proto::StringStringEntryProto {
        key: Some(key.into()),
        value: Some(value.into()),
    };
    tensor.raw_data = None;
    tensor.float_data.clear();
    tensor.double_data.clear();
    tensor.data_location = Some(DataLocation::External as i32);
    tensor.external_data = vec![entry("location", STUB)];
}

fn is_stub(tensor: &TensorProto) -> bool {
    tensor.external_data.iter().any(|entry| entry.value() == STUB)
}

/// What ONNX Runtime calls an element type, and the bytes that one takes; none for types that stay in the model.
fn element(element: DataType) -> Option<(Element, usize)> {
    Some(match element {
        DataType::Float => (Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, 4),
        DataType::Double => (Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE, 8),
        DataType::Float16 => (Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, 2),
        DataType::Bfloat16 => (Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16, 2),
        DataType::Int64 => (Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, 8),
        DataType::Int32 => (Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, 4),
        DataType::Uint8 => (Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, 1),
        DataType::Int8 => (Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, 1),
        _ => return None,
    })
}

/// Whether the bytes are the elements of the tensor, and lie where such elements can.
fn fits(bytes: &Bytes, (_, size): (Element, usize), tensor: &TensorProto) -> bool {
    cfg!(target_endian = "little")
        && tensor.element_count().checked_mul(size) == Some(bytes.len())
        && bytes.as_ptr().addr().is_multiple_of(size)
}

/// The files of external data, each mapped once.
struct Files {
    folder: PathBuf,
    maps: HashMap<PathBuf, Bytes>,
}

impl Files {
    /// The payload of a tensor as it lies in memory or in a file; none where it is in another form.
    fn bytes(&mut self, tensor: &TensorProto) -> Result<Option<Bytes>> {
        if let Some(location) = ExternalLocation::of(tensor)? {
            return self.slice(&location).map(Some);
        }
        Ok(tensor.raw_data.clone().or_else(|| match &tensor.float_data[..] {
            [floats] => Some(floats.clone()),
            _ => None,
        }))
    }

    fn bring_in(&mut self, tensor: &mut TensorProto) -> Result<()> {
        if let Some(location) = ExternalLocation::of(tensor)? {
            tensor.raw_data = Some(self.slice(&location)?);
            tensor.external_data.clear();
            tensor.data_location = None;
        }
        Ok(())
    }

    fn slice(&mut self, location: &ExternalLocation) -> Result<Bytes> {
        let file = self.folder.join(&location.file);
        let map = self.map(&file)?;
        let begin = usize::try_from(location.offset).unwrap_or(usize::MAX);
        let end = location.length.map_or(Some(map.len()), |length| begin.checked_add(usize::try_from(length).ok()?));
        match end.filter(|&end| begin <= end && end <= map.len()) {
            Some(end) => Ok(map.slice(begin..end)),
            None => Err(Error::input("the external data ends beyond its file").in_file(file)),
        }
    }

    fn map(&mut self, file: &Path) -> Result<Bytes> {
        if let Some(map) = self.maps.get(file) {
            return Ok(map.clone());
        }
        let map = onnx::map(file)?;
        self.maps.insert(file.to_owned(), map.clone());
        Ok(map)
    }
}
