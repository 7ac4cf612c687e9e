//! Sums and means over axes.

use crate::graph::Facts;
use crate::onnx::proto::NodeProto;

/// What a sum, or several one after the other, computes of the tensor that the first reads.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sum {
    /// The axes, from 0 on.
    pub axes: Vec<i64>,
    pub keeps: bool,
    pub is_mean: bool,
    /// Whether it is of the squares.
    pub squares: bool,
}

/// What a node sums, if it does, over axes that are known.
pub(super) fn of(node: &NodeProto, facts: &Facts) -> Option<Sum> {
    if !["ReduceSum", "ReduceMean", "ReduceSumSquare"].iter().any(|operator| node.is("", operator)) {
        return None;
    }
    let axes = axes(node, facts)?;
    let (is_mean, squares) = (node.op_type() == "ReduceMean", node.op_type() == "ReduceSumSquare");
    Some(Sum { axes, keeps: node.int("keepdims", 1) != 0, is_mean, squares })
}

fn axes(node: &NodeProto, facts: &Facts) -> Option<Vec<i64>> {
    let rank = facts.get(node.input(0)?)?.rank()? as i64;
    match node.input(1) {
        // Without axes it is a sum over all of them, unless it says otherwise.
        None => (node.int("noop_with_empty_axes", 0) == 0).then(|| (0..rank).collect()),
        Some(axes) => {
            let axes = facts.ints(axes)?;
            let from_front = axes.iter().map(|axis| if *axis < 0 { axis + rank } else { *axis });
            (!axes.is_empty()).then(|| from_front.collect())
        }
    }
}

/// Whether `next`, which reads `first`, goes on with its sum over further axes.
pub(super) fn can_go_on(first: &NodeProto, next: &NodeProto, facts: &Facts) -> bool {
    let (Some(first), Some(next)) = (of(first, facts), of(next, facts)) else { return false };
    first.keeps == next.keeps && first.is_mean == next.is_mean && !next.squares
}

/// What `nodes`, each of which goes on with the one before it, compute together.
pub(super) fn of_all(nodes: &[&NodeProto], facts: &Facts) -> Option<Sum> {
    let (first, rest) = nodes.split_first()?;
    let mut whole = of(first, facts)?;
    let rank = facts.get(first.input(0)?)?.rank()? as i64;
    for node in rest {
        let left: Vec<i64> = (0..rank).filter(|axis| whole.keeps || !whole.axes.contains(axis)).collect();
        let (further, known) = (of(node, facts)?.axes, whole.axes.clone());
        let further = further.iter().map(|axis| left.get(*axis as usize).copied()).collect::<Option<Vec<_>>>()?;
        whole.axes.extend(further.into_iter().filter(|axis| !known.contains(axis)));
    }
    whole.axes.sort_unstable();
    Some(whole)
}
