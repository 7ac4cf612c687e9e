//! Weights that were merged because they happened to be equal.
//!
//! PyTorch's exporter keeps one of several initializers with equal elements and writes the others as `Identity` of it. In
//! a freshly initialised network `bn1.running_var` and `bn2.weight` are both ones, and become one.

use super::{Moved, Origin};
use crate::graph::for_each_use;
use crate::onnx::DataType;
use crate::onnx::proto::{GraphProto, NodeProto, TensorProto};
use foldhash::{HashMap, HashSet};

/// Gives the running statistics of BatchNormalization elements of their own: an `Identity` that makes a statistic of another
/// initializer, or something else of a statistic, becomes an initializer. Statistics move in training, and a weight must not move
/// with them.
pub(super) fn separate_statistics(graph: &mut GraphProto) -> Vec<Moved> {
    let norms = graph.node.iter().filter(|node| node.is("", "BatchNormalization"));
    let statistics: HashSet<&str> = norms.flat_map(|node| [3, 4].map(|i| node.input(i))).flatten().collect();
    let initializers: HashMap<&str, &TensorProto> = graph.initializer.iter().map(|t| (t.name(), t)).collect();
    let own = |node: &NodeProto| -> Option<TensorProto> {
        let (source, copy) = (node.input(0)?, node.output.first()?);
        let concerns = node.is("", "Identity") && (statistics.contains(source) || statistics.contains(copy.as_str()));
        let tensor = initializers.get(source).filter(|_| concerns)?;
        Some(TensorProto { name: Some(copy.clone()), ..TensorProto::clone(tensor) })
    };
    let owned: Vec<TensorProto> = graph.node.iter().filter_map(own).collect();
    let names: HashSet<&str> = owned.iter().map(|t| t.name()).collect();
    graph.node.retain(|node| node.output.first().is_none_or(|output| !names.contains(output.as_str())));
    let moved = owned.iter().map(|t| Moved { initializer: t.name().to_owned(), origin: Origin::Identity }).collect();
    graph.initializer.extend(owned);
    moved
}

/// A warning for every floating initializer that an `Identity` reads and something else too.
pub(super) fn warnings(graph: &GraphProto) -> Vec<String> {
    let floating = graph.initializer.iter().filter(|t| is_floating(t.element()));
    let mut uses: HashMap<&str, usize> = floating.map(|t| (t.name(), 0)).collect();
    for node in &graph.node {
        for_each_use(node, &mut |name| {
            if let Some(count) = uses.get_mut(name) {
                *count += 1;
            }
        });
    }
    let copies = graph.node.iter().filter(|node| node.is("", "Identity"));
    let pairs = copies.filter_map(|node| Some((node.output.first()?, node.input(0)?)));
    let shared = pairs.filter(|(_, weight)| uses.get(weight).is_some_and(|&count| count > 1));
    let warning = |(copy, weight): (&String, &str)| {
        format!(
            "`{copy}` and `{weight}` are one tensor in this file (an Identity node), perhaps since they were equal when it was \
             exported; they will be trained as one. To keep them apart export a trained model, or from PyTorch with \
             training=TrainingMode.TRAINING"
        )
    };
    shared.map(warning).collect()
}

/// Whether a type is one that weights have.
pub(super) fn is_floating(element: Option<DataType>) -> bool {
    matches!(element, Some(DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::tests::{body, node};
    use crate::onnx::proto::TensorProto;

    #[test]
    fn a_weight_that_an_identity_shares_is_named() {
        let nodes = [
            node("Identity", &["bn2.weight"], &["bn1.running_var"]),
            node("Identity", &["alone"], &["renamed"]),
            node("Mul", &["x", "bn2.weight"], &["y"]),
        ];
        let mut graph = body(&["x"], &nodes, &["y"]);
        let ones = |name| TensorProto::raw(name, DataType::Float, &[1], vec![0, 0, 0x80, 0x3f].into());
        graph.initializer = vec![ones("bn2.weight"), ones("alone")];
        let warnings = warnings(&graph);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("`bn1.running_var` and `bn2.weight` are one tensor"), "{warnings:?}");
    }

    #[test]
    fn statistics_have_elements_of_their_own() {
        let nodes = [
            node("Identity", &["ones"], &["bn.running_var"]),
            node("Identity", &["bn.running_mean"], &["fc.bias"]),
            node("Identity", &["ones"], &["other"]),
            node("BatchNormalization", &["x", "ones", "b", "bn.running_mean", "bn.running_var"], &["y"]),
        ];
        let mut graph = body(&["x", "b"], &nodes, &["y"]);
        let tensor = |name, byte| TensorProto::raw(name, DataType::Float, &[1], vec![0, 0, byte, 0x3f].into());
        graph.initializer = vec![tensor("ones", 0x80), tensor("bn.running_mean", 0)];
        let moved = separate_statistics(&mut graph);
        let names: Vec<_> = moved.iter().map(|m| (m.initializer.as_str(), m.origin.clone())).collect();
        assert_eq!(names, [("bn.running_var", Origin::Identity), ("fc.bias", Origin::Identity)]);
        assert_eq!(graph.initializer[2..], [tensor("bn.running_var", 0x80), tensor("fc.bias", 0)]);
        let left: Vec<_> = graph.node.iter().map(|n| n.output[0].as_str()).collect();
        assert_eq!(left, ["other", "y"]);
    }
}
