//! How much memory the values of a model take at a time, told before it runs.

use crate::graph::{Facts, for_each_use};
use crate::onnx::Model;
use crate::onnx::proto::{GraphProto, NodeProto};
use crate::shapes;
use foldhash::HashMap;
use gnp_base::Result;
use std::collections::BTreeMap;

/// Operators whose output is the memory of their first input.
const VIEWS: [&str; 5] = ["Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"];

/// The most bytes that the values of `model` take at a time, with every dimension symbol in `bindings` at its number:
/// weights and inputs, which are there all the time, and what nodes make, from the node that makes it to the last that
/// reads it, or to the end where it is an output.
///
/// Nodes are taken in the order of the file, each of which makes all of its outputs anew; of the branches of an If the
/// larger counts. An engine may do better or worse: it has an order of its own, writes over what is not read again, and
/// its operators need room to work. A value of unknown size counts as the largest that its node reads.
///
/// # Errors
/// As [`shapes::analyse`].
///
/// ```
/// use std::collections::BTreeMap;
/// let model = gnp_model::onnx::read("../../models/cnn/eval_model.onnx")?;
/// let most = |batch| gnp_model::memory::most_alive(&model, &BTreeMap::from([("batch".to_owned(), batch)]));
/// assert!(most(64)? > 32 * (most(2)? - most(1)?));
/// # Ok::<(), gnp_base::Error>(())
/// ```
pub fn most_alive(model: &Model, bindings: &BTreeMap<String, i64>) -> Result<u64> {
    let facts = shapes::analyse(model, bindings)?;
    let graph = &model.graph;
    let sparse = graph.sparse_initializer.iter().filter_map(|tensor| Some(tensor.values.as_ref()?.name()));
    let there = graph.initializer.iter().map(|tensor| tensor.name()).chain(sparse);
    let mut held: HashMap<&str, u64> = HashMap::default();
    let names = graph.input.iter().map(|input| input.name()).chain(there);
    held.extend(names.map(|name| (name, bytes(&facts, name).unwrap_or(0))));
    Ok(held.into_values().fold(most_made(graph, &facts), u64::saturating_add))
}

/// The same of what the nodes of a graph make.
fn most_made(graph: &GraphProto, facts: &Facts) -> u64 {
    let nodes = &graph.node;
    // What a value lies in, and the last node that reads it there.
    let mut place: HashMap<&str, &str> = HashMap::default();
    let mut last: HashMap<&str, usize> = HashMap::default();
    for (index, node) in nodes.iter().enumerate() {
        for_each_use(node, &mut |name| _ = last.insert(place.get(name).copied().unwrap_or(name), index));
        if let (true, Some(input), Some(output)) = (is_view(node), node.input.first(), node.output.first()) {
            place.insert(output, place.get(input.as_str()).copied().unwrap_or(input));
        }
    }
    for output in &graph.output {
        last.insert(place.get(output.name()).copied().unwrap_or(output.name()), nodes.len());
    }
    let mut ends: Vec<u64> = vec![0; nodes.len() + 1];
    let (mut alive, mut most) = (0u64, 0u64);
    for (index, node) in nodes.iter().enumerate() {
        let read = || node.input.iter().filter_map(|name| bytes(facts, name)).max().unwrap_or(0);
        for name in node.output.iter().filter(|name| !name.is_empty() && !is_view(node)) {
            let size = bytes(facts, name).unwrap_or_else(read);
            alive = alive.saturating_add(size);
            let end = last.get(name.as_str()).copied().unwrap_or(index);
            ends[end] = ends[end].saturating_add(size);
        }
        let inside = node.subgraphs().map(|body| most_made(body, facts)).max().unwrap_or(0);
        most = most.max(alive.saturating_add(inside));
        alive = alive.saturating_sub(ends[index]);
    }
    most
}

fn is_view(node: &NodeProto) -> bool {
    VIEWS.iter().any(|operator| node.is("", operator))
}

fn bytes(facts: &Facts, name: &str) -> Option<u64> {
    facts.get(name)?.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shapes::tests::model;
    use crate::testing::{TestNode, body, node};

    /// Of a chain, two neighbours are alive at a time; what is read again at the end is alive all the while; a view
    /// takes nothing, and holds what it is of.
    #[test]
    fn values_are_alive_from_where_they_are_made_to_where_they_are_read() {
        let most = |nodes: &[TestNode], outputs: &[&str]| {
            let mut graph = body(&["x"], nodes, outputs);
            let fact = crate::graph::Fact::with_sizes(crate::onnx::DataType::Float, &[256]);
            graph.input[0] = fact.info("x");
            most_alive(&model(graph), &BTreeMap::new()).unwrap() / 1024
        };
        let chain = [node("Neg", &["x"], &["a"]), node("Neg", &["a"], &["b"]), node("Neg", &["b"], &["c"])];
        assert_eq!(most(&chain, &["c"]), 3);
        let again = [&chain[..], &[node("Add", &["c", "a"], &["d"])]].concat();
        assert_eq!(most(&again, &["d"]), 4);
        let viewed = [&chain[..1], &[node("Identity", &["a"], &["v"]), node("Neg", &["v"], &["b"])]].concat();
        assert_eq!(most(&viewed, &["b"]), 3);
        assert_eq!(most(&viewed, &["b", "v"]), 3);
    }
}
