//! `axes`: an attribute once, an input since.

use super::super::context::Context;
use crate::onnx::proto::NodeProto;
use gnp_base::Result;

/// Squeeze, Unsqueeze and the reductions: the axes become input 1. Without axes they mean what they meant: all.
pub(super) fn to_input(context: &mut Context<'_>, mut node: NodeProto) -> Result<NodeProto> {
    if let Some(axes) = node.take_attribute("axes").filter(|axes| !axes.ints.is_empty()) {
        let axes = context.int64s(&axes.ints, "axes");
        node.set_input(1, axes);
    }
    Ok(node)
}
