//! The ports of a graph, as the file declares them.

use gnp_model::graph::tensor_type;
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use gnp_model::onnx::proto::{TensorShapeProto, TypeProto, ValueInfoProto, type_proto};
use gnp_tensor::{ElementType, Port};

/// The element type that ONNX calls `element`, where batches and states can have it.
pub(crate) fn element_type(element: DataType) -> Option<ElementType> {
    match element {
        DataType::Float => Some(ElementType::F32),
        DataType::Int32 => Some(ElementType::I32),
        DataType::Int64 => Some(ElementType::I64),
        _ => None,
    }
}

/// What ONNX calls `element`.
pub(crate) fn data_type(element: ElementType) -> DataType {
    match element {
        ElementType::F32 => DataType::Float,
        ElementType::I32 => DataType::Int32,
        ElementType::I64 => DataType::Int64,
    }
}

/// A declared value as a port; none where batches cannot have its type.
pub(crate) fn of(value: &ValueInfoProto) -> Option<Port> {
    let tensor = tensor_type(value)?;
    let element = element_type(DataType::try_from(tensor.elem_type()).ok()?)?;
    let dims = tensor.shape.as_ref()?.dim.iter().map(|dim| match dim.value {
        Some(dimension::Value::DimValue(size)) => usize::try_from(size).ok(),
        _ => None,
    });
    Some(Port::new(value.name(), element, dims.collect::<Vec<_>>()))
}

/// The declaration of a value that is `port`.
pub(crate) fn declaration(port: &Port) -> ValueInfoProto {
    let dim = port
        .dims
        .iter()
        .map(|dim| Dimension { value: dim.map(|size| dimension::Value::DimValue(size as i64)), ..Default::default() });
    let shape = Some(TensorShapeProto { dim: dim.collect() });
    let tensor = type_proto::Tensor { elem_type: Some(data_type(port.element) as i32), shape };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(port.name.clone()), r#type: Some(r#type), ..Default::default() }
}
