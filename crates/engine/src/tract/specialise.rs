//! The graph for inputs of known shapes: what it computes of shapes alone becomes constants, and every shape is
//! declared.
//!
//! A body's captured values must have shapes that tract can tell before it translates anything, which it cannot where
//! they follow from other values' elements.

use super::recurrent;
use foldhash::HashMap;
use gnp_base::Result;
use gnp_model::graph::{Fact, Facts};
use gnp_model::onnx::proto::{GraphProto, TensorProto, ValueInfoProto};
use gnp_model::onnx::{DataType, Model};
use gnp_model::shapes;
use std::collections::BTreeMap;

/// `model` with inputs of `shapes`, in the order of its inputs. Where nothing is learnt from them, it stays as it is;
/// but for recurrent layers, which are written out.
///
/// # Errors
/// Where there is no equation for a recurrent layer.
pub(super) fn specialise(model: &Model, shapes: &[Vec<i64>]) -> Result<Model> {
    let mut special = model.clone();
    for (input, sizes) in special.graph.input.iter_mut().zip(shapes) {
        if let Some(fact) = Fact::declared(input) {
            *input = Fact::with_sizes(fact.element, sizes).info(input.name());
        }
    }
    // What was declared for any shape says less.
    special.graph.value_info.clear();
    special.graph.output.iter_mut().for_each(without_shape);
    recurrent::write_out(&mut special)?;
    if let Ok(facts) = shapes::analyse(&special, &BTreeMap::new()) {
        fold(&mut special.graph, &facts);
    }
    Ok(special)
}

fn without_shape(output: &mut ValueInfoProto) {
    if let Some(fact) = Fact::declared(output) {
        *output = Fact::of(fact.element).info(output.name());
    }
}

/// Makes initializers of the whole numbers that are known, and declares the shapes that are.
fn fold(graph: &mut GraphProto, facts: &Facts) {
    let mut constants: HashMap<String, TensorProto> = HashMap::default();
    let returned: foldhash::HashSet<String> = graph.output.iter().map(|o| o.name().to_owned()).collect();
    graph.node.retain_mut(|node| {
        for body in node.subgraphs_mut() {
            fold(body, facts);
            // What a loop declares of its body's inputs may be in symbols, too.
            body.input.iter_mut().for_each(|input| declare(input, facts));
        }
        match &node.output[..] {
            [output] if !returned.contains(output) => match constant(output, facts) {
                Some(tensor) => {
                    constants.insert(output.clone(), tensor);
                    false
                }
                None => true,
            },
            _ => true,
        }
    });
    let made = graph.node.iter().flat_map(|node| &node.output);
    let known = made.filter_map(|name| Some(facts.get(name).filter(|fact| fact.sizes().is_some())?.info(name)));
    graph.value_info = known.collect();
    graph.initializer.extend(constants.into_values());
}

fn declare(input: &mut ValueInfoProto, facts: &Facts) {
    match facts.get(input.name()).filter(|fact| fact.sizes().is_some()) {
        Some(fact) => *input = fact.info(input.name()),
        None => without_shape(input),
    }
}

fn constant(name: &str, facts: &Facts) -> Option<TensorProto> {
    let fact = facts.get(name).filter(|fact| fact.element == DataType::Int64)?;
    let (sizes, ints) = (fact.sizes()?, facts.ints(name)?);
    (sizes.iter().product::<i64>() == ints.len() as i64)
        .then(|| TensorProto { dims: sizes, ..TensorProto::int64s(name, ints) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::testing::{body, model, node};

    #[test]
    fn what_follows_from_shapes_becomes_a_constant() {
        let nodes = [
            node("Size", &["x"], &["count"]),
            node("Shape", &["x"], &["shape"]),
            node("Reshape", &["x", "shape"], &["y"]),
            node("Cast", &["count"], &["z"]),
        ];
        let mut graph = body(&["x"], &nodes, &["y", "z"]);
        graph.input = vec![Fact::of(DataType::Float).info("x")];
        let special = specialise(&model(graph), &[vec![3, 5]]).unwrap();
        let operators: Vec<_> = special.graph.node.iter().map(|node| node.op_type()).collect();
        assert_eq!(operators, ["Reshape", "Cast"]);
        let mut constants: Vec<_> = special.graph.initializer.iter().map(|t| (t.name(), t.ints().unwrap())).collect();
        constants.sort();
        assert_eq!(constants, [("count", vec![15]), ("shape", vec![3, 5])]);
    }
}
