//! Layer normalisations: with an addition before them, and without the mean.

use super::super::context::Context;
use super::last;
use crate::onnx::DataType;
use crate::onnx::proto::{AttributeProto, NodeProto};

/// The standard operator of the same name.
pub(super) fn layer(_: &mut Context<'_>, node: &NodeProto) -> Option<NodeProto> {
    Some(NodeProto { domain: None, ..node.clone() })
}

/// Root mean square normalisation: x/√(mean x² + ε)·scale over the axes from `axis` on.
pub(super) fn simplified(g: &mut Context<'_>, node: &NodeProto) -> Option<NodeProto> {
    let (x, scale) = (node.input(0)?, node.input(1)?);
    let axis = node.int("axis", -1);
    let end = if axis < 0 { 0 } else { g.rank(x)? as i64 };
    let axes: Vec<i64> = (axis..end).collect();
    let (epsilon, inverse) = (node.float("epsilon", 1e-5), node.output(1));
    let normal = root_mean_square(g, x, epsilon, &axes, inverse);
    Some(last(node, "Mul", &[&normal, scale]))
}

/// LayerNormalization of input + skip + bias over the last axis; output 3 is that sum.
pub(super) fn skip_layer(g: &mut Context<'_>, node: &NodeProto) -> Option<NodeProto> {
    let (gamma, beta) = (node.input(2)?, node.input(3));
    let sum = sum(g, node, 4)?;
    let inputs: Vec<&str> = [sum.as_str(), gamma].into_iter().chain(beta).collect();
    let epsilon = AttributeProto::float("epsilon", node.float("epsilon", 1e-12));
    Some(NodeProto {
        output: node.output.iter().take(3).cloned().collect(),
        attribute: vec![AttributeProto::int("axis", -1), epsilon],
        ..last(node, "LayerNormalization", &inputs)
    })
}

/// The same without mean and beta.
pub(super) fn skip_simplified(g: &mut Context<'_>, node: &NodeProto) -> Option<NodeProto> {
    let gamma = node.input(2)?;
    if node.output(1).is_some() {
        return None;
    }
    let sum = sum(g, node, 3)?;
    let normal = root_mean_square(g, &sum, node.float("epsilon", 1e-12), &[-1], node.output(2));
    Some(last(node, "Mul", &[&normal, gamma]))
}

/// input + skip, + the bias at input `bias` where there is one; under the name of output 3 where the node has it.
fn sum(g: &mut Context<'_>, node: &NodeProto, bias: usize) -> Option<String> {
    let (x, skip) = (node.input(0)?, node.input(1)?);
    let name = match node.output(3) {
        Some(name) => name.to_owned(),
        None => g.value("sum"),
    };
    let biased = node.input(bias).map(|bias| g.op("Add", &[x, bias], vec![], "biased"));
    let add = g.node("Add", &[biased.as_deref().unwrap_or(x), skip], &[&name], vec![], "sum");
    g.push(add);
    Some(name)
}

/// x/√(mean x² + ε); 1/√(…) under the name `inverse`, where it is given. In float32 for narrower types, as ONNX Runtime
/// does.
fn root_mean_square(g: &mut Context<'_>, data: &str, epsilon: f32, axes: &[i64], inverse: Option<&str>) -> String {
    let narrow = matches!(g.element(data), Some(DataType::Float16 | DataType::Bfloat16));
    let to_float = vec![AttributeProto::int("to", DataType::Float as i64)];
    let wide = narrow.then(|| g.op("Cast", &[data], to_float, "wide"));
    let x = wide.as_deref().unwrap_or(data);
    let epsilon = if narrow { g.float(epsilon, "epsilon") } else { g.scalar(epsilon.into(), data, "epsilon") };
    let axes = g.int64s(axes, "axes");
    let square = g.op("Mul", &[x, x], vec![], "square");
    let mean = g.op("ReduceMean", &[&square, &axes], vec![], "mean");
    let sum = g.op("Add", &[&mean, &epsilon], vec![], "shifted");
    let root = g.op("Sqrt", &[&sum], vec![], "root");
    if let Some(inverse) = inverse {
        let reciprocal = g.node("Reciprocal", &[&root], &[inverse], vec![], "inverse");
        g.push(reciprocal);
    }
    let normal = g.op("Div", &[x, &root], vec![], "normal");
    if narrow { g.op("CastLike", &[&normal, data], vec![], "narrow") } else { normal }
}
