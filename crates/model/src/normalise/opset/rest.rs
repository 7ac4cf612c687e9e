//! Operators with a change of their own.

use super::super::context::Context;
use crate::onnx::proto::{AttributeProto, NodeProto};
use gnp_base::Result;

/// TopK before 10: `k` becomes input 1.
pub(super) fn top_k(context: &mut Context<'_>, mut node: NodeProto) -> Result<NodeProto> {
    if let Some(k) = node.take_attribute("k") {
        let k = context.int64s(&[k.i()], "k");
        node.set_input(1, k);
    }
    Ok(node)
}

/// Scatter is called ScatterElements since 11.
pub(super) fn scatter(_: &mut Context<'_>, mut node: NodeProto) -> Result<NodeProto> {
    node.op_type = Some("ScatterElements".into());
    Ok(node)
}

/// Dropout before 10: the mask has the type of the data; now it is of booleans.
pub(super) fn dropout_mask(context: &mut Context<'_>, mut node: NodeProto) -> Result<NodeProto> {
    let Some(mask) = node.output(1).map(str::to_owned) else { return Ok(node) };
    node.output.truncate(1);
    if context.is_used(&mask) {
        let bools = context.value("mask");
        let data = node.input(0).unwrap_or_default().to_owned();
        let numbers = context.node("CastLike", &[&bools, &data], &[&mask], vec![], "mask");
        context.scope.after.push(numbers);
        node.output.push(bools);
    }
    Ok(node)
}

/// Dropout before 12: `ratio` becomes input 1. Input 2, `training_mode`, stays away: it was for inference only.
pub(super) fn dropout_ratio(context: &mut Context<'_>, mut node: NodeProto) -> Result<NodeProto> {
    if let Some(ratio) = node.take_attribute("ratio") {
        let ratio = context.float(ratio.f(), "ratio");
        node.set_input(1, ratio);
    }
    Ok(node)
}

/// RoiAlign before 16: the coordinates were not shifted by half a pixel; now that is the default.
pub(super) fn roi_align(_: &mut Context<'_>, mut node: NodeProto) -> Result<NodeProto> {
    node.attribute.push(AttributeProto::string("coordinate_transformation_mode", "output_half_pixel"));
    Ok(node)
}
