//! Initializers that are handed to ONNX Runtime in memory: slices of the files that they lie in, wherever those are.
//!
//! So a model is loaded that no file holds, and nothing is copied or linked for it. ONNX Runtime itself would look for external data beside
//! the model's file alone.

use super::api::{Api, c_string};
use super::value::Value;
use crate::Result;
use crate::onnx::proto::tensor_proto::DataLocation;
use crate::onnx::proto::{StringStringEntryProto, TensorProto};
use crate::onnx::{DataType, Model, Payloads};
use bytes::Bytes;
use ort::sys::ONNXTensorElementDataType as Element;
use std::ffi::CString;

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
    /// Takes the large initializers of the main graph out of `model`, and has it hold all else itself: what is left lies in no other file.
    pub fn take_out(api: &'static Api, model: &mut Model) -> Result<Self> {
        let mut payloads = Payloads::of(model.folder());
        payloads.bring_in(model)?;
        let mut weights = Self { names: vec![], values: vec![], _bytes: vec![] };
        for tensor in &mut model.graph.initializer {
            let Some(bytes) = payloads.bytes(tensor)?.filter(|bytes| bytes.len() >= LARGE) else { continue };
            let Some((element, size)) = tensor.element().and_then(element) else { continue };
            if !fits(&bytes, size, tensor) {
                continue;
            }
            let shape: Vec<usize> = tensor.dims.iter().map(|&dim| usize::try_from(dim).unwrap_or(0)).collect();
            // SAFETY: the elements are as many as the shape says, aligned, and live as long as `_bytes`, beside the value; the
            // memory of `Bytes` does not move.
            let value = unsafe { Value::of_memory(api, bytes.as_ptr(), bytes.len(), &shape, element)? };
            weights.names.push(c_string(tensor.name())?);
            weights.values.push(value);
            weights._bytes.push(bytes);
            leave_out(tensor);
        }
        Ok(weights)
    }
}

/// ONNX Runtime takes a value in place of external data only, wherever that is said to lie.
fn leave_out(tensor: &mut TensorProto) {
    tensor.raw_data = None;
    tensor.float_data.clear();
    tensor.double_data.clear();
    tensor.data_location = Some(DataLocation::External as i32);
    let location = StringStringEntryProto { key: Some("location".into()), value: Some("memory".into()) };
    tensor.external_data = vec![location];
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
fn fits(bytes: &Bytes, size: usize, tensor: &TensorProto) -> bool {
    cfg!(target_endian = "little")
        && tensor.element_count().checked_mul(size) == Some(bytes.len())
        && bytes.as_ptr().addr().is_multiple_of(size)
}
