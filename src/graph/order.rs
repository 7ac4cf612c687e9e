//! Topological order.

use super::index::Index;
use super::uses::for_each_use;
use crate::onnx::proto::GraphProto;
use crate::{Error, Result};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

/// Brings the nodes into topological order, in the graph and in every body. The order is stable: of the nodes that are ready, the one that stood first
/// comes first, so that an ordered graph stays as it is.
///
/// # Errors
/// Where the nodes form a cycle; a node on it is named.
pub(super) fn sort(graph: &mut GraphProto) -> Result<()> {
    for attribute in graph.node.iter_mut().flat_map(|n| &mut n.attribute) {
        attribute.g.iter_mut().chain(&mut attribute.graphs).try_for_each(sort)?;
    }
    if is_sorted(graph) {
        return Ok(());
    }
    let order = order(graph)?;
    let mut nodes: Vec<_> = graph.node.drain(..).map(Some).collect();
    graph.node.extend(order.into_iter().filter_map(|i| nodes[i].take()));
    Ok(())
}

fn is_sorted(graph: &GraphProto) -> bool {
    let mut later: HashSet<&str> = graph.node.iter().flat_map(|n| &n.output).map(String::as_str).collect();
    graph.node.iter().all(|node| {
        let mut ready = true;
        for_each_use(node, &mut |name| ready &= !later.contains(name));
        node.output.iter().for_each(|o| _ = later.remove(o.as_str()));
        ready
    })
}

fn order(graph: &GraphProto) -> Result<Vec<usize>> {
    let index = Index::new(graph);
    let mut waits: Vec<usize> = vec![0; graph.node.len()];
    for node in &graph.node {
        for output in &node.output {
            index.consumers(output).iter().for_each(|&c| waits[c] += 1);
        }
    }
    let mut ready: BinaryHeap<_> = (0..waits.len()).filter(|&i| waits[i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(waits.len());
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for output in &graph.node[i].output {
            for &consumer in index.consumers(output) {
                waits[consumer] -= 1;
                if waits[consumer] == 0 {
                    ready.push(Reverse(consumer));
                }
            }
        }
    }
    match on_a_cycle(graph, &index, &waits) {
        None => Ok(order),
        Some(node) => Err(Error::input("the node depends on its own output: the graph has a cycle")
            .at_node(graph.node[node].label(), &graph.node[node].operator())
            .help("the model is damaged; export it again")),
    }
}

/// A node on a cycle, where some nodes still wait: going from producer to producer among them must come round.
fn on_a_cycle(graph: &GraphProto, index: &Index<'_>, waits: &[usize]) -> Option<usize> {
    let mut at = waits.iter().position(|&w| w > 0)?;
    let mut seen = HashSet::new();
    while seen.insert(at) {
        let mut next = None;
        for_each_use(&graph.node[at], &mut |name| {
            next = next.or(index.producer(name).filter(|&p| waits[p] > 0));
        });
        at = next?;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use crate::graph::Graph;
    use crate::graph::check::tests::{body, node};
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
