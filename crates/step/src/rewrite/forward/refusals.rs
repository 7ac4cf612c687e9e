//! What no step model can be made of.

use crate::emit::step;
use gnp_base::contract::VERSION_KEY;
use gnp_base::{Error, Result};
use gnp_model::graph::Graph;
use gnp_model::onnx::Model;

/// Every input of a step model declares its axes, the labels too, as the standard asks for.
pub(super) fn require_axes(graph: &Graph, value: &str) -> Result<()> {
    if graph.facts().get(value).is_some_and(|fact| fact.shape.is_some()) {
        return Ok(());
    }
    let proto = graph.proto();
    let is_declared = proto.input.iter().chain(&proto.output).any(|info| info.name() == value);
    let info = format!("onnx.helper.make_tensor_value_info(\"{value}\", onnx.TensorProto.FLOAT, [\"N\", 10])");
    let declare = if is_declared {
        format!(
            "info = next(i for i in [*model.graph.input, *model.graph.output] if i.name == \"{value}\")\n\
             info.CopyFrom({info})"
        )
    } else {
        format!("model.graph.value_info.append({info})")
    };
    Err(Error::input(format!("the number of axes of `{value}` is not known")).help(format!(
        "export the model with its shape, or declare it in Python (of N samples and 10 numbers, say):\n{declare}"
    )))
}

/// What a loss is taken of declares its axes, and none of them is empty.
pub(super) fn require_elements(graph: &Graph, value: &str) -> Result<()> {
    require_axes(graph, value)?;
    let fact = graph.facts().get(value);
    let Some(fact) = fact.filter(|fact| fact.is_empty()) else {
        return Ok(());
    };
    Err(Error::input(format!("the loss is of `{value}`, which has no elements: {fact}"))
        .help("sizes of 0 are for the past of a decoder, as in --dim past_sequence_length=0; leave others out"))
}

pub(super) fn refuse_labels(graph: &Graph, labels: &str) -> Result<()> {
    if !graph.proto().input.iter().any(|input| input.name() == labels) {
        return Ok(());
    }
    Err(Error::input(format!(
        "the model has an input `{labels}`, and a loss that is put on it needs an input of this name"
    ))
    .help(format!(
        "if the model computes its own loss, name it with --loss-output; else give the input another name: {}",
        step::rename_flag(labels)
    )))
}

pub(super) fn refuse_what_is_rewritten(model: &Model) -> Result<()> {
    if let Some(version) = model.metadata(VERSION_KEY) {
        return Err(Error::input(format!("the model is rewritten already (by gnp {version})"))
            .help("rewrite the original model instead"));
    }
    Ok(())
}

/// Weights that are dequantised are floats by now; what is left rounds what depends on data.
pub(super) fn refuse_what_is_quantised(model: &Model) -> Result<()> {
    let quantised = |op: &str| op.contains("QuantizeLinear") || op.starts_with("QLinear") || op.ends_with("Integer");
    if let Some(node) = model.graph.node.iter().find(|n| quantised(n.op_type())) {
        return Err(Error::unsupported("the model is quantised: rounding has no gradient")
            .at_node(node.label(), &node.operator())
            .help("train the model before it was quantised, then quantise it again"));
    }
    Ok(())
}
