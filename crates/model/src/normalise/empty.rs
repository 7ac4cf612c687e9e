//! Operands of no elements: the past of a decoder that begins, behind which its keys and values are put.

use crate::graph::{Dim, Fact, Facts, for_each_use};
use crate::onnx::DataType;
use crate::onnx::proto::{GraphProto, NodeProto, TensorProto};
use foldhash::HashSet;

/// Lets nodes do without what has no elements, as far as they can.
pub(super) fn simplify(graph: &mut GraphProto, facts: &Facts) {
    let inputs = graph.input.iter().map(|input| input.name().to_owned());
    let inputs: HashSet<String> = inputs.filter(|name| facts.get(name).is_some_and(Fact::is_empty)).collect();
    simplify_nodes(graph, &inputs, facts);
}

fn simplify_nodes(graph: &mut GraphProto, inputs: &HashSet<String>, facts: &Facts) {
    for node in &mut graph.node {
        node.subgraphs_mut().for_each(|body| simplify_nodes(body, inputs, facts));
        if node.is("", "Concat") {
            leave_out(node, facts);
        }
    }
    if !inputs.is_empty() {
        tell_sizes(graph, inputs, facts);
    }
}

/// Makes initializers of the numbers that nodes take out of the shapes of `inputs`, and are known. A shape that no node
/// reads then is not asked for.
fn tell_sizes(graph: &mut GraphProto, inputs: &HashSet<String>, facts: &Facts) {
    let is_shape = |node: &NodeProto| node.is("", "Shape") && node.input(0).is_some_and(|name| inputs.contains(name));
    let shapes = graph.node.iter().filter(|node| is_shape(node)).flat_map(|node| node.output.clone());
    let mut unread: HashSet<String> = shapes.collect();
    let number = |node: &NodeProto| {
        let [output] = &node.output[..] else { return None };
        let fact = facts.get(output).filter(|fact| fact.element == DataType::Int64)?;
        node.input.iter().any(|name| unread.contains(name)).then_some(())?;
        let bytes: Vec<u8> = facts.ints(output)?.iter().flat_map(|number| number.to_le_bytes()).collect();
        Some(TensorProto::raw(output, DataType::Int64, &fact.sizes()?, bytes.into()))
    };
    let mut numbers = Vec::new();
    graph.node.retain(|node| {
        let number = number(node);
        let stays = number.is_none();
        numbers.extend(number);
        stays
    });
    graph.initializer.append(&mut numbers);
    graph.node.iter().for_each(|node| for_each_use(node, &mut |name| _ = unread.remove(name)));
    graph.output.iter().for_each(|output| _ = unread.remove(output.name()));
    graph.node.retain(|node| !is_shape(node) || !unread.contains(&node.output[0]));
}

/// Lets a Concat leave out what is known to have no elements along its axis; of one operand it is an Identity. The
/// operand's other sizes are those of the others, so that nothing is lost.
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

    #[test]
    fn sizes_that_are_known_are_not_asked_for() {
        let nodes = [node("Shape", &["past"], &["shape"]), node("Gather", &["shape", "two"], &["steps"])];
        let read = [node("Add", &["steps", "n"], &["all"])];
        let mut facts = Facts::default();
        facts.insert("past".into(), Fact::with_sizes(DataType::Float, &[2, 0, 4]));
        facts.insert("steps".into(), Fact::with_sizes(DataType::Int64, &[]));
        facts.insert_ints("steps".into(), vec![0]);
        let mut graph = body(&["past", "n"], &[&nodes[..], &read].concat(), &["all"]);
        simplify(&mut graph, &facts);
        assert_eq!(graph.node.iter().map(NodeProto::op_type).collect::<Vec<_>>(), ["Add"]);
        let [steps] = &graph.initializer[..] else { panic!() };
        assert_eq!((steps.name(), steps.ints().as_deref(), &*steps.dims), ("steps", Some(&[0][..]), &[][..]));

        // What is not known is taken out of the shape.
        let other = [node("Gather", &["shape", "zero"], &["batch"])];
        let mut graph = body(&["past", "n"], &[&nodes[..], &other].concat(), &["batch", "steps"]);
        simplify(&mut graph, &facts);
        assert_eq!(graph.node.iter().map(NodeProto::op_type).collect::<Vec<_>>(), ["Shape", "Gather"]);
    }
}
