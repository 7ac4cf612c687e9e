//! The ports of a graph, as the file declares them.

use gnp_model::graph::tensor_type;
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::ValueInfoProto;
use gnp_model::onnx::proto::tensor_shape_proto::dimension;
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
