//! Training artifacts of any size, in the layout of ONNX Runtime: a chain of dense layers with skip connections, and
//! the gradients of a sum of the outputs.

pub mod forward;

use gnp::contract::artifacts::BUFFER_SUFFIX;
use gnp::onnx::proto::type_proto::{Tensor, Value};
use gnp::onnx::proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TypeProto, ValueInfoProto};
use gnp::onnx::{DataType, Model};

/// The nodes that a layer adds.
pub const NODES_A_LAYER: usize = 14;

/// A training model of at least `nodes` nodes, with a weight and a bias for every [`NODES_A_LAYER`] of them, and a
/// frozen initializer of `payload` bytes.
pub fn artifact(nodes: usize, payload: usize) -> gnp::Result<Model> {
    let layers = nodes.div_ceil(NODES_A_LAYER);
    let mut graph = GraphProto { name: Some("training".into()), ..Default::default() };
    graph.input.extend([value("x"), value("labels")]);
    graph.initializer.push(TensorProto {
        name: Some("frozen".into()),
        data_type: Some(DataType::Uint8 as i32),
        dims: vec![payload as i64],
        raw_data: Some(vec![7; payload].into()),
        ..Default::default()
    });
    for layer in 0..layers {
        forward(&mut graph, layer);
    }
    graph.push("Sub", &[&hidden(layers), "labels"], &hidden_grad(layers));
    graph.push("ReduceSum", &[&hidden_grad(layers)], "loss");
    for layer in (0..layers).rev() {
        backward(&mut graph, layer);
    }
    let parameters = (0..layers).flat_map(|layer| [weight(layer), bias(layer)]);
    let buffers = parameters.clone().map(|p| format!("{p}{BUFFER_SUFFIX}"));
    graph.input.extend(parameters.clone().chain(buffers).map(|name| value(&name)));
    graph.input.push(value("lazy_reset_grad"));
    graph.output.push(value("loss"));
    for parameter in parameters {
        graph.accumulate(&parameter);
    }
    let opset = |domain: &str, version| OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
    let proto = ModelProto {
        ir_version: Some(8),
        opset_import: vec![opset("", 17), opset("com.microsoft", 1)],
        graph: Some(graph),
        ..Default::default()
    };
    Model::new(proto, "synthetic.onnx")
}

fn weight(layer: usize) -> String {
    format!("layers.{layer}.weight")
}

fn bias(layer: usize) -> String {
    format!("layers.{layer}.bias")
}

fn hidden(layer: usize) -> String {
    if layer == 0 { "x".into() } else { format!("/layers.{}/Add_output_0", layer - 1) }
}

fn hidden_grad(layer: usize) -> String {
    if layer == 0 { "x_grad".into() } else { format!("/layers.{}/Add_output_0_grad", layer - 1) }
}

/// h ← h + tanh(h·w + b)
fn forward(graph: &mut GraphProto, layer: usize) {
    let at = |name: &str| format!("/layers.{layer}/{name}");
    graph.push("MatMul", &[&hidden(layer), &weight(layer)], &at("MatMul_output_0"));
    graph.push("Add", &[&at("MatMul_output_0"), &bias(layer)], &at("Bias_output_0"));
    graph.push("Tanh", &[&at("Bias_output_0")], &at("Tanh_output_0"));
    graph.push("Add", &[&hidden(layer), &at("Tanh_output_0")], &hidden(layer + 1));
}

fn backward(graph: &mut GraphProto, layer: usize) {
    let at = |name: &str| format!("/layers.{layer}/{name}");
    graph.push("Mul", &[&at("Tanh_output_0"), &at("Tanh_output_0")], &at("Square"));
    graph.push("Mul", &[&at("Square"), &hidden_grad(layer + 1)], &at("Slope"));
    graph.push("Sub", &[&hidden_grad(layer + 1), &at("Slope")], &at("Tanh_output_0_grad"));
    graph.push("ReduceSum", &[&at("Tanh_output_0_grad")], &format!("{}_grad", bias(layer)));
    graph.push("Gemm", &[&hidden(layer), &at("Tanh_output_0_grad")], &format!("{}_grad", weight(layer)));
    graph.push("Transpose", &[&weight(layer)], &at("Transpose"));
    graph.push("MatMul", &[&at("Tanh_output_0_grad"), &at("Transpose")], &at("MatMul_grad"));
    graph.push("Add", &[&hidden_grad(layer + 1), &at("MatMul_grad")], &hidden_grad(layer));
}

/// Adding to a graph what exporters add.
trait Exporter {
    /// A node with its declared type.
    fn push(&mut self, operator: &str, inputs: &[&str], output: &str);
    /// The accumulator of a parameter's gradient.
    fn accumulate(&mut self, parameter: &str);
}

impl Exporter for GraphProto {
    fn push(&mut self, operator: &str, inputs: &[&str], output: &str) {
        self.node.push(NodeProto {
            name: Some(format!("{output}/{operator}")),
            op_type: Some(operator.into()),
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![output.into()],
            ..Default::default()
        });
        self.value_info.push(value(output));
    }

    fn accumulate(&mut self, parameter: &str) {
        let (gradient, out) = (format!("{parameter}_grad"), format!("{parameter}_grad.accumulation.out"));
        self.node.push(NodeProto {
            name: Some(format!("{parameter}/InPlaceAccumulatorV2")),
            op_type: Some("InPlaceAccumulatorV2".into()),
            domain: Some("com.microsoft".into()),
            input: vec![format!("{parameter}{BUFFER_SUFFIX}"), gradient, "lazy_reset_grad".into()],
            output: vec![out.clone()],
            ..Default::default()
        });
        self.output.push(value(&out));
    }
}

fn value(name: &str) -> ValueInfoProto {
    let tensor = Tensor { elem_type: Some(DataType::Float as i32), ..Default::default() };
    let r#type = TypeProto { value: Some(Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(name.into()), r#type: Some(r#type), ..Default::default() }
}
