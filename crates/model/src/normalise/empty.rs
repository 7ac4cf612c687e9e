//! Operands of no elements: the past of a decoder that begins, behind which its keys and values are put.

use crate::graph::{Dim, Facts};
use crate::onnx::proto::{GraphProto, NodeProto};

/// Lets each Concat leave out what is known to have no elements along its axis; of one operand it is an Identity. The
/// operand's other sizes are those of the others, so that nothing is lost.
pub(super) fn simplify(graph: &mut GraphProto, facts: &Facts) {
    for node in &mut graph.node {
        node.subgraphs_mut().for_each(|body| simplify(body, facts));
        if node.is("", "Concat") {
            leave_out(node, facts);
        }
    }
}

fn leave_out(node: &mut NodeProto, facts: &Facts) {
    let axis = node.int("axis", 0);
    let is_empty = |name: &String| facts.get(name).and_then(|fact| fact.dim(axis)).and_then(Dim::known) == Some(0);
    let count = node.input.iter().filter(|name| !is_empty(name)).count();
    if count == 0 || count == node.input.len() {
        return;
    }
    node.input.retain(|name| !is_empty(name));
    if count == 1 {
        node.op_type = Some("Identity".into());
        node.attribute.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Fact;
    use crate::onnx::DataType;
    use crate::onnx::proto::AttributeProto;
    use crate::testing::{TestNode, body, node};

    #[test]
    fn what_is_empty_along_the_axis_is_left_out() {
        let concat = |inputs: &[&str], axis: i64| {
            let attribute = vec![AttributeProto::int("axis", axis)];
            TestNode::from(NodeProto { attribute, ..node("Concat", inputs, &["y"]).into() })
        };
        let nodes = [concat(&["past", "x"], 1), concat(&["x", "past", "x"], -2), concat(&["past", "past"], 0)];
        let mut graph = body(&["x", "past"], &nodes, &[]);
        let mut facts = Facts::default();
        facts.insert("x".into(), Fact::with_sizes(DataType::Float, &[2, 3, 4]));
        facts.insert("past".into(), Fact::with_sizes(DataType::Float, &[2, 0, 4]));
        simplify(&mut graph, &facts);
        let found: Vec<_> = graph.node.iter().map(|node| (node.op_type(), node.input.join(" "))).collect();
        let expected = [("Identity", "x"), ("Concat", "x x"), ("Concat", "past past")];
        assert_eq!(found, expected.map(|(operator, inputs)| (operator, inputs.to_owned())));
        assert!(graph.node[0].attribute.is_empty());
    }
}
