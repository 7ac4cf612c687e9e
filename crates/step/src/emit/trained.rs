//! The original model with trained weights: what did not train stays byte for byte what it was.

use crate::weights::Edit;
use bytes::Bytes;
use foldhash::HashMap;
use gnp_base::{Error, Result};
use gnp_model::onnx::proto::attribute_proto::AttributeType;
use gnp_model::onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// New elements for a constant of the model, float32 in row-major order, little-endian.
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
/// Where the graph has no constant of such a name, or one of another type or shape.
pub fn replace(graph: &mut GraphProto, trained: Vec<Trained>) -> Result<()> {
    let mut by_name: HashMap<String, Trained> = trained.into_iter().map(|t| (t.name.clone(), t)).collect();
    for tensor in &mut graph.initializer {
        if let Some(trained) = by_name.remove(tensor.name()) {
            set(tensor, trained)?;
        }
    }
    for node in &mut graph.node {
        let Some(trained) = node.output.first().and_then(|output| by_name.remove(output)) else { continue };
        constant(node, trained)?;
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
    tensor.float_data.clear();
    tensor.external_data.clear();
    tensor.data_location = None;
    tensor.raw_data = Some(trained.payload);
    Ok(())
}

fn constant(node: &mut NodeProto, trained: Trained) -> Result<()> {
    let label = node.label().to_owned();
    let tensor = TensorProto::raw("", gnp_model::onnx::DataType::Float, &trained.dims, trained.payload.clone());
    if ["ConstantOfShape", "DequantizeLinear", "Cast"].iter().any(|op| node.is("", op)) {
        node.op_type = Some("Constant".into());
        node.input.clear();
        node.attribute = vec![AttributeProto::tensor("value", tensor)];
        return Ok(());
    }
    let attribute = node.attribute.first_mut().filter(|_| node.op_type.as_deref() == Some("Constant"));
    match attribute {
        Some(attribute) if attribute.r#type() == AttributeType::Tensor as i32 && attribute.t.is_some() => {
            attribute.t.as_deref_mut().map_or(Ok(()), |t| set(t, trained))
        }
        Some(attribute) => {
            *attribute = AttributeProto::tensor("value", tensor);
            Ok(())
        }
        None => {
            Err(Error::input(format!("`{}` is no constant in this model", trained.name))
                .at_node(&label, node.op_type()))
        }
    }
}
