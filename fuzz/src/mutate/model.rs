//! Changes of decoded models: flipped bytes of a protobuf file seldom reach beyond the decoder.

use super::{Entry, number};
use crate::corpus::OPERATORS;
use gnp::onnx::proto::tensor_shape_proto::dimension;
use gnp::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
    type_proto,
};
use rand::seq::{IndexedMutRandom as _, IndexedRandom as _};
use rand::{Rng, RngExt as _};

/// Attributes whose numbers decide how much is made.
const ATTRIBUTES: [&str; 24] = [
    "axis",
    "axes",
    "perm",
    "pads",
    "strides",
    "dilations",
    "kernel_shape",
    "group",
    "output_padding",
    "output_shape",
    "blocksize",
    "keepdims",
    "num_outputs",
    "split",
    "batch_dims",
    "to",
    "mode",
    "auto_pad",
    "ceil_mode",
    "size",
    "p",
    "num_groups",
    "k",
    "epsilon",
];

/// Changes one thing of the model, in the main graph or in one within.
pub fn mutate(model: &mut ModelProto, corpus: &[Entry], rng: &mut impl Rng) {
    match rng.random_range(0..20) {
        0 => {
            if let Some(set) = model.opset_import.choose_mut(rng) {
                set.version = Some(if rng.random_bool(0.8) { rng.random_range(1..25) } else { number(rng) });
            }
        }
        1 => wrap_in_function(model, rng),
        2 => change_metadata(model, rng),
        _ => {
            let other = corpus.choose(rng).and_then(|entry| match entry {
                Entry::Model(model) => model.graph.clone(),
                Entry::Bytes(_) => None,
            });
            if let Some(graph) = model.graph.as_mut() {
                change_graph(graph, other.as_ref(), rng);
            }
        }
    }
}

fn change_metadata(model: &mut ModelProto, rng: &mut impl Rng) {
    if let Some(entry) = model.metadata_props.choose_mut(rng) {
        let mut value = entry.value().as_bytes().to_vec();
        super::bytes::mutate_text(&mut value, rng);
        entry.value = Some(String::from_utf8_lossy(&value).into_owned());
    }
}

fn change_graph(graph: &mut GraphProto, other: Option<&GraphProto>, rng: &mut impl Rng) {
    let within = graph.node.iter_mut().flat_map(|node| &mut node.attribute).filter_map(|a| a.g.as_deref_mut());
    let mut within: Vec<_> = within.collect();
    if rng.random_ratio(1, 3)
        && let Some(within) = within.choose_mut(rng)
    {
        return change_graph(within, other, rng);
    }
    let names: Vec<String> = names(graph);
    match rng.random_range(0..18) {
        0 | 1 => {
            let values = [&mut graph.input, &mut graph.output, &mut graph.value_info];
            let mut values: Vec<_> = values.into_iter().flatten().collect();
            values.choose_mut(rng).into_iter().for_each(|value| change_type(value, rng));
        }
        2..5 => node(graph, rng).into_iter().for_each(|node| change_attribute(node, rng)),
        5 => node(graph, rng).into_iter().for_each(|node| add_attribute(node, rng)),
        6 | 7 => {
            let operator = OPERATORS.choose(rng).map(|operator| operator.name.clone());
            node(graph, rng).into_iter().for_each(|node| node.op_type = operator.clone());
        }
        8 | 9 => node(graph, rng).into_iter().for_each(|node| change_inputs(node, &names, rng)),
        10..13 => graph.initializer.choose_mut(rng).into_iter().for_each(|tensor| change_tensor(tensor, rng)),
        13 => duplicate(graph, rng),
        14 => {
            if !graph.node.is_empty() {
                graph.node.remove(rng.random_range(0..graph.node.len()));
            }
        }
        15 => {
            if let Some(node) = node(graph, rng) {
                match rng.random_range(0..3) {
                    0 => drop(node.output.pop()),
                    1 => node.output.push(String::new()),
                    _ => node.output.push("more".to_owned()),
                }
            }
        }
        16 => {
            // A node of another model between this one's values.
            let node = other.and_then(|other| other.node.choose(rng));
            if let (Some(node), Some(into), Some(from)) = (node, names.choose(rng), names.choose(rng)) {
                let mut node = node.clone();
                node.input.iter_mut().for_each(|input| *input = from.clone());
                let output = format!("spliced.{}", graph.node.len());
                node.output = vec![output.clone()];
                let at = graph.node.iter().position(|n| n.input.contains(into)).unwrap_or(graph.node.len());
                graph.node[at..]
                    .iter_mut()
                    .flat_map(|n| &mut n.input)
                    .filter(|i| *i == into)
                    .for_each(|i| *i = output.clone());
                graph.node.insert(at, node);
            }
        }
        _ => insert_constant_input(graph, rng),
    }
}

/// All values that the graph knows by name.
fn names(graph: &GraphProto) -> Vec<String> {
    let nodes = graph.node.iter().flat_map(|node| &node.output).cloned();
    let inputs = graph.input.iter().map(|input| input.name().to_owned());
    let initializers = graph.initializer.iter().map(|tensor| tensor.name().to_owned());
    nodes.chain(inputs).chain(initializers).chain([String::new()]).collect()
}

fn node<'g>(graph: &'g mut GraphProto, rng: &mut impl Rng) -> Option<&'g mut NodeProto> {
    graph.node.choose_mut(rng)
}

fn change_type(value: &mut ValueInfoProto, rng: &mut impl Rng) {
    let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_mut().and_then(|t| t.value.as_mut()) else {
        return value.r#type = None;
    };
    let Some(shape) = tensor.shape.as_mut() else { return };
    match rng.random_range(0..8) {
        0 => tensor.elem_type = Some(rng.random_range(0..30)),
        1 => tensor.shape = None,
        2 => drop(shape.dim.pop()),
        3 => shape.dim.extend(shape.dim.first().cloned()),
        _ => {
            if let Some(dim) = shape.dim.choose_mut(rng) {
                dim.value = match rng.random_range(0..6) {
                    0 => None,
                    1 => Some(dimension::Value::DimParam("size".to_owned())),
                    _ => Some(dimension::Value::DimValue(number(rng))),
                };
            }
        }
    }
}

fn change_ints(ints: &mut Vec<i64>, rng: &mut impl Rng) {
    match rng.random_range(0..6) {
        0 => drop(ints.pop()),
        1 => ints.push(number(rng)),
        2 if ints.len() > 1 => {
            let (a, b) = (rng.random_range(0..ints.len()), rng.random_range(0..ints.len()));
            ints[a] = ints[b];
        }
        _ => ints.choose_mut(rng).into_iter().for_each(|int| *int = number(rng)),
    }
}

fn float(rng: &mut impl Rng) -> f32 {
    *[0.0, -0.0, 1.0, -1.0, 0.5, f32::NAN, f32::INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e30, 3e9]
        .choose(rng)
        .unwrap_or(&0.0)
}

fn change_attribute(node: &mut NodeProto, rng: &mut impl Rng) {
    if rng.random_ratio(1, 10) && !node.attribute.is_empty() {
        node.attribute.swap_remove(rng.random_range(0..node.attribute.len()));
        return;
    }
    let Some(attribute) = node.attribute.choose_mut(rng) else { return add_attribute(node, rng) };
    if let Some(tensor) = attribute.t.as_deref_mut() {
        change_tensor(tensor, rng);
    } else if let Some(int) = attribute.i.as_mut() {
        *int = number(rng);
    } else if !attribute.ints.is_empty() {
        change_ints(&mut attribute.ints, rng);
    } else if let Some(number) = attribute.f.as_mut() {
        *number = float(rng);
    } else if !attribute.floats.is_empty() {
        attribute.floats.choose_mut(rng).into_iter().for_each(|number| *number = float(rng));
    } else if let Some(text) = attribute.s.as_mut() {
        let texts = [
            "",
            "SAME_UPPER",
            "SAME_LOWER",
            "VALID",
            "linear",
            "cubic",
            "nearest",
            "floor",
            "reflect",
            "edge",
            "wrap",
            "sum",
            "mean",
            "none",
            "asymmetric",
            "DCR",
            "\0",
        ];
        *text = texts.choose(rng).unwrap_or(&"").as_bytes().into();
    } else {
        attribute.r#type = Some(rng.random_range(0..16));
    }
}

fn add_attribute(node: &mut NodeProto, rng: &mut impl Rng) {
    let name = ATTRIBUTES.choose(rng).unwrap_or(&"axis");
    node.attribute.retain(|attribute| attribute.name() != *name || rng.random_ratio(1, 8));
    node.attribute.push(match rng.random_range(0..3) {
        0 => AttributeProto::int(name, number(rng)),
        1 => AttributeProto::float(name, float(rng)),
        _ => {
            let ints: Vec<i64> = (0..rng.random_range(0..6)).map(|_| number(rng)).collect();
            AttributeProto::ints(name, &ints)
        }
    });
}

fn change_inputs(node: &mut NodeProto, names: &[String], rng: &mut impl Rng) {
    let name = names.choose(rng).cloned().unwrap_or_default();
    match rng.random_range(0..5) {
        0 => drop(node.input.pop()),
        1 => node.input.push(name),
        2 => {
            let other = rng.random_range(0..=node.input.len());
            if other > 0 {
                node.input.swap(0, other - 1);
            }
        }
        _ => node.input.choose_mut(rng).into_iter().for_each(|input| *input = name.clone()),
    }
}

fn change_tensor(tensor: &mut TensorProto, rng: &mut impl Rng) {
    match rng.random_range(0..8) {
        0 => tensor.data_type = Some(rng.random_range(0..30)),
        1 | 2 => change_ints(&mut tensor.dims, rng),
        3 => {
            // Another length, which the dims follow.
            let values: Vec<i64> = (0..rng.random_range(0..9)).map(|_| number(rng)).collect();
            *tensor = TensorProto::int64s(tensor.name(), &values);
        }
        4 => {
            let mut bytes = tensor.raw_data.clone().unwrap_or_default().to_vec();
            super::bytes::mutate(&mut bytes, &[], rng);
            tensor.raw_data = Some(bytes.into());
        }
        _ => {
            // One element.
            let mut bytes = tensor.raw_data.clone().unwrap_or_default().to_vec();
            let value = if tensor.data_type() == 1 {
                float(rng).to_le_bytes().to_vec()
            } else {
                number(rng).to_le_bytes().to_vec()
            };
            let places = bytes.len() / value.len();
            if places > 0 {
                let at = rng.random_range(0..places) * value.len();
                bytes[at..at + value.len()].copy_from_slice(&value);
                tensor.raw_data = Some(bytes.into());
            }
        }
    }
}

/// The same node once more, behind itself: a chain of up to some thousand.
fn duplicate(graph: &mut GraphProto, rng: &mut impl Rng) {
    if graph.node.is_empty() {
        return;
    }
    let at = rng.random_range(0..graph.node.len());
    let Some(last) = graph.node[at].output.first().cloned() else { return };
    // All inputs, or the first: x + x doubles what x + 1 does not.
    let all = rng.random();
    let count = 1 << if rng.random_bool(0.8) { rng.random_range(0..6) } else { rng.random_range(6..12) };
    let mut chain = Vec::with_capacity(count);
    let mut from = last.clone();
    for number in 0..count {
        let mut node = graph.node[at].clone();
        let wanted = if all { node.input.len() } else { 1 };
        node.input.iter_mut().take(wanted).for_each(|input| *input = from.clone());
        node.output.iter_mut().enumerate().for_each(|(i, output)| *output = format!("{last}.{number}.{i}"));
        node.name = Some(format!("{last}.{number}"));
        from = format!("{last}.{number}.0");
        chain.push(node);
    }
    for input in graph.node[at + 1..].iter_mut().flat_map(|node| &mut node.input).filter(|input| **input == last) {
        *input = from.clone();
    }
    graph.node.splice(at + 1..at + 1, chain);
}

/// An initializer of whole numbers in place of an input.
fn insert_constant_input(graph: &mut GraphProto, rng: &mut impl Rng) {
    let values: Vec<i64> = (0..rng.random_range(0..6)).map(|_| number(rng)).collect();
    let name = format!("numbers.{}", graph.initializer.len());
    let Some(node) = node(graph, rng) else { return };
    match rng.random_range(0..=node.input.len()) {
        at if at < node.input.len() => node.input[at] = name.clone(),
        _ => node.input.push(name.clone()),
    }
    graph.initializer.push(TensorProto::int64s(name, &values));
}

/// Makes a node a function of the model, which calls another twice, and so on for some levels.
fn wrap_in_function(model: &mut ModelProto, rng: &mut impl Rng) {
    let opset_import = model.opset_import.clone();
    let Some(node) = model.graph.as_mut().and_then(|graph| graph.node.choose_mut(rng)) else { return };
    let levels = if rng.random_bool(0.7) { rng.random_range(1..4) } else { rng.random_range(4..40) };
    let calls = if rng.random_bool(0.5) { 1 } else { 2 };
    let [Some(input), Some(output)] = [node.input.first().cloned(), node.output.first().cloned()] else { return };
    let domain = "functions".to_owned();
    let first = model.functions.len();
    for level in 0..levels {
        let own = [OperatorSetIdProto { domain: Some(domain.clone()), version: Some(1) }];
        let called = match level {
            0 => NodeProto { output: vec![output.clone()], ..node.clone() },
            _ => NodeProto {
                op_type: Some(format!("f{}", first + level - 1)),
                domain: Some(domain.clone()),
                input: node.input.clone(),
                output: vec![output.clone()],
                ..Default::default()
            },
        };
        let mut body = vec![called.clone()];
        if calls == 2 && level > 0 {
            body[0].output = vec!["between".to_owned()];
            let mut second = called;
            second.input.iter_mut().filter(|name| **name == input).for_each(|name| "between".clone_into(name));
            body.push(second);
        }
        model.functions.push(FunctionProto {
            name: Some(format!("f{}", first + level)),
            domain: Some(domain.clone()),
            input: node.input.clone(),
            output: vec![output.clone()],
            node: body,
            opset_import: opset_import.iter().cloned().chain(own).collect(),
            ..Default::default()
        });
    }
    *node = NodeProto {
        op_type: Some(format!("f{}", first + levels - 1)),
        domain: Some(domain.clone()),
        name: node.name.clone(),
        input: node.input.clone(),
        output: vec![output],
        ..Default::default()
    };
    if !opset_import.iter().any(|set| set.domain() == domain) {
        model.opset_import.push(OperatorSetIdProto { domain: Some(domain), version: Some(1) });
    }
}
