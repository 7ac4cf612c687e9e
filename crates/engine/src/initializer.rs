//! The value of an initializer, wherever its elements lie.

use crate::ports::element_type;
use gnp_base::{Error, Result};
use gnp_model::onnx::Payloads;
use gnp_model::onnx::proto::TensorProto;
use gnp_tensor::{ElementType, Tensor};
use std::path::Path;

/// A copy of `tensor`, whose external data is relative to `folder`.
///
/// # Errors
/// Where its elements are of a type that [`Tensor`] does not have, or not as many as its shape says.
pub(super) fn read(tensor: &TensorProto, folder: &Path) -> Result<Tensor> {
    let faulty = |what: String| Error::format(format!("the initializer `{}` {what}", tensor.name()));
    let element = tensor.element().and_then(element_type).ok_or_else(|| {
        let found = tensor.element().map_or("an unknown type", |element| element.as_str_name());
        faulty(format!("has elements of {found}: expected float32, int32 or int64"))
    })?;
    let shape: Vec<usize> = tensor.dims.iter().map(|&dim| usize::try_from(dim).unwrap_or(0)).collect();
    let of =
        |bytes: &[u8]| Tensor::from_le_bytes(element, &shape, bytes).map_err(|e| faulty(format!("is damaged: {e}")));
    if tensor.is_zeros() {
        return Ok(Tensor::zeros(element, &shape));
    }
    if let Some(bytes) = Payloads::new(folder).of(tensor)? {
        return of(&bytes);
    }
    let bytes: Option<Vec<u8>> = match element {
        ElementType::F32 => tensor.floats().map(|v| v.into_iter().flat_map(|x| (x as f32).to_le_bytes()).collect()),
        ElementType::I32 => tensor.ints().map(|v| v.into_iter().flat_map(|x| (x as i32).to_le_bytes()).collect()),
        ElementType::I64 => tensor.ints().map(|v| v.into_iter().flat_map(i64::to_le_bytes).collect()),
    };
    of(&bytes.ok_or_else(|| faulty("is incomplete".into()))?)
}
