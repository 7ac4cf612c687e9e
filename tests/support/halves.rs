//! Forward models in another floating-point type than float32.

use super::forward::{graph, node, with};
use gnp::onnx::proto::type_proto::Value;
use gnp::onnx::proto::{AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use gnp::onnx::{DataType, Payloads};

/// A float32 model in `element`: its weights, and its ports too unless it keeps these behind Casts.
pub fn converted(mut model: ModelProto, element: DataType, keeps_ports: bool) -> ModelProto {
    let graph = graph(&mut model);
    graph.initializer.iter_mut().for_each(|tensor| round(tensor, element));
    let ports = graph.input.iter_mut().chain(&mut graph.output);
    let floats = ports.filter(|info| tensor_type(info) == Some(DataType::Float as i32));
    if !keeps_ports {
        floats.for_each(|info| set_type(info, element));
        return model;
    }
    let names: Vec<String> = floats.map(|info| info.name().to_owned()).collect();
    let inner = |name: &mut String| {
        if names.contains(name) {
            name.push_str(".inner");
        }
    };
    graph.node.iter_mut().for_each(|node| node.input.iter_mut().chain(&mut node.output).for_each(inner));
    let cast = |from: &str, to: &str, element| {
        let cast = with(node("Cast", &[from], to), AttributeProto::int("to", element as i64));
        NodeProto { name: Some(format!("{to}.cast")), ..cast }
    };
    for info in &graph.input {
        let name = info.name();
        graph.node.insert(0, cast(name, &format!("{name}.inner"), element));
    }
    for info in &graph.output {
        let name = info.name();
        graph.node.push(cast(&format!("{name}.inner"), name, DataType::Float));
    }
    model
}

/// A float32 model whose weights are numbers of `element`.
pub fn rounded(mut model: ModelProto, element: DataType) -> ModelProto {
    for tensor in &mut graph(&mut model).initializer {
        if tensor.element() == Some(DataType::Float) {
            round(tensor, element);
            let floats = Payloads::new(".").float32(tensor).unwrap().unwrap();
            *tensor = TensorProto::raw(tensor.name(), DataType::Float, &tensor.dims, floats);
        }
    }
    model
}

fn round(tensor: &mut TensorProto, element: DataType) {
    if tensor.element() == Some(DataType::Float) {
        let floats = tensor.raw_data.clone().unwrap();
        tensor.data_type = Some(element as i32);
        tensor.set_float32(floats).unwrap();
    }
}

fn tensor_type(info: &ValueInfoProto) -> Option<i32> {
    match info.r#type.as_ref()?.value.as_ref()? {
        Value::TensorType(tensor) => tensor.elem_type,
        _ => None,
    }
}

fn set_type(info: &mut ValueInfoProto, element: DataType) {
    if let Some(Value::TensorType(tensor)) = info.r#type.as_mut().and_then(|declared| declared.value.as_mut()) {
        tensor.elem_type = Some(element as i32);
    }
}
