//! Model-local functions, put in place of their calls.

use super::context::Context;
use super::imports::standard_version;
use crate::graph::{Fact, Renaming, Value};
use crate::onnx::proto::{AttributeProto, FunctionProto, NodeProto};
use foldhash::{HashMap, HashSet};
use gnp_base::{Error, Result};

impl<'m> Context<'m> {
    /// Appends the nodes of `function`, its inputs, outputs and attributes replaced by those of `call`, and every other
    /// name by a fresh one.
    pub fn inline(&mut self, function: &'m FunctionProto, call: NodeProto) -> Result<()> {
        if self.calls.iter().any(|&f| std::ptr::eq(f, function)) {
            return Err(Error::format("the function calls itself, which ONNX does not allow")
                .help("the model is damaged; export it again"));
        }
        self.calls.push(function);
        self.inlined += 1;
        let version = standard_version(&function.opset_import).unwrap_or(self.versions.model);
        let attributes = arguments(function, &call);
        let mut renaming = self.rename(function, &call);
        for info in &function.value_info {
            if let Some(fact) = Fact::declared(info) {
                self.scope.facts.insert(renaming.apply(info.name()), fact);
            }
        }
        for node in &function.node {
            let mut node = node.clone();
            node.name = Some(self.node_name(node.label()));
            substitute(&mut node, &attributes);
            node.input.iter_mut().chain(&mut node.output).for_each(|name| renaming.rename(name));
            self.rename_bodies(&mut node.attribute, &mut renaming);
            self.visit(node, version)?;
        }
        self.inlined -= 1;
        self.calls.pop();
        Ok(())
    }

    /// What the names of a function stand for in this call.
    fn rename(&mut self, function: &FunctionProto, call: &NodeProto) -> Renaming {
        let inputs: HashSet<&str> = function.input.iter().map(String::as_str).collect();
        let mut renaming = Renaming::default();
        for (i, formal) in function.input.iter().enumerate() {
            renaming.insert(formal, call.input(i).unwrap_or_default().into());
        }
        for (i, formal) in function.output.iter().enumerate() {
            let Some(actual) = call.output(i) else { continue };
            if inputs.contains(formal.as_str()) {
                let input = renaming.apply(formal);
                let copy = self.node("Identity", &[&input], &[actual], vec![], formal);
                self.push(copy);
            } else {
                renaming.insert(formal, actual.into());
            }
        }
        let returned: HashSet<&str> = function
            .output
            .iter()
            .enumerate()
            .filter(|(i, _)| call.output(*i).is_some())
            .map(|(_, o)| o.as_str())
            .collect();
        for name in function.node.iter().flat_map(|n| &n.output) {
            if !name.is_empty() && !returned.contains(name.as_str()) {
                renaming.insert(name, Value::from(self.value(name).as_str()));
            }
        }
        renaming
    }
}

/// The attributes that a call gives a function, or the function itself by default.
fn arguments(function: &FunctionProto, call: &NodeProto) -> HashMap<String, AttributeProto> {
    let given = function.attribute_proto.iter().chain(&call.attribute);
    given.map(|a| (a.name().to_owned(), a.clone())).collect()
}

/// Replaces references to attributes of the function, in bodies too. One that the call does not give is left out.
fn substitute(node: &mut NodeProto, arguments: &HashMap<String, AttributeProto>) {
    node.attribute.retain_mut(|attribute| {
        if attribute.ref_attr_name().is_empty() {
            let inner = attribute.subgraphs_mut().flat_map(|body| &mut body.node);
            inner.for_each(|node| substitute(node, arguments));
            return true;
        }
        let Some(argument) = arguments.get(attribute.ref_attr_name()) else { return false };
        *attribute = AttributeProto { name: attribute.name.take(), ..argument.clone() };
        true
    });
}
