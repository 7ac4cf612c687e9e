//! Float16 on processors that have no kernels for it.
//!
//! There ONNX Runtime computes a node of float16 in float32, between casts, and then leaves out casts that follow each
//! other: so nothing is ever rounded, and nothing overflows. Here every tensor of float16 goes through a Concat of it
//! alone, which has a kernel for any type and which ONNX Runtime leaves where it is.
//!
//! The condition: half precision is to be emulated. Scalars are not rounded.

use gnp_model::graph::Facts;
use gnp_model::onnx::DataType;
use gnp_model::onnx::Model;
use gnp_model::onnx::proto::{AttributeProto, GraphProto, NodeProto};
use gnp_model::shapes;
use std::collections::BTreeMap;

/// Rewrites `model`. Where its shapes contradict each other it stays as it is: the runtime says so better.
pub(super) fn apply(model: &mut Model) {
    let Ok(facts) = shapes::analyse(model, &BTreeMap::new()) else { return };
    round(&mut model.graph, &facts);
}

fn round(graph: &mut GraphProto, facts: &Facts) {
    let mut nodes = Vec::with_capacity(graph.node.len());
    for mut node in std::mem::take(&mut graph.node) {
        node.subgraphs_mut().for_each(|body| round(body, facts));
        let mut concats = Vec::new();
        for output in node.output.iter_mut().filter(|output| is_half_tensor(output, facts)) {
            let from = format!("gnp/unrounded/{output}");
            let to = std::mem::replace(output, from.clone());
            concats.push(NodeProto {
                name: Some(format!("gnp/rounded/{to}")),
                op_type: Some("Concat".into()),
                input: vec![from],
                output: vec![to],
                attribute: vec![AttributeProto::int("axis", -1)],
                ..Default::default()
            });
        }
        nodes.push(node);
        nodes.append(&mut concats);
    }
    graph.node = nodes;
}

fn is_half_tensor(value: &str, facts: &Facts) -> bool {
    facts.get(value).is_some_and(|fact| fact.element == DataType::Float16 && fact.rank() != Some(0))
}
