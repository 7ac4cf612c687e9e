//! Normalisations.

use super::super::context::Context;
use super::unsupported;
use crate::onnx::proto::{AttributeProto, NodeProto};
use gnp_base::Result;

/// BatchNormalization before 9: with `spatial` = 0 every activation has statistics of its own, not every channel. That
/// is y = (x − mean)/√(var + ε)·scale + b, all of the shape of an example.
pub(super) fn spatial(context: &mut Context<'_>, mut node: NodeProto) -> Result<NodeProto> {
    let spatial = node.take_attribute("spatial").is_none_or(|spatial| spatial.i() != 0);
    let [x, scale, b, mean, variance] = &node.input[..] else { return Ok(node) };
    if spatial || context.rank(x) == Some(2) {
        return Ok(node);
    }
    if node.output.iter().skip(1).any(|output| context.is_used(output)) {
        return Err(unsupported("it trains statistics for every activation (`spatial` = 0)"));
    }
    let epsilon = context.scalar(node.float("epsilon", 1e-5).into(), variance, "epsilon");
    let shifted = context.op("Add", &[variance, &epsilon], vec![], "variance");
    let deviation = context.op("Sqrt", &[&shifted], vec![], "deviation");
    let centred = context.op("Sub", &[x, mean], vec![], "centred");
    let normal = context.op("Div", &[&centred, &deviation], vec![], "normal");
    let scaled = context.op("Mul", &[&normal, scale], vec![], "scaled");
    Ok(NodeProto {
        op_type: Some("Add".into()),
        input: vec![scaled, b.clone()],
        output: node.output.iter().take(1).cloned().collect(),
        attribute: vec![],
        ..node
    })
}

/// BatchNormalization before 14: more than one output meant training, and two of five were the batch's own statistics.
pub(super) fn training_mode(context: &mut Context<'_>, mut node: NodeProto) -> Result<NodeProto> {
    if node.output.iter().skip(3).any(|output| context.is_used(output)) {
        return Err(unsupported("its outputs saved_mean and saved_var are read; since operator set 14 there are none"));
    }
    node.output.truncate(3);
    if node.output(1).is_some() || node.output(2).is_some() {
        node.attribute.push(AttributeProto::int("training_mode", 1));
    }
    Ok(node)
}

/// GroupNormalization before 21: scale and bias are one number a group, so that it is an InstanceNormalization whose
/// channels are the groups.
pub(super) fn group(context: &mut Context<'_>, mut node: NodeProto) -> Result<NodeProto> {
    let groups = node.take_attribute("num_groups").map_or(1, |groups| groups.i());
    let [x, scale, bias] = &node.input[..] else { return Ok(node) };
    let shape = context.op("Shape", &[x], vec![], "shape");
    let grouped = context.int64s(&[0, groups, -1], "groups");
    let channels = context.op("Reshape", &[x, &grouped], vec![], "grouped");
    let inputs = vec![channels, scale.clone(), bias.clone()];
    let output = node.output.first().cloned().unwrap_or_default();
    let normal = context.value("normal");
    let reshaped = context.node("Reshape", &[&normal, &shape], &[&output], vec![], "reshaped");
    context.scope.after.push(reshaped);
    node.attribute.retain(|a| a.name() == "epsilon");
    Ok(NodeProto { op_type: Some("InstanceNormalization".into()), input: inputs, output: vec![normal], ..node })
}
