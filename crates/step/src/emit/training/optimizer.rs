//! The optimizer model: one node, of one of the two operators that ONNX Runtime's training API accepts.

use crate::transform::FusedOptimizer;
use gnp_base::Result;
use gnp_model::graph::Fact;
use gnp_model::onnx::proto::type_proto::{self, Sequence};
use gnp_model::onnx::proto::{
    AttributeProto, GraphProto, MICROSOFT, ModelProto, NodeProto, OperatorSetIdProto, TypeProto, ValueInfoProto,
};
use gnp_model::onnx::{DataType, Model};
use std::path::Path;

/// What AdamW's `adam_mode` is for PyTorch's formula, and not that of Hugging Face's transformers.
const TORCH: i64 = 0;

/// The model that takes the step of `fused`, for a file at `path`. Inputs, as the runtime feeds them: `learning_rate`
/// (float\[1\]), `step` (int64\[1\]), the sequences of float tensors `params` and `gradients`, and those that the
/// optimizer keeps for each parameter.
///
/// # Errors
/// None that a caller could cause.
pub fn optimizer_model(fused: FusedOptimizer, path: &Path) -> Result<Model> {
    let (operator, own_inputs, inputs, attribute) = match fused {
        // The runtime asks the model for the first moments that momentum would need, and this operator has none.
        FusedOptimizer::Sgd => {
            ("SGDOptimizerV2", &["learning_rate", "params", "gradients"][..], &SGD_INPUTS[..], vec![])
        }
        FusedOptimizer::AdamW { beta1, beta2, epsilon, weight_decay } => {
            let number = AttributeProto::float;
            let attributes = vec![
                number("alpha", beta1),
                number("beta", beta2),
                number("epsilon", epsilon),
                number("weight_decay", weight_decay),
                AttributeProto::int("adam_mode", TORCH),
                AttributeProto::int("correct_bias", 1),
            ];
            ("AdamWOptimizer", &ADAMW_INPUTS[..], &ADAMW_INPUTS[..], attributes)
        }
    };
    let node = NodeProto {
        domain: Some(MICROSOFT.into()),
        op_type: Some(operator.into()),
        name: Some("gnp/optimizer".into()),
        input: own_inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![UPDATED.to_owned()],
        attribute,
        ..NodeProto::default()
    };
    let graph = GraphProto {
        name: Some("optimizer".into()),
        node: vec![node],
        input: inputs.iter().map(|&name| declared(name)).collect(),
        // Of SGD the runtime infers a scalar, and returns one element: it warns of this once, of a scalar at every
        // step.
        output: vec![Fact::with_sizes(DataType::Bool, &[1]).info(UPDATED)],
        ..GraphProto::default()
    };
    let import = |domain: &str, version| OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
    let proto = ModelProto {
        ir_version: Some(8),
        producer_name: Some("gnp".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        opset_import: vec![import("", 17), import(MICROSOFT, 1)],
        graph: Some(graph),
        ..ModelProto::default()
    };
    Model::new(proto, path)
}

const UPDATED: &str = "gnp/optimizer/updated";
const SGD_INPUTS: [&str; 5] = ["learning_rate", "step", "params", "gradients", "first_order_moments"];
const ADAMW_INPUTS: [&str; 6] =
    ["learning_rate", "step", "params", "gradients", "first_order_moments", "second_order_moments"];

fn declared(name: &str) -> ValueInfoProto {
    match name {
        "learning_rate" => Fact::with_sizes(DataType::Float, &[1]).info(name),
        "step" => Fact::with_sizes(DataType::Int64, &[1]).info(name),
        _ => sequence_of_tensors(name),
    }
}

fn sequence_of_tensors(name: &str) -> ValueInfoProto {
    let element = Fact::of(DataType::Float).info("").r#type.map(Box::new);
    let sequence = type_proto::Value::SequenceType(Box::new(Sequence { elem_type: element }));
    let r#type = Some(TypeProto { value: Some(sequence), ..TypeProto::default() });
    ValueInfoProto { name: Some(name.into()), r#type, ..ValueInfoProto::default() }
}
