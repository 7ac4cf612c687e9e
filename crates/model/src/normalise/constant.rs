//! Constants that are nodes become initializers under the name of the node's output: exporters keep weights there too.

use super::context::Context;
use super::origin::Origin;
use crate::onnx::DataType;
use crate::onnx::proto::{NodeProto, TensorProto};
use bytes::Bytes;

/// Makes an initializer of a `Constant` or `ConstantOfShape` node and returns None; returns any other node. What a
/// graph returns stays a node, and so do strings and sparse tensors.
pub(super) fn move_out(context: &mut Context, mut node: NodeProto) -> Option<NodeProto> {
    let (tensor, origin) = match node.op_type() {
        "Constant" if is_free(context, &node) => (constant(&mut node), Origin::Constant),
        "ConstantOfShape" if is_free(context, &node) => (constant_of_shape(context, &node), Origin::ConstantOfShape),
        _ => return Some(node),
    };
    let Some(mut tensor) = tensor else { return Some(node) };
    let name = node.output.swap_remove(0);
    tensor.name = Some(name);
    context.move_in(tensor, origin);
    None
}

/// The value of a `Constant` of floating-point numbers, under the name of its output, taken out of it.
pub(super) fn floating(node: &mut NodeProto) -> Option<TensorProto> {
    if !node.is("", "Constant") {
        return None;
    }
    let is_floating = match node.attribute("value") {
        Some(attribute) => attribute.t.as_deref()?.element()?.is_floating(),
        None => node.attribute("value_float").or(node.attribute("value_floats")).is_some(),
    };
    let name = node.output.first().filter(|_| is_floating).cloned()?;
    Some(TensorProto { name: Some(name), ..constant(node)? })
}

fn is_free(context: &Context, node: &NodeProto) -> bool {
    node.output(0).is_some_and(|output| !context.scope.outputs.contains(output))
}

/// The value of a `Constant`, taken out of it where it is a tensor.
fn constant(node: &mut NodeProto) -> Option<TensorProto> {
    if let Some(attribute) = node.attribute.iter_mut().find(|a| a.name() == "value") {
        return attribute.t.take().map(|tensor| *tensor);
    }
    let floats = |dims: &[i64], values: &[f32]| {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        TensorProto::raw("", DataType::Float, dims, bytes.into())
    };
    let [attribute] = &node.attribute[..] else { return None };
    match attribute.name() {
        "value_float" => Some(floats(&[], &[attribute.f()])),
        "value_floats" => Some(floats(&[attribute.floats.len() as i64], &attribute.floats)),
        "value_int" => Some(TensorProto { dims: vec![], ..TensorProto::int64s("", &[attribute.i()]) }),
        "value_ints" => Some(TensorProto::int64s("", &attribute.ints)),
        _ => None,
    }
}

/// The tensor that a `ConstantOfShape` makes, where its shape is constant and its elements are floating.
fn constant_of_shape(context: &mut Context, node: &NodeProto) -> Option<TensorProto> {
    let dims = context.ints(node.input(0)?)?.to_vec();
    let (element, bytes) = match node.attribute("value").and_then(|a| a.t.as_deref()) {
        None => (DataType::Float, vec![0; 4]),
        Some(tensor) => (tensor.element().filter(|e| e.is_floating())?, element_bytes(tensor)?),
    };
    let size = dims.iter().try_fold(bytes.len(), |size, &d| size.checked_mul(usize::try_from(d).ok()?))?;
    // What is larger stays a node, which takes no room.
    let computed_bytes = context.computed_bytes.checked_add(size)?;
    if computed_bytes > context.limits.constant_bytes {
        return None;
    }
    context.computed_bytes = computed_bytes;
    let payload = if bytes.iter().all(|&b| b == 0) { vec![0; size] } else { bytes.repeat(size / bytes.len()) };
    Some(TensorProto::raw("", element, &dims, Bytes::from(payload)))
}

/// The bytes of the one element of a tensor.
fn element_bytes(tensor: &TensorProto) -> Option<Vec<u8>> {
    if tensor.is_external() || tensor.dims.iter().any(|&d| d != 1) {
        return None;
    }
    let bytes = match (&tensor.raw_data, tensor.element()?) {
        (Some(raw), _) => raw.to_vec(),
        (None, DataType::Float) => (*tensor.floats()?.first()? as f32).to_le_bytes().to_vec(),
        (None, DataType::Double) => tensor.floats()?.first()?.to_le_bytes().to_vec(),
        _ => return None,
    };
    (!bytes.is_empty()).then_some(bytes)
}
