//! Where along an axis: numbers that an operator takes in int32 as well become int64, so that they go together with
//! shapes and with each other.

use super::context::Context;
use crate::onnx::DataType;
use crate::onnx::proto::{AttributeProto, NodeProto, TensorProto};

/// The inputs of an operator that say places, sizes or axes in int32 or int64. Indices that are data (of Gather,
/// Scatter and their like) stay as they are.
fn operands(node: &NodeProto) -> std::ops::Range<usize> {
    match node.op_type() {
        "Slice" => 1..5,
        "Pad" => 3..4,
        "CenterCropPad" | "CumSum" | "CumProd" => 1..2,
        _ => 0..0,
    }
}

/// Lets these inputs be of int64.
pub(super) fn widen(context: &mut Context<'_>, mut node: NodeProto) -> NodeProto {
    if !node.domain().is_empty() {
        return node;
    }
    for index in operands(&node) {
        let Some(value) = node.input(index).map(str::to_owned) else { continue };
        if context.element(&value) == Some(DataType::Int64) {
            continue;
        }
        let wide = match (context.ints(&value), context.sizes(&value)) {
            (Some(ints), Some(dims)) => {
                let tensor = TensorProto { dims, ..TensorProto::int64s("", ints) };
                context.constant(tensor, &value)
            }
            _ => {
                let to = AttributeProto::int("to", i64::from(DataType::Int64 as i32));
                context.op("Cast", &[&value], vec![to], &value)
            }
        };
        node.set_input(index, wide);
    }
    node
}
