//! Convolutions with a bias of zeros: PyTorch's exporter gives one to those that have none, expanded from a scalar, and
//! an engine then adds it to all of an image.

use crate::onnx::proto::{GraphProto, NodeProto, TensorProto};
use foldhash::HashSet;

/// Takes such a bias away. What made it stays, and nothing reads it.
pub(super) fn simplify(graph: &mut GraphProto) {
    for body in graph.node.iter_mut().flat_map(NodeProto::subgraphs_mut) {
        simplify(body);
    }
    let zeros = zeros(graph);
    for node in graph.node.iter_mut().filter(|node| node.is("", "Conv") || node.is("", "ConvTranspose")) {
        if node.input(2).is_some_and(|bias| zeros.contains(bias)) {
            node.input.truncate(2);
        }
    }
}

/// The values that are zeros of any shape, by what makes them: a constant scalar, expanded.
fn zeros(graph: &GraphProto) -> HashSet<String> {
    let mut zeros: HashSet<String> = HashSet::default();
    let fed: HashSet<&str> = graph.input.iter().map(|input| input.name()).collect();
    let scalars = graph.initializer.iter().filter(|tensor| is_zero(tensor) && !fed.contains(tensor.name()));
    zeros.extend(scalars.map(|tensor| tensor.name().to_owned()));
    for node in &graph.node {
        let made = match node.op_type() {
            _ if !node.domain().is_empty() => false,
            "Constant" => value(node).is_some_and(is_zero),
            "ConstantOfShape" => value(node).is_none_or(is_zero),
            "Expand" | "Identity" | "Reshape" | "Cast" => node.input(0).is_some_and(|from| zeros.contains(from)),
            _ => false,
        };
        if made {
            zeros.extend(node.output.first().cloned());
        }
    }
    zeros
}

fn value(node: &NodeProto) -> Option<&TensorProto> {
    node.attribute.iter().find(|attribute| attribute.name() == "value")?.t.as_deref()
}

/// Whether a tensor is one number, which is 0.
fn is_zero(tensor: &TensorProto) -> bool {
    tensor.dims.iter().product::<i64>() == 1 && tensor.floats().is_some_and(|floats| floats[..] == [0.0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::DataType;
    use crate::testing::{body, node};

    fn number(name: &str, value: f32) -> TensorProto {
        TensorProto::raw(name, DataType::Float, &[], value.to_le_bytes().to_vec().into())
    }

    #[test]
    fn a_bias_of_zeros_goes_and_others_stay() {
        let nodes = [
            node("Expand", &["zero", "shape"], &["zeros"]),
            node("Identity", &["zeros"], &["same"]),
            node("Expand", &["one", "shape"], &["ones"]),
            node("Conv", &["x", "w", "same"], &["a"]),
            node("Conv", &["x", "w", "ones"], &["b"]),
            node("Conv", &["x", "w", "bias"], &["c"]),
            node("Conv", &["x", "w", "fed"], &["d"]),
        ];
        let mut graph = body(&["x", "w", "fed"], &nodes, &["a", "b", "c", "d"]);
        let bias = TensorProto::raw("bias", DataType::Float, &[2], vec![0; 8].into());
        graph.initializer = vec![number("zero", 0.0), number("one", 1.0), number("fed", 0.0), bias];
        simplify(&mut graph);
        let inputs: Vec<usize> = graph.node[3..].iter().map(|node| node.input.len()).collect();
        assert_eq!(inputs, [2, 3, 3, 3]);
    }
}
