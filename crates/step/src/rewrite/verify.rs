//! Whether a rewritten model is as the standard and ONNX Runtime's training API want it.

use foldhash::{HashMap, HashSet};
use gnp_base::{Error, Result};
use gnp_model::graph::{is_added, tensor_type};
use gnp_model::onnx::proto::tensor_shape_proto::Dimension;
use gnp_model::onnx::proto::tensor_shape_proto::dimension::Value::DimValue;
use gnp_model::onnx::proto::{GraphProto, NodeProto, TensorProto, standard_domain, type_proto};
use gnp_model::onnx::{DataType, Model};

/// Checks that every operator set in use is imported, and that the operands of added nodes are of one type and of
/// shapes that broadcast.
///
/// # Errors
/// Where one of these does not hold.
pub fn verify(model: &Model) -> Result<()> {
    let imported: HashSet<&str> = model.header.opset_import.iter().map(|o| standard_domain(o.domain())).collect();
    let types = declared_types(&model.graph);
    for node in &model.graph.node {
        let damaged = |what: String| {
            let error = Error::input(what).at_node(node.label(), &node.operator());
            Err(error.help("the model is damaged; make the artifacts again"))
        };
        if !imported.contains(standard_domain(node.domain())) {
            return damaged(format!("the model imports no operator set for the domain `{}`", node.domain()));
        }
        if !is_added(node) {
            continue;
        }
        if let Err(what) = operands_agree(node, &types) {
            return damaged(what);
        }
    }
    Ok(())
}

/// Checks that no name that was added to an artifact can be taken for a gradient of ONNX Runtime's training API.
///
/// # Errors
/// Where one can: that is a defect of the rewrite.
pub fn verify_names(model: &Model) -> Result<()> {
    // What the application sees has the names that it knows.
    let outputs: HashSet<&str> = model.graph.output.iter().map(|output| output.name()).collect();
    for node in model.graph.node.iter().filter(|node| is_added(node)) {
        let mut names = node.output.iter().filter(|o| !o.is_empty() && !outputs.contains(o.as_str()));
        if let Some(name) = names.find(|n| n.ends_with("_grad") || !n.starts_with("gnp")) {
            let what = format!("the added value `{name}` has a name that training would take for another's");
            return Err(Error::internal(what).at_node(node.name(), &node.operator()));
        }
    }
    Ok(())
}

/// What a graph says of the type of a value.
#[derive(Clone, Copy)]
enum Declared<'g> {
    Value(&'g type_proto::Tensor),
    Constant(&'g TensorProto),
}

impl Declared<'_> {
    fn element(self) -> i32 {
        match self {
            Self::Value(tensor) => tensor.elem_type(),
            Self::Constant(tensor) => tensor.data_type(),
        }
    }

    /// The dimensions, where all are known.
    fn dims(self) -> Option<Vec<i64>> {
        let size = |dim: &Dimension| if let Some(DimValue(size)) = dim.value { Some(size) } else { None };
        match self {
            Self::Value(tensor) => tensor.shape.as_ref()?.dim.iter().map(size).collect(),
            Self::Constant(tensor) => Some(tensor.dims.clone()),
        }
    }
}

fn declared_types(graph: &GraphProto) -> HashMap<&str, Declared<'_>> {
    let values = graph.input.iter().chain(&graph.output).chain(&graph.value_info);
    let values = values.filter_map(|v| Some((v.name(), Declared::Value(tensor_type(v)?))));
    values.chain(graph.initializer.iter().map(|t| (t.name(), Declared::Constant(t)))).collect()
}

/// Whether the operands of an elementwise operator, as far as their types are known, go together.
fn operands_agree(node: &NodeProto, types: &HashMap<&str, Declared<'_>>) -> Result<(), String> {
    if !["Add", "Sub", "Mul", "Div", "Max", "Sum"].iter().any(|op| node.is("", op)) {
        return Ok(());
    }
    let known: Vec<_> = node.input.iter().filter_map(|i| Some((i, *types.get(i.as_str())?))).collect();
    for pair in known.windows(2) {
        let [(a, type_a), (b, type_b)] = pair else { continue };
        if type_a.element() != type_b.element() {
            let name = |t: i32| DataType::try_from(t).map_or("an unknown type", |t| t.as_str_name());
            let (x, y) = (name(type_a.element()), name(type_b.element()));
            return Err(format!("its operands differ in type: `{a}` is {x}, `{b}` is {y}"));
        }
        if let (Some(x), Some(y)) = (type_a.dims(), type_b.dims())
            && x.iter().rev().zip(y.iter().rev()).any(|(m, n)| m != n && *m != 1 && *n != 1)
        {
            return Err(format!("its operands do not broadcast: `{a}` is {x:?}, `{b}` is {y:?}"));
        }
    }
    Ok(())
}
