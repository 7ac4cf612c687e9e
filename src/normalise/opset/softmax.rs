//! Softmax, LogSoftmax and Hardmax before 13: over all axes from `axis` on, 1 by default, as if they were one.

use super::super::context::Context;
use crate::Result;
use crate::onnx::proto::{AttributeProto, NodeProto};

/// Over the last axis the old meaning is the new one. Elsewhere the input is made a matrix, and the result gets the
/// input's shape back.
pub(super) fn coerced(context: &mut Context<'_>, mut node: NodeProto) -> Result<NodeProto> {
    let axis = node.take_attribute("axis").map_or(1, |axis| axis.i());
    let input = node.input(0).unwrap_or_default().to_owned();
    let last = axis == -1 || context.rank(&input).is_some_and(|rank| axis == rank as i64 - 1);
    node.attribute.push(AttributeProto::int("axis", -1));
    if last {
        return Ok(node);
    }
    let shape = context.op("Shape", &[&input], vec![], "shape");
    let matrix = context.op("Flatten", &[&input], vec![AttributeProto::int("axis", axis)], "matrix");
    let output = node.output.first().cloned().unwrap_or_default();
    let rows = context.value("rows");
    let reshaped = context.node("Reshape", &[&rows, &shape], &[&output], vec![], "reshaped");
    context.scope.after.push(reshaped);
    (node.input, node.output) = (vec![matrix], vec![rows]);
    Ok(node)
}
