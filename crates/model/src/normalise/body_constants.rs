//! Floating constants inside the branches of an `If`, and the body of a Loop or Scan, become initializers of the main
//! graph, which the bodies read: they may be weights, and train like others.

use super::constant;
use super::origin::{Moved, Origin, Place, first_output};
use crate::graph::Renaming;
use crate::onnx::DataType;
use crate::onnx::proto::{GraphProto, NodeProto, TensorProto};
use foldhash::HashMap;

/// Moves them. A constant keeps its name where no other value of the model has it.
pub(super) fn hoist(graph: &mut GraphProto) -> Vec<Moved> {
    if !graph.node.iter().any(|node| node.subgraphs().next().is_some()) {
        return vec![];
    }
    let mut hoisting = Hoisting::default();
    hoisting.count(graph);
    hoisting.nodes(&mut graph.node, &[]);
    graph.initializer.extend(hoisting.initializers);
    hoisting.moved
}

#[derive(Default)]
struct Hoisting {
    /// How many values have a name, in all graphs of the model.
    defined: HashMap<String, usize>,
    initializers: Vec<TensorProto>,
    moved: Vec<Moved>,
}

impl Hoisting {
    fn count(&mut self, graph: &GraphProto) {
        let inputs = graph.input.iter().map(|input| input.name());
        let initializers = graph.initializer.iter().map(|tensor| tensor.name());
        let made = graph.node.iter().flat_map(|node| &node.output).map(String::as_str);
        for name in inputs.chain(initializers).chain(made) {
            *self.defined.entry(name.to_owned()).or_default() += 1;
        }
        graph.node.iter().flat_map(NodeProto::subgraphs).for_each(|body| self.count(body));
    }

    /// Moves what is in the bodies of `nodes`, which are those inside of `bodies`.
    fn nodes(&mut self, nodes: &mut [NodeProto], bodies: &[(String, String)]) {
        for node in nodes.iter_mut().filter(|node| node.subgraphs().next().is_some()) {
            let label = node.label().to_owned();
            let Some(output) = first_output(node).map(str::to_owned) else { continue };
            for attribute in &mut node.attribute {
                let place = (output.clone(), attribute.name().to_owned());
                let Some(body) = attribute.g.as_deref_mut() else { continue };
                let bodies = [bodies, &[place]].concat();
                self.body(body, &bodies, &label);
                self.nodes(&mut body.node, &bodies);
            }
        }
    }

    fn body(&mut self, body: &mut GraphProto, bodies: &[(String, String)], label: &str) {
        let is_weight = |tensor: &mut TensorProto| tensor.element().is_some_and(DataType::is_floating);
        let mut constants: Vec<TensorProto> = body.initializer.extract_if(.., is_weight).collect();
        body.node.retain_mut(|node| match constant::floating(node) {
            Some(tensor) => {
                constants.push(tensor);
                false
            }
            None => true,
        });
        let returned = |name: &str| body.output.iter().any(|output| output.name() == name);
        let mut renaming = Renaming::default();
        let mut copies = Vec::new();
        for mut tensor in constants {
            let name = tensor.name().to_owned();
            let is_returned = returned(&name);
            let hoisted = if is_returned || self.defined.get(&name) > Some(&1) {
                let attribute = bodies.last().map(|(_, attribute)| attribute.as_str()).unwrap_or_default();
                self.free_name(&format!("{label}/{attribute}/{name}"))
            } else {
                name.clone()
            };
            if is_returned {
                // A body returns what it makes itself.
                copies.push(NodeProto {
                    op_type: Some("Identity".into()),
                    input: vec![hoisted.clone()],
                    output: vec![name.clone()],
                    ..Default::default()
                });
            } else if hoisted != name {
                renaming.insert(&name, hoisted.as_str().into());
            }
            let place = Place { bodies: bodies.to_vec(), name };
            self.moved.push(Moved { initializer: hoisted.clone(), origin: Origin::Body(place) });
            tensor.name = Some(hoisted);
            self.initializers.push(tensor);
        }
        body.value_info.retain(|info| renaming.apply(info.name()) == info.name().into());
        rename_reads(&mut body.node, &renaming);
        body.node.splice(..0, copies);
    }

    fn free_name(&mut self, name: &str) -> String {
        let mut free = name.to_owned();
        let mut number = 0;
        while self.defined.contains_key(&free) {
            number += 1;
            free = format!("{name}.{number}");
        }
        self.defined.insert(free.clone(), 1);
        free
    }
}

/// Lets nodes, and those in their bodies, read what `renaming` says.
fn rename_reads(nodes: &mut [NodeProto], renaming: &Renaming) {
    for node in nodes {
        node.input.iter_mut().for_each(|name| renaming.rename(name));
        for body in node.subgraphs_mut() {
            rename_reads(&mut body.node, renaming);
            body.output.iter_mut().filter_map(|output| output.name.as_mut()).for_each(|name| renaming.rename(name));
        }
    }
}
