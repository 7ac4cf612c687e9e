//! A model that copies a state to a device, and from it.

use crate::StepModel;
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use gnp_model::onnx::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use gnp_tensor::{ElementType, Port};

/// A model that returns each state input as it is. ONNX Runtime before 1.23 has no other way of copying from a device.
pub(super) fn copying_model(model: &StepModel) -> ModelProto {
    let declared = |name: &str, port: &Port| ValueInfoProto { name: Some(name.into()), ..declaration(port) };
    let graph = GraphProto {
        name: Some("copy".into()),
        input: model.state.iter().map(|slot| declaration(&slot.port)).collect(),
        output: model.state.iter().map(|slot| declared(&slot.next, &slot.port)).collect(),
        node: model
            .state
            .iter()
            .map(|slot| NodeProto {
                op_type: Some("Identity".into()),
                input: vec![slot.port.name.clone()],
                output: vec![slot.next.clone()],
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(13) }],
        graph: Some(graph),
        ..Default::default()
    }
}

/// The declaration of a value that is `port`.
fn declaration(port: &Port) -> ValueInfoProto {
    let dim = port
        .dims
        .iter()
        .map(|dim| Dimension { value: dim.map(|size| dimension::Value::DimValue(size as i64)), ..Default::default() });
    let shape = Some(TensorShapeProto { dim: dim.collect() });
    let tensor = type_proto::Tensor { elem_type: Some(data_type(port.element) as i32), shape };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(port.name.clone()), r#type: Some(r#type), ..Default::default() }
}

/// What ONNX calls `element`.
pub(super) fn data_type(element: ElementType) -> DataType {
    match element {
        ElementType::F32 => DataType::Float,
        ElementType::I32 => DataType::Int32,
        ElementType::I64 => DataType::Int64,
    }
}
