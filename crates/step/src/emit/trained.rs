//! The original model with trained weights: what did not train stays byte for byte what it was.

use crate::weights::{Edit, Types};
use bytes::Bytes;
use foldhash::HashMap;
use gnp_base::{Error, Result};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// New elements for a constant of the model, float32 in row-major order, little-endian; the model holds them in the type
/// that the constant has there.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The constant's name in the model.
    pub name: String,
    /// Its sizes.
    pub dims: Vec<i64>,
    /// Its elements.
    pub payload: Bytes,
}

/// Adds the weights that are copies of trained ones.
pub fn tie(trained: &mut Vec<Trained>, edits: &[Edit]) {
    for edit in edits {
        let Edit::Tie { name, to, transposed } = edit else { continue };
        let Some(source) = trained.iter().find(|trained| trained.name == *to) else { continue };
        let mut copy = Trained { name: name.clone(), ..source.clone() };
        if let (true, &[rows, columns]) = (*transposed, &source.dims[..]) {
            copy.payload = transpose(&source.payload, rows.max(0) as usize, columns.max(0) as usize);
            copy.dims.reverse();
        }
        trained.push(copy);
    }
}

/// The elements of a matrix of float32, column by column.
fn transpose(payload: &Bytes, rows: usize, columns: usize) -> Bytes {
    let elements = payload.as_chunks::<4>().0;
    let turned = (0..columns).flat_map(|column| (0..rows).map(move |row| elements[row * columns + column]));
    turned.flatten().collect::<Vec<u8>>().into()
}

/// Puts trained weights into the graph that they came from, the main one or a branch: into initializers, and into the
/// `Constant` and `ConstantOfShape` nodes that stand for such.
///
/// # Errors
/// Where the graph has no constant of such a name, or one of another shape; where an element is beyond the type that the
/// constant has.
pub fn replace(graph: &mut GraphProto, trained: Vec<Trained>) -> Result<()> {
    let mut by_name: HashMap<String, Trained> = trained.into_iter().map(|t| (t.name.clone(), t)).collect();
    for tensor in &mut graph.initializer {
        if let Some(trained) = by_name.remove(tensor.name()) {
            set(tensor, trained)?;
        }
    }
    let types = types(graph, &by_name);
    for node in &mut graph.node {
        let Some(trained) = node.output.first().and_then(|output| by_name.remove(output)) else { continue };
        constant(node, trained, &types)?;
    }
    match by_name.into_keys().next() {
        None => Ok(()),
        Some(name) => Err(Error::input(format!("the model has no constant `{name}` to put its trained elements into"))
            .help("name the model that the step model was made of; weights inside of functions cannot be put back")),
    }
}

fn set(tensor: &mut TensorProto, trained: Trained) -> Result<()> {
    if tensor.dims != trained.dims {
        return Err(Error::input(format!(
            "`{}` has the shape {:?}, the trained one {:?}",
            trained.name, tensor.dims, trained.dims
        ))
        .help("name the model that the step model was made of"));
    }
    tensor.set_float32(trained.payload)
}

/// The types of the constants that nodes of a graph stand for.
fn types(graph: &GraphProto, trained: &HashMap<String, Trained>) -> HashMap<String, DataType> {
    if trained.is_empty() {
        return HashMap::default();
    }
    let types = Types::of(graph);
    trained.keys().map(|name| (name.clone(), types.of_weight(name))).collect()
}

/// Makes a constant of a node that stands for one.
fn constant(node: &mut NodeProto, trained: Trained, types: &HashMap<String, DataType>) -> Result<()> {
    if !["Constant", "ConstantOfShape", "DequantizeLinear"].iter().any(|operator| node.is("", operator)) {
        let what = format!("`{}` is no constant in this model", trained.name);
        return Err(Error::input(what).at_node(node.label(), node.op_type()));
    }
    let held = node.attribute.iter_mut().find_map(|attribute| attribute.t.take()).filter(|_| node.is("", "Constant"));
    let element = types.get(&trained.name).copied().unwrap_or(DataType::Float);
    let mut tensor = held.map_or_else(|| TensorProto::raw("", element, &trained.dims, Bytes::new()), |held| *held);
    // Errors name the node's output.
    let name = tensor.name.replace(trained.name.clone());
    set(&mut tensor, trained)?;
    tensor.name = name;
    node.op_type = Some("Constant".into());
    node.input.clear();
    node.attribute = vec![AttributeProto::tensor("value", tensor)];
    Ok(())
}
