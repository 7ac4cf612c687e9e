//! Clip and Pad: numbers that were attributes, and are inputs of the type of the data.

use super::super::context::Context;
use crate::onnx::proto::NodeProto;
use gnp_base::Result;

/// Clip before 11: `min` and `max` become inputs.
pub(super) fn clip(context: &mut Context<'_>, mut node: NodeProto) -> Result<NodeProto> {
    for (index, bound) in ["min", "max"].into_iter().enumerate() {
        if let Some(number) = node.take_attribute(bound) {
            let number = context.scalar(number.f().into(), node.input(0).unwrap_or_default(), bound);
            node.set_input(index + 1, number);
        }
    }
    Ok(node)
}

/// Pad before 11: `pads` and `value` become inputs.
pub(super) fn pad(context: &mut Context<'_>, mut node: NodeProto) -> Result<NodeProto> {
    let pads = node.take_attribute("pads").map(|pads| pads.ints).unwrap_or_default();
    let pads = context.int64s(&pads, "pads");
    node.set_input(1, pads);
    if let Some(value) = node.take_attribute("value") {
        let value = context.scalar(value.f().into(), node.input(0).unwrap_or_default(), "value");
        node.set_input(2, value);
    }
    Ok(node)
}
