//! Forward models of any size: chains of dense layers, with weights in the file or, as holes, in a file beside it.

use gnp::graph::{Dim, Fact};
use gnp::onnx::proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto};
use gnp::onnx::{DataType, Model};
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// The nodes that a layer adds: MatMul, Add, Relu.
const NODES_A_LAYER: usize = 3;

/// A model of at least `nodes` nodes with small weights.
pub fn with_nodes(nodes: usize) -> gnp::Result<Model> {
    chain(nodes.div_ceil(NODES_A_LAYER), 8, &mut |name, dims| {
        let bytes = 4 * dims.iter().product::<i64>() as usize;
        TensorProto::raw(name, DataType::Float, dims, vec![0; bytes].into())
    })
}

/// A model of at least `parameters` numbers, whose weights are in `weights.data`, made in `folder`. Each begins with a
/// number of its own; the rest are holes of the file.
pub fn with_parameters(parameters: i64, folder: &Path) -> gnp::Result<Model> {
    const WIDTH: i64 = 8192;
    let (mut begins, mut end) = (Vec::new(), 0);
    let model = chain((parameters / (WIDTH * WIDTH) + 1) as usize, WIDTH, &mut |name, dims| {
        let bytes = 4 * dims.iter().product::<i64>();
        let entry = |key: &str, value: String| StringStringEntryProto { key: Some(key.into()), value: Some(value) };
        let mut tensor = TensorProto::raw(name, DataType::Float, dims, Default::default());
        tensor.raw_data = None;
        tensor.data_location = Some(1);
        tensor.external_data = vec![
            entry("location", "weights.data".into()),
            entry("offset", end.to_string()),
            entry("length", bytes.to_string()),
        ];
        begins.push(end);
        end += bytes;
        tensor
    })?;
    let file = File::create(folder.join("weights.data")).and_then(|file| fill(file, &begins, end));
    file.map_err(|error| gnp::Error::io("make the weights", folder, &error))?;
    Ok(model)
}

/// Writes a number at each of `begins`, each another one.
fn fill(mut file: File, begins: &[i64], end: i64) -> io::Result<()> {
    file.set_len(end as u64)?;
    for (i, begin) in begins.iter().enumerate() {
        file.seek(SeekFrom::Start(*begin as u64))?;
        file.write_all(&(1.5 + i as f32).to_le_bytes())?;
    }
    Ok(())
}

fn chain(layers: usize, width: i64, weight: &mut dyn FnMut(String, &[i64]) -> TensorProto) -> gnp::Result<Model> {
    let mut graph = GraphProto { name: Some("forward".into()), ..Default::default() };
    let data = Fact { element: DataType::Float, shape: Some(vec![Dim::Symbol("batch".into()), Dim::Known(width)]) };
    graph.input.push(data.info("h0"));
    for layer in 0..layers {
        let [w, b] = [format!("w{layer}"), format!("b{layer}")];
        graph.initializer.extend([weight(w.clone(), &[width, width]), weight(b.clone(), &[width])]);
        let [product, sum] = [format!("m{layer}"), format!("a{layer}")];
        let node = |operator: &str, inputs: &[&str], output: &str| NodeProto {
            op_type: Some(operator.into()),
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![output.to_owned()],
            ..Default::default()
        };
        graph.node.push(node("MatMul", &[&format!("h{layer}"), &w], &product));
        graph.node.push(node("Add", &[&product, &b], &sum));
        graph.node.push(node("Relu", &[&sum], &format!("h{}", layer + 1)));
    }
    graph.output.push(data.info(&format!("h{layers}")));
    let opset_import = vec![OperatorSetIdProto { version: Some(18), ..Default::default() }];
    let proto = ModelProto { ir_version: Some(8), opset_import, graph: Some(graph), ..Default::default() };
    Model::new(proto, "synthetic.onnx")
}
