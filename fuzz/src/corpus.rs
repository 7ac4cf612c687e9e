//! What inputs are made of: models and data of the tests, models of one operator, and inputs that once failed.

use crate::mutate::Entry;
use crate::targets::Target;
use gnp::onnx::DataType;
use gnp::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use gnp::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};
use prost::Message as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::{fs, io};

/// A longer file is left out: what it would show, a shorter one shows too, and more often.
const LONGEST: usize = 1 << 17;

/// An operator with inputs that fit it.
pub struct Operator {
    /// The domain; empty for the standard's.
    domain: String,
    /// The name.
    pub name: String,
    inputs: Vec<String>,
    attributes: Vec<AttributeProto>,
    outputs: usize,
}

/// The operators of `operators.txt`.
pub static OPERATORS: LazyLock<Vec<Operator>> = LazyLock::new(|| {
    let lines = include_str!("operators.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(Operator::parse).collect()
});

/// The folder of the repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The folder of a target's inputs that once failed.
pub fn folder(target: Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name())
}

/// The corpus of a target, always in the same order; with the files below `more`.
///
/// # Errors
/// Where a file cannot be read.
pub fn of(target: Target, more: Option<&Path>) -> io::Result<Vec<Entry>> {
    let mut inputs = target.seeds()?;
    for folder in [Some(&*folder(target)), more].into_iter().flatten() {
        inputs.extend(files(folder, "")?);
    }
    inputs.retain(|bytes| bytes.len() <= LONGEST);
    Ok(inputs.into_iter().map(|bytes| Entry::new(bytes, target.form())).collect())
}

/// The files below `folder` whose name has this ending, in order of name; none where there is no such folder.
///
/// # Errors
/// Where one cannot be read.
pub fn files(folder: &Path, ending: &str) -> io::Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort_unstable();
    for path in paths {
        if path.is_dir() {
            found.extend(files(&path, ending)?);
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(fs::read(path)?);
        }
    }
    Ok(found)
}

/// The models of one operator.
pub fn single_operators() -> Vec<ModelProto> {
    OPERATORS.iter().map(Operator::model).collect()
}

/// A perceptron, x → `logits`.
pub fn perceptron() -> ModelProto {
    let node = |operator: &str, inputs: &[&str], output: &str| NodeProto {
        name: Some(output.into()),
        op_type: Some(operator.into()),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        ..Default::default()
    };
    let graph = GraphProto {
        name: Some("perceptron".into()),
        node: vec![
            node("MatMul", &["x", "fc1.weight"], "fc1"),
            node("Add", &["fc1", "fc1.bias"], "pre"),
            node("Relu", &["pre"], "hidden"),
            node("MatMul", &["hidden", "fc2.weight"], "logits"),
        ],
        initializer: vec![weight("fc1.weight", &[4, 5]), weight("fc1.bias", &[5]), weight("fc2.weight", &[5, 3])],
        input: vec![info("x", &[-1, 4])],
        output: vec![info("logits", &[-1, 3])],
        ..Default::default()
    };
    model(graph, &[""])
}

fn model(graph: GraphProto, domains: &[&str]) -> ModelProto {
    let version = |domain: &str| if domain.is_empty() { 20 } else { 1 };
    let sets = domains
        .iter()
        .map(|&domain| OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(version(domain)) });
    ModelProto { ir_version: Some(9), opset_import: sets.collect(), graph: Some(graph), ..Default::default() }
}

/// A float value; a size of −1 is that of the batch.
fn info(name: &str, sizes: &[i64]) -> ValueInfoProto {
    let dim = |&size: &i64| {
        let value =
            if size < 0 { dimension::Value::DimParam("batch".into()) } else { dimension::Value::DimValue(size) };
        Dimension { value: Some(value), ..Default::default() }
    };
    let shape = Some(TensorShapeProto { dim: sizes.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: Some(DataType::Float as i32), shape };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(name.into()), r#type: Some(r#type), ..Default::default() }
}

/// Small, different, positive numbers.
fn weight(name: &str, sizes: &[i64]) -> TensorProto {
    let numbers = (0..sizes.iter().product()).map(|i: i64| ((i * 31 + 7) % 17) as f32 / 17.0 + 0.1);
    floats(name, sizes, numbers)
}

fn floats(name: &str, sizes: &[i64], numbers: impl IntoIterator<Item = f32>) -> TensorProto {
    let bytes: Vec<u8> = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
    TensorProto::raw(name, DataType::Float, sizes, bytes.into())
}

/// What numbers `text` has between its separators; 0 where it is none.
fn numbers<T: std::str::FromStr + Default>(text: &str, separator: char) -> Vec<T> {
    text.split(separator).filter(|part| !part.is_empty()).map(|part| part.parse().unwrap_or_default()).collect()
}

impl Operator {
    fn parse(line: &str) -> Self {
        let mut parts = line.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let (domain, name) = name.rsplit_once('.').unwrap_or(("", name));
        let words = |part: Option<&str>| -> Vec<String> {
            part.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
        };
        let inputs = words(parts.next());
        let attributes = words(parts.next()).iter().filter_map(|word| word.split_once('=')).map(attribute).collect();
        let outputs = parts.next().and_then(|count| count.parse().ok()).unwrap_or(1);
        Self { domain: domain.to_owned(), name: name.to_owned(), inputs, attributes, outputs }
    }

    /// The operator between an input, times a weight, and the output `y`.
    fn model(&self) -> ModelProto {
        let mut graph = GraphProto { name: Some(self.name.clone()), ..Default::default() };
        let mut inputs = Vec::new();
        for (number, input) in self.inputs.iter().enumerate() {
            let name = format!("{}{number}", if input.starts_with('w') { "weight" } else { "value" });
            let ints = |values: &[i64]| TensorProto::int64s(name.clone(), values);
            match input.split_at(1) {
                ("-", _) => {
                    inputs.push(String::new());
                    continue;
                }
                ("w", sizes) => graph.initializer.push(weight(&name, &numbers(sizes, 'x'))),
                ("i", values) => graph.initializer.push(ints(&numbers(values, ','))),
                ("s", value) => graph.initializer.push(TensorProto { dims: vec![], ..ints(&numbers(value, ',')) }),
                ("t", sizes) => {
                    let dims: Vec<i64> = numbers(sizes, 'x');
                    let count = dims.iter().product();
                    let values: Vec<i64> = (0..count).map(|i: i64| i % 2).collect();
                    graph.initializer.push(TensorProto { dims, ..ints(&values) });
                }
                ("f", values) => {
                    let values: Vec<f32> = numbers(values, ',');
                    // A single one is a scalar, which is what most operators take.
                    let dims = if values.len() == 1 { vec![] } else { vec![values.len() as i64] };
                    graph.initializer.push(floats(&name, &dims, values));
                }
                ("b", values) => {
                    let values: Vec<u8> = numbers(values, ',');
                    let dims = [values.len() as i64];
                    graph.initializer.push(TensorProto::raw(name.clone(), DataType::Bool, &dims, values.into()));
                }
                _ => {
                    let sizes = numbers(input, 'x');
                    graph.input.push(info("x", &sizes));
                    graph.initializer.push(weight("scale", &[1]));
                    graph.node.push(NodeProto {
                        op_type: Some("Mul".into()),
                        input: vec!["x".into(), "scale".into()],
                        output: vec![name.clone()],
                        ..Default::default()
                    });
                }
            }
            inputs.push(name);
        }
        let outputs: Vec<String> = (0..self.outputs).map(|number| format!("y{number}")).collect();
        graph.node.push(NodeProto {
            name: Some("operator".into()),
            op_type: Some(self.name.clone()),
            domain: (!self.domain.is_empty()).then(|| self.domain.clone()),
            input: inputs,
            output: outputs,
            attribute: self.attributes.clone(),
            ..Default::default()
        });
        graph.output.push(ValueInfoProto { name: Some("y0".into()), ..Default::default() });
        model(graph, &["", "com.microsoft"])
    }
}

fn attribute((name, value): (&str, &str)) -> AttributeProto {
    if let Ok(int) = value.parse() {
        AttributeProto::int(name, int)
    } else if let Ok(float) = value.parse() {
        AttributeProto::float(name, float)
    } else if value.contains(',') && !value.contains("->") {
        AttributeProto::ints(name, &numbers(value, ','))
    } else {
        AttributeProto::string(name, value)
    }
}

/// A model as it stands in a file.
pub fn encoded(models: impl IntoIterator<Item = ModelProto>) -> Vec<Vec<u8>> {
    models.into_iter().map(|model| model.encode_to_vec()).collect()
}
