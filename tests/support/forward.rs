//! Forward models made by hand, to be rewritten.

use super::command::external_table;
use gnp::onnx::DataType;
use gnp::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use gnp::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use prost::Message as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A model of operator set 18 with the input `x`, float [batch, 4], and no nodes.
pub fn empty() -> ModelProto {
    let graph = GraphProto {
        name: Some("forward".into()),
        input: vec![info("x", DataType::Float, "batch,4")],
        ..Default::default()
    };
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(18) }],
        graph: Some(graph),
        metadata_props: vec![StringStringEntryProto { key: Some("author".into()), value: Some("someone".into()) }],
        ..Default::default()
    }
}

/// The two layers of a perceptron: x → `logits`, float [batch, 3].
pub fn perceptron() -> ModelProto {
    let nodes = [
        node("MatMul", &["x", "fc1.weight"], "fc1"),
        node("Add", &["fc1", "fc1.bias"], "pre"),
        node("Relu", &["pre"], "hidden"),
        node("MatMul", &["hidden", "fc2.weight"], "fc2"),
        node("Add", &["fc2", "fc2.bias"], "logits"),
    ];
    let weights: [(&str, &[usize]); 4] =
        [("fc1.weight", &[4, 8]), ("fc1.bias", &[8]), ("fc2.weight", &[8, 3]), ("fc2.bias", &[3])];
    let mut model = empty();
    let graph = graph(&mut model);
    graph.node.extend(nodes);
    graph.initializer.extend(weights.map(|(name, shape)| weight(name, shape)));
    graph.output.push(info("logits", DataType::Float, "batch,3"));
    model
}

/// The perceptron as a classifier, which ends in a softmax.
pub fn classifier() -> ModelProto {
    let mut model = perceptron();
    append(
        &mut model,
        node("Softmax", &["logits"], "probabilities"),
        info("probabilities", DataType::Float, "batch,3"),
    );
    model
}

/// A convolution, BatchNormalization, Dropout and a linear layer, which ends in a softmax.
pub fn network() -> ModelProto {
    let mut model = empty();
    let graph = graph(&mut model);
    graph.input = vec![info("image", DataType::Float, "batch,1,6,6")];
    let weights: [(&str, &[usize]); 8] = [
        ("conv.weight", &[2, 1, 3, 3]),
        ("conv.bias", &[2]),
        ("bn.scale", &[2]),
        ("bn.bias", &[2]),
        ("bn.mean", &[2]),
        ("bn.var", &[2]),
        ("fc.weight", &[3, 32]),
        ("fc.bias", &[3]),
    ];
    graph.initializer.extend(weights.map(|(name, shape)| weight(name, shape)));
    graph.node = vec![
        node("Conv", &["image", "conv.weight", "conv.bias"], "conv"),
        node("BatchNormalization", &["conv", "bn.scale", "bn.bias", "bn.mean", "bn.var"], "bn"),
        node("Relu", &["bn"], "relu"),
        node("Dropout", &["relu"], "dropout"),
        node("Flatten", &["dropout"], "flat"),
        with(node("Gemm", &["flat", "fc.weight", "fc.bias"], "logits"), AttributeProto::int("transB", 1)),
    ];
    append(
        &mut model,
        node("Softmax", &["logits"], "probabilities"),
        info("probabilities", DataType::Float, "batch,3"),
    );
    model
}

/// A classifier of sentences over a table of `rows` words: the mean of the words' embeddings, then a layer for `logits`
/// and one for `score`.
pub fn sentences(rows: usize) -> ModelProto {
    let mut model = empty();
    let graph = graph(&mut model);
    let ids = |name: &str| info(name, DataType::Int64, "batch,length");
    graph.input = vec![ids("input_ids"), ids("attention_mask")];
    let weights: [(&str, &[usize]); 4] =
        [("words.weight", &[rows, 8]), ("head.weight", &[8, 2]), ("score.weight", &[8, 1]), ("score.bias", &[1])];
    graph.initializer.extend(weights.map(|(name, shape)| weight(name, shape)));
    let mut axes = weight("axis", &[1]);
    axes.data_type = Some(DataType::Int64 as i32);
    axes.raw_data = Some(2i64.to_le_bytes().to_vec().into());
    let mut sum_axis = axes.clone();
    sum_axis.name = Some("over".into());
    sum_axis.raw_data = Some(1i64.to_le_bytes().to_vec().into());
    graph.initializer.extend([axes, sum_axis]);
    let keep = |node, keep| with(node, AttributeProto::int("keepdims", keep));
    graph.node = vec![
        node("Gather", &["words.weight", "input_ids"], "embedded"),
        with(node("Cast", &["attention_mask"], "seen"), AttributeProto::int("to", DataType::Float as i64)),
        node("Unsqueeze", &["seen", "axis"], "mask"),
        node("Mul", &["embedded", "mask"], "masked"),
        keep(node("ReduceSum", &["masked", "over"], "sum"), 0),
        keep(node("ReduceSum", &["mask", "over"], "count"), 0),
        node("Div", &["sum", "count"], "mean"),
        node("MatMul", &["mean", "head.weight"], "logits"),
        node("MatMul", &["mean", "score.weight"], "scaled"),
        node("Add", &["scaled", "score.bias"], "score"),
    ];
    graph.output = vec![info("logits", DataType::Float, "batch,2"), info("score", DataType::Float, "batch,1")];
    model
}

/// Puts a node at the end of the graph, whose output is then the only one.
pub fn append(model: &mut ModelProto, node: NodeProto, output: ValueInfoProto) {
    let graph = graph(model);
    graph.node.push(node);
    graph.output = vec![output];
}

pub fn graph(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

pub fn write(model: &ModelProto, path: &Path) -> PathBuf {
    fs::write(path, model.encode_to_vec()).unwrap();
    path.to_owned()
}

/// A node that has the name of its output.
/// Writes the network to `path`; a constant that its input meets first has its floats in the file `location`, `data`.
pub fn write_with_data(path: &Path, location: &str, data: &[u8]) -> PathBuf {
    let mut model = network();
    external_table(location)(&mut model);
    let graph = graph(&mut model);
    let table = graph.initializer.last_mut().unwrap();
    table.dims = vec![data.len() as i64 / 4];
    table.external_data[1].value = Some(data.len().to_string());
    let input = std::mem::replace(&mut graph.node[0].input[0], "moved".into());
    graph.node.insert(0, node("Add", &[&input, "mean"], "moved"));
    graph.node.insert(0, node("ReduceMean", &["table"], "mean"));
    let file = path.with_file_name("").join(location);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, data).unwrap();
    write(&model, path)
}

pub fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: Some(output.into()),
        op_type: Some(operator.into()),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

pub fn with(node: NodeProto, attribute: AttributeProto) -> NodeProto {
    NodeProto { attribute: vec![attribute], ..node }
}

/// A float tensor of small, different numbers.
pub fn weight(name: &str, shape: &[usize]) -> TensorProto {
    let dims: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
    let number = |i: usize| ((i * 31 + 7) % 17) as f32 / 17.0 - 0.5;
    let bytes: Vec<u8> = (0..shape.iter().product()).flat_map(|i| number(i).to_le_bytes()).collect();
    TensorProto::raw(name, DataType::Float, &dims, bytes.into())
}

/// A value of the sizes and symbols in `shape`, with commas between them.
pub fn info(name: &str, element: DataType, shape: &str) -> ValueInfoProto {
    let dim = |text: &str| {
        let value = match text.parse() {
            Ok(size) => dimension::Value::DimValue(size),
            Err(_) => dimension::Value::DimParam(text.into()),
        };
        Dimension { value: Some(value), ..Default::default() }
    };
    let shape = TensorShapeProto { dim: shape.split(',').filter(|text| !text.is_empty()).map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(element as i32), shape: Some(shape) };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(name.into()), r#type: Some(r#type), ..Default::default() }
}
