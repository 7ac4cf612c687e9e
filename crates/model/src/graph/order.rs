//! Topological order.

use super::index::{Edge, Index};
use crate::onnx::proto::{GraphProto, NodeProto};
use foldhash::{HashMap, HashSet};
use gnp_base::{Error, Result};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Brings the nodes into topological order, in the graph and in every body. The order is stable: of the nodes that are
/// ready, the one that stood first comes first, so that an ordered graph stays as it is.
///
/// # Errors
/// Where the nodes form a cycle; a node on it is named.
pub(super) fn sort(graph: &mut GraphProto) -> Result<()> {
    graph.node.iter_mut().flat_map(NodeProto::subgraphs_mut).try_for_each(sort)?;
    let index = Index::new(graph);
    if in_order(&index) {
        return Ok(());
    }
    match order(graph.node.len(), &index) {
        Ok(order) => {
            permute(&mut graph.node, order);
            Ok(())
        }
        Err(Cycle { node }) => Err(Error::format("the node depends on its own output: the graph has a cycle")
            .at_node(graph.node[node].label(), &graph.node[node].operator())
            .help("the model is damaged; export it again")),
    }
}

/// Whether every node of the graph itself comes after those that make what it reads.
pub(super) fn is_sorted(graph: &GraphProto) -> bool {
    in_order(&Index::new(graph))
}

fn in_order(index: &Index<'_>) -> bool {
    index.edges().iter().all(|edge| edge.producer < edge.consumer)
}

/// Puts the node at `order[i]` in place `i`, cycle by cycle, in the memory that the nodes have.
fn permute(nodes: &mut [NodeProto], mut order: Vec<usize>) {
    for start in 0..order.len() {
        let mut place = start;
        loop {
            let from = std::mem::replace(&mut order[place], place);
            if from == start {
                break;
            }
            nodes.swap(place, from);
            place = from;
        }
    }
}

/// That there is no order.
struct Cycle {
    /// A node on the cycle.
    node: usize,
}

fn order(nodes: usize, index: &Index<'_>) -> Result<Vec<usize>, Cycle> {
    let mut waits = vec![0; nodes];
    index.edges().iter().for_each(|edge| waits[edge.consumer] += 1);
    let mut ready: BinaryHeap<_> = (0..nodes).filter(|&i| waits[i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(nodes);
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for consumer in index.consumers(i) {
            waits[consumer] -= 1;
            if waits[consumer] == 0 {
                ready.push(Reverse(consumer));
            }
        }
    }
    match waits.iter().position(|&w| w > 0) {
        None => Ok(order),
        Some(waiting) => Err(Cycle { node: on_a_cycle(waiting, index.edges(), &waits) }),
    }
}

/// From a node that waits, going from producer to producer among those that wait must come round.
fn on_a_cycle(waiting: usize, edges: &[Edge], waits: &[usize]) -> usize {
    let waited_for = edges.iter().filter(|edge| waits[edge.producer] > 0);
    let waited_for: HashMap<_, _> = waited_for.map(|edge| (edge.consumer, edge.producer)).collect();
    let mut seen = HashSet::default();
    let mut at = waiting;
    while seen.insert(at) {
        at = waited_for.get(&at).copied().unwrap_or(at);
    }
    at
}

#[cfg(test)]
mod tests {
    use crate::graph::Graph;
    use crate::testing::{body, node};
    use proptest::prelude::*;

    #[test]
    fn a_cycle_is_named() {
        let nodes = [node("Neg", &["x"], &["a"]), node("Add", &["a", "c"], &["b"]), node("Neg", &["b"], &["c"])];
        let error = Graph::new(body(&["x"], &nodes, &["c"])).unwrap_err();
        assert!(error.to_string().contains("cycle"), "{error}");
        assert!(!error.to_string().contains("`a`"), "{error}");
    }

    #[test]
    fn a_cycle_in_a_body_is_named() {
        let inner = body(&[], &[node("Neg", &["b"], &["a"]), node("Neg", &["a"], &["b"])], &["b"]);
        let error = Graph::new(body(&["x"], &[node("If", &["x"], &["y"]).with(inner)], &["y"])).unwrap_err();
        assert!(error.to_string().contains("cycle"), "{error}");
    }

    #[test]
    fn captures_order_nodes_too() {
        let branch = body(&[], &[node("Neg", &["late"], &["z"])], &["z"]);
        let nodes = [node("If", &["x"], &["y"]).with(branch), node("Neg", &["x"], &["late"])];
        let graph = Graph::new(body(&["x"], &nodes, &["y"])).unwrap();
        assert_eq!(graph.nodes()[0].op_type(), "Neg");
    }

    proptest! {
        /// A chain with random skips, shuffled: sorting restores an order in which every input comes first.
        #[test]
        fn any_shuffle_is_sorted(order in Just((0..30usize).collect::<Vec<_>>()).prop_shuffle(), skips in proptest::collection::vec(0usize..30, 30)) {
            let name = |i: usize| format!("v{i}");
            let nodes: Vec<_> = order.iter().map(|&i| {
                let inputs = if i == 0 { vec!["x".to_owned()] } else { vec![name(i - 1), name(skips[i] % i)] };
                node("Op", &inputs.iter().map(String::as_str).collect::<Vec<_>>(), &[&name(i)])
            }).collect();
            let graph = Graph::new(body(&["x"], &nodes, &["v29"])).unwrap();
            let sorted: Vec<_> = graph.nodes().iter().map(|n| n.output[0].clone()).collect();
            prop_assert_eq!(sorted, (0..30).map(name).collect::<Vec<_>>());
        }
    }
}
