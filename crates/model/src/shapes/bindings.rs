//! Numbers for dimension symbols.

use crate::graph::tensor_type;
use crate::onnx::Model;
use crate::onnx::proto::tensor_shape_proto::dimension::Value as DimValue;
use crate::onnx::proto::{GraphProto, NodeProto, type_proto};
use gnp_base::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};

/// Writes the numbers of `bindings` in place of their symbols into what the model declares of its inputs, outputs and
/// values.
///
/// # Errors
/// Where the model does not have a symbol, or its number is less than 0.
///
/// ```
/// # use std::collections::BTreeMap;
/// let mut model = gnp_model::onnx::read("../../models/cnn/eval_model.onnx")?;
/// gnp_model::shapes::bind(&mut model, &BTreeMap::from([("batch".to_owned(), 32)]))?;
/// let images = gnp_model::graph::Fact::declared(&model.graph.input[0]).unwrap();
/// assert_eq!(images.sizes().unwrap()[0], 32);
/// # Ok::<(), gnp_base::Error>(())
/// ```
pub fn bind(model: &mut Model, bindings: &BTreeMap<String, i64>) -> Result<()> {
    check(model, bindings)?;
    if !bindings.is_empty() {
        replace(&mut model.graph, &|symbol| bindings.get(symbol).copied().map(DimValue::DimValue));
    }
    Ok(())
}

/// Gives the dimension `from` the name `to`, wherever the model declares it.
pub fn rename_symbol(model: &mut Model, from: &str, to: &str) {
    replace(&mut model.graph, &|symbol| (symbol == from).then(|| DimValue::DimParam(to.to_owned())));
}

/// The names of the dimensions in what a model declares of its inputs, outputs and values.
pub fn symbols(model: &Model) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    collect(&model.graph, &mut found);
    found
}

/// Puts what `by` makes of a symbol in its place.
fn replace(graph: &mut GraphProto, by: &impl Fn(&str) -> Option<DimValue>) {
    let infos = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
    for info in infos {
        let Some(type_proto::Value::TensorType(tensor)) = info.r#type.as_mut().and_then(|t| t.value.as_mut()) else {
            continue;
        };
        for dim in tensor.shape.iter_mut().flat_map(|shape| &mut shape.dim) {
            if let Some(DimValue::DimParam(symbol)) = &dim.value
                && let Some(value) = by(symbol)
            {
                dim.value = Some(value);
            }
        }
    }
    graph.node.iter_mut().flat_map(NodeProto::subgraphs_mut).for_each(|body| replace(body, by));
}

/// Checks that the model has every symbol that is bound, and that its number is a size.
pub(super) fn check(model: &Model, bindings: &BTreeMap<String, i64>) -> Result<()> {
    if bindings.is_empty() {
        return Ok(());
    }
    let symbols = symbols(model);
    for (symbol, size) in bindings {
        if !symbols.contains(symbol.as_str()) {
            return Err(unknown(symbol, &symbols));
        }
        if *size < 0 {
            return Err(
                Error::input(format!("the dimension `{symbol}` is to be {size}")).help("give a size of 0 or more")
            );
        }
    }
    Ok(())
}

fn collect<'g>(graph: &'g GraphProto, symbols: &mut BTreeSet<&'g str>) {
    let infos = graph.input.iter().chain(&graph.output).chain(&graph.value_info);
    let shapes = infos.filter_map(|info| tensor_type(info)?.shape.as_ref());
    symbols.extend(shapes.flat_map(|shape| &shape.dim).filter_map(|dim| match &dim.value {
        Some(DimValue::DimParam(symbol)) if !symbol.is_empty() => Some(symbol.as_str()),
        _ => None,
    }));
    graph.node.iter().flat_map(NodeProto::subgraphs).for_each(|body| collect(body, symbols));
}

fn unknown(symbol: &str, symbols: &BTreeSet<&str>) -> Error {
    let error = Error::input(format!("the model has no dimension called `{symbol}`"));
    let Some(nearest) = symbols.iter().min_by_key(|s| strsim::damerau_levenshtein(s, symbol)) else {
        return error.help("none of its dimensions has a name: their sizes are in the file");
    };
    let all = symbols.iter().map(|s| format!("`{s}`")).collect::<Vec<_>>().join(", ");
    error.help(format!("did you mean `{nearest}`? Its dimensions with a name: {all}"))
}
