//! Slice and Split: where to cut was an attribute, and is an input.

use super::super::context::Context;
use crate::onnx::proto::{AttributeProto, NodeProto};
use gnp_base::Result;

/// Slice before 10: `starts`, `ends` and `axes` become inputs.
pub(super) fn to_inputs(context: &mut Context<'_>, mut node: NodeProto) -> Result<NodeProto> {
    for (index, name) in ["starts", "ends", "axes"].into_iter().enumerate() {
        if let Some(attribute) = node.take_attribute(name) {
            let values = context.int64s(&attribute.ints, name);
            node.set_input(index + 1, values);
        }
    }
    Ok(node)
}

/// Split before 13: `split` becomes input 1.
pub(super) fn split_to_input(context: &mut Context<'_>, mut node: NodeProto) -> Result<NodeProto> {
    if let Some(split) = node.take_attribute("split").filter(|split| !split.ints.is_empty()) {
        let split = context.int64s(&split.ints, "split");
        node.set_input(1, split);
    }
    Ok(node)
}

/// Split before 18: into as many equal parts as there are outputs. Since then it says how many.
pub(super) fn split_evenly(_: &mut Context<'_>, mut node: NodeProto) -> Result<NodeProto> {
    if node.input(1).is_none() {
        node.attribute.push(AttributeProto::int("num_outputs", node.output.len() as i64));
    }
    Ok(node)
}
