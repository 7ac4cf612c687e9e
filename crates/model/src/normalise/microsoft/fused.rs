//! Conv and Gemm with an activation behind them.

use super::super::context::Context;
use super::last;
use crate::onnx::proto::{AttributeProto, NodeProto};

/// activation(Conv(X, W, B) + Z)
pub(super) fn conv(g: &mut Context<'_>, node: &NodeProto) -> Option<NodeProto> {
    let parameters = node.attribute("activation_params").map_or(&[][..], |a| &a.floats);
    let activation = Activation::of(node.string("activation", ""), parameters)?;
    let inputs: Vec<&str> = node.input.iter().take(3).map(String::as_str).collect();
    let convolved = g.op("Conv", &inputs, own_attributes(node), "convolved");
    let sum = node.input(3).map(|z| g.op("Add", &[&convolved, z], vec![], "sum"));
    Some(activation.applied(g, node, &sum.unwrap_or(convolved)))
}

/// activation(Gemm(A, B, C))
pub(super) fn gemm(g: &mut Context<'_>, node: &NodeProto) -> Option<NodeProto> {
    let names = ["activation_alpha", "activation_beta"];
    let parameters: Vec<f32> = names.into_iter().map_while(|name| node.attribute(name).map(|a| a.f())).collect();
    let activation = Activation::of(node.string("activation", ""), &parameters)?;
    let inputs: Vec<&str> = node.input.iter().map(String::as_str).collect();
    let product = g.op("Gemm", &inputs, own_attributes(node), "product");
    Some(activation.applied(g, node, &product))
}

/// The attributes of the operator without its activation's.
fn own_attributes(node: &NodeProto) -> Vec<AttributeProto> {
    node.attribute.iter().filter(|a| !a.name().starts_with("activation")).cloned().collect()
}

/// An activation: an operator of one input, and the bounds of Clip as more inputs.
struct Activation {
    operator: String,
    attributes: Vec<AttributeProto>,
    bounds: Vec<f32>,
}

impl Activation {
    /// None where it is not one of those that ONNX Runtime fuses.
    fn of(operator: &str, parameters: &[f32]) -> Option<Self> {
        let names: &[&str] = match operator {
            "" | "Relu" | "Tanh" | "Sigmoid" | "Clip" => &[],
            "LeakyRelu" => &["alpha"],
            "HardSigmoid" => &["alpha", "beta"],
            _ => return None,
        };
        let attributes =
            names.iter().zip(parameters).map(|(name, &value)| AttributeProto::float(name, value)).collect();
        let bounds = if operator == "Clip" { parameters.to_vec() } else { vec![] };
        let operator = if operator.is_empty() { "Identity" } else { operator };
        Some(Self { operator: operator.into(), attributes, bounds })
    }

    fn applied(self, g: &mut Context<'_>, node: &NodeProto, x: &str) -> NodeProto {
        let data = node.input(0).unwrap_or_default();
        let bounds: Vec<String> = self.bounds.iter().map(|&bound| g.scalar(bound.into(), data, "bound")).collect();
        let inputs: Vec<&str> = std::iter::once(x).chain(bounds.iter().map(String::as_str)).collect();
        NodeProto { attribute: self.attributes, ..last(node, &self.operator, &inputs) }
    }
}
