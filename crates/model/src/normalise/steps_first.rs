//! Recurrent layers whose first axis is the batch (`layout` 1): engines compute the other layout, if any.

use super::context::Context;
use crate::onnx::proto::{AttributeProto, NodeProto};
use crate::recurrent::input;

/// Where the axes of what goes in come from: \[batch, …\] with the first two exchanged.
const EXCHANGED: &[i64] = &[1, 0, 2];
/// Where the axes of all hidden states come from, of \[steps, directions, batch, hidden\].
const STATES: &[i64] = &[2, 0, 1, 3];

/// Lets a layer go over its first axis: what it reads and returns is transposed.
pub(super) fn lower(context: &mut Context<'_>, mut node: NodeProto) -> NodeProto {
    let is_recurrent = ["LSTM", "GRU", "RNN"].iter().any(|operator| node.is("", operator));
    if !is_recurrent || node.int("layout", 0) == 0 {
        return node;
    }
    node.take_attribute("layout");
    let transpose = |perm: &[i64]| vec![AttributeProto::ints("perm", perm)];
    for position in [input::X, input::H, input::C] {
        if let Some(given) = node.input(position).map(str::to_owned) {
            let transposed = context.op("Transpose", &[&given], transpose(EXCHANGED), &given);
            node.input[position] = transposed;
        }
    }
    for (position, perm) in [STATES, EXCHANGED, EXCHANGED].into_iter().enumerate() {
        if let Some(name) = node.output(position).map(str::to_owned) {
            let own = context.value(&name);
            let back = context.node("Transpose", &[&own], &[&name], transpose(perm), &name);
            context.scope.after.push(back);
            node.output[position] = own;
        }
    }
    node
}
