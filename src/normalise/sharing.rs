//! Weights that were merged because they happened to be equal.
//!
//! PyTorch's exporter keeps one of several initializers with equal elements and writes the others as `Identity` of it. In
//! a freshly initialised network `bn1.running_var` and `bn2.weight` are both ones, and become one.

use crate::graph::for_each_use;
use crate::onnx::DataType;
use crate::onnx::proto::GraphProto;
use foldhash::HashMap;

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
}
