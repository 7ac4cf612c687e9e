//! Softmax, LogSoftmax and Hardmax before 13: over all axes from `axis` on, 1 by default, as if they were one.

use super::super::context::Context;
use crate::graph::Facts;
use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto};
use gnp_base::{Result, naming};

/// Over the last axis the old meaning is the new one. Elsewhere the input is made a matrix, and the result gets the
/// input's shape back.
pub(super) fn coerced(context: &mut Context<'_>, mut node: NodeProto) -> Result<NodeProto> {
    let axis = node.take_attribute("axis").map_or(1, |axis| axis.i());
    let input = node.input(0).unwrap_or_default().to_owned();
    let output = node.output.first().cloned().unwrap_or_default();
    let rank = context.rank(&input).or_else(|| context.rank(&output));
    let last = axis == -1 || rank.is_some_and(|rank| axis == rank as i64 - 1);
    node.attribute.push(AttributeProto::int("axis", -1));
    if last {
        return Ok(node);
    }
    let shape = context.op("Shape", &[&input], vec![], "shape");
    let matrix = context.op("Flatten", &[&input], vec![AttributeProto::int("axis", axis)], "matrix");
    let rows = context.value("rows");
    let reshaped = context.node("Reshape", &[&rows, &shape], &[&output], vec![], "reshaped");
    context.scope.after.push(reshaped);
    (node.input, node.output) = (vec![matrix], vec![rows]);
    Ok(node)
}

/// Undoes [`coerced`] where the input turns out to have no axes behind `axis`: the matrix is left out.
pub(in super::super) fn simplify(graph: &mut GraphProto, facts: &Facts) {
    let mut is_left_out = vec![false; graph.node.len()];
    for start in 0..graph.node.len().saturating_sub(3) {
        let nodes = &mut graph.node[start..start + 4];
        if is_over_last(nodes, facts) {
            nodes[2].input = nodes[0].input.clone();
            nodes[2].output = nodes[3].output.clone();
            [0, 1, 3].into_iter().for_each(|i| is_left_out[start + i] = true);
        }
    }
    let mut is_left_out = is_left_out.into_iter();
    graph.node.retain(|_| !is_left_out.next().unwrap_or(false));
}

/// Whether these are the nodes that [`coerced`] wrote, for an input whose last axis is the one that was meant.
fn is_over_last(nodes: &[NodeProto], facts: &Facts) -> bool {
    let [shape, flatten, softmax, reshape] = nodes else { return false };
    let is_ours = naming::is_ours(flatten.name())
        && shape.is("", "Shape")
        && flatten.is("", "Flatten")
        && reshape.is("", "Reshape")
        && flatten.input == shape.input
        && softmax.input == flatten.output
        && reshape.input[..] == [&softmax.output[..], &shape.output].concat()[..];
    let rank = flatten.input(0).and_then(|input| facts.get(input)?.rank());
    is_ours && rank.is_some_and(|rank| flatten.int("axis", 1) == rank as i64 - 1)
}
