//! What attention of com.microsoft keeps from step to step: keys and values.

use super::{input, output};
use crate::graph::{Builder, Dim, Value, for_each_use};
use crate::onnx::proto::{GraphProto, MICROSOFT, NodeProto};
use foldhash::{HashMap, HashSet};

/// The inputs of a node that are past, the axis of each that counts its steps, and the outputs that are handed on.
fn places(node: &NodeProto) -> (&'static [usize], i64, &'static [usize]) {
    match (node.domain(), node.op_type()) {
        (MICROSOFT, "Attention") => (&[4], 3, &[1]),
        (MICROSOFT, "GroupQueryAttention") => (&[3, 4], 2, &[1, 2]),
        (MICROSOFT, "MultiHeadAttention") => (&[6, 7], 2, &[1, 2]),
        _ => (&[], 0, &[]),
    }
}

/// Whether a node has no past, or one that is known to be empty.
pub(super) fn is_empty(node: &NodeProto, b: &Builder<'_>) -> bool {
    let (past, axis, _) = places(node);
    let has_none = |past: Value| b.fact(&past).dim(axis).and_then(Dim::known) == Some(0);
    past.iter().all(|&i| input(node, i).is_none_or(has_none))
}

/// The keys and values that attention hands on from step to step, as far as its nodes are only written out where nothing
/// is past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caches<'g> {
    /// The values that are past, and the axis of each that counts its steps.
    pub past: HashMap<&'g str, i64>,
    /// The values that the next step would have as past ones.
    pub present: HashSet<&'g str>,
}

impl<'g> Caches<'g> {
    /// Those of the nodes of `graph`.
    pub fn of(graph: &'g GraphProto) -> Self {
        let mut caches = Self::default();
        for node in &graph.node {
            let (past, axis, present) = places(node);
            caches.past.extend(past.iter().filter_map(|&i| Some((node.input(i)?, axis))));
            caches.present.extend(present.iter().filter_map(|&i| output(node, i)));
        }
        caches
    }
}

/// Lets attention hand nothing on to a next step: what it would hand on is no output of the graph, and is not made where
/// no node reads it.
pub fn hand_nothing_on(graph: &mut GraphProto) {
    let mut unread: HashSet<String> = Caches::of(graph).present.into_iter().map(str::to_owned).collect();
    if unread.is_empty() {
        return;
    }
    graph.output.retain(|output| !unread.contains(output.name()));
    graph.node.iter().for_each(|node| for_each_use(node, &mut |name| _ = unread.remove(name)));
    let made = graph.node.iter_mut().flat_map(|node| &mut node.output);
    made.filter(|name| unread.contains(*name)).for_each(String::clear);
}
