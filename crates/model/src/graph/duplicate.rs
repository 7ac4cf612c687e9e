//! Cloning nodes with other names.

use super::mark::{PASS_KEY, SOURCE_KEY, tag};
use super::{Graph, Names, Value};
use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto};
use foldhash::HashMap;

/// What a name of the original stands for in the copy. Names without an entry are shared by both.
#[derive(Clone, Debug, Default)]
pub struct Renaming(HashMap<String, Value>);

impl Renaming {
    /// A renaming of the first of each pair into the second.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        Self(pairs.into_iter().map(|(from, to)| (from.to_owned(), to)).collect())
    }

    /// What `name` stands for in the copy.
    pub fn apply(&self, name: &str) -> Value {
        self.0.get(name).cloned().unwrap_or_else(|| name.into())
    }

    /// Lets `from` stand for `to` in what is copied from now on.
    pub fn insert(&mut self, from: &str, to: Value) {
        self.0.insert(from.to_owned(), to);
    }

    fn renamed(&self, name: &str) -> String {
        self.0.get(name).map_or(name, |to| to).to_owned()
    }

    /// Puts in place of `name` what it stands for in the copy.
    pub(crate) fn rename(&self, name: &mut String) {
        if let Some(to) = self.0.get(name) {
            (**to).clone_into(name);
        }
    }
}

impl Graph {
    /// Appends a copy of the node at `index` that reads what `renaming` says, under fresh names in `pass`; the renaming
    /// learns the names of its outputs. Bodies are copied with the names that they define and capture renamed.
    ///
    /// The copy has the types and shapes of the original, and so have the values inside its bodies.
    pub fn duplicate(&mut self, index: usize, renaming: &mut Renaming, pass: &'static str) {
        self.duplicate_reading(index, &[], renaming, pass);
    }

    /// The same; at the positions in `instead` the copy reads other inputs.
    pub fn duplicate_reading(
        &mut self,
        index: usize,
        instead: &[(usize, Value)],
        renaming: &mut Renaming,
        pass: &'static str,
    ) {
        let original = &self.proto.node[index];
        let source = original.label().to_owned();
        let mut metadata_props = Vec::with_capacity(original.metadata_props.len() + 2);
        metadata_props.extend_from_slice(&original.metadata_props);
        let mut node = NodeProto {
            name: Some(self.names.node(pass, &source)),
            input: original.input.iter().map(|name| renaming.renamed(name)).collect(),
            output: original.output.clone(),
            op_type: original.op_type.clone(),
            domain: original.domain.clone(),
            overload: original.overload.clone(),
            attribute: original.attribute.clone(),
            doc_string: original.doc_string.clone(),
            device_configurations: original.device_configurations.clone(),
            metadata_props,
        };
        for (position, value) in instead {
            (**value).clone_into(&mut node.input[*position]);
        }
        self.names.rename_bodies(&mut node.attribute, renaming, pass);
        let bodies = original.subgraphs().zip(node.subgraphs());
        bodies.for_each(|(body, copy)| self.facts.learn_copy(body, copy));
        for output in node.output.iter_mut().filter(|o| !o.is_empty()) {
            let fresh = self.names.value(pass, output);
            self.facts.equate_fact(output, &fresh);
            renaming.insert(output, fresh.as_str().into());
            *output = fresh;
        }
        tag(&mut node, &[(PASS_KEY, pass), (SOURCE_KEY, &source)]);
        self.proto.node.push(node);
    }

    /// Declares for every renamed value the type that the original has.
    pub fn copy_types(&mut self, renaming: &Renaming) {
        let declared = self.proto.value_info.iter().chain(&self.proto.output);
        let copies: Vec<_> = declared
            .filter_map(|info| {
                let name = renaming.0.get(info.name())?;
                let mut copy = info.clone();
                copy.name = Some(name.to_string());
                Some(copy)
            })
            .collect();
        self.proto.value_info.extend(copies);
    }
}

impl Names {
    /// Renames what the bodies among `attributes` read, and gives what they define fresh names.
    pub(crate) fn rename_bodies(&mut self, attributes: &mut [AttributeProto], renaming: &mut Renaming, pass: &str) {
        for body in attributes.iter_mut().flat_map(AttributeProto::subgraphs_mut) {
            self.rename_body(body, renaming, pass);
        }
    }

    /// Renames what a body reads, and gives what it defines fresh names.
    pub(super) fn rename_body(&mut self, body: &mut GraphProto, renaming: &mut Renaming, pass: &str) {
        // A name that the body defines means something else outside of it, so what it stood for comes back at the end.
        let mut outside = Vec::new();
        let mut define = |name: &mut String| {
            let fresh = self.value(pass, name);
            let old = std::mem::replace(name, fresh);
            let before = renaming.0.insert(old.clone(), name.as_str().into());
            outside.push((old, before));
        };
        body.input.iter_mut().filter_map(|i| i.name.as_mut()).for_each(&mut define);
        body.initializer.iter_mut().filter_map(|t| t.name.as_mut()).for_each(&mut define);
        let sparse = body.sparse_initializer.iter_mut().filter_map(|s| s.values.as_mut());
        sparse.filter_map(|t| t.name.as_mut()).for_each(&mut define);
        body.node.iter_mut().flat_map(|n| &mut n.output).filter(|o| !o.is_empty()).for_each(&mut define);

        let typed = body.output.iter_mut().chain(&mut body.value_info);
        typed.filter_map(|o| o.name.as_mut()).for_each(|name| renaming.rename(name));
        for node in &mut body.node {
            node.input.iter_mut().for_each(|name| renaming.rename(name));
            self.rename_bodies(&mut node.attribute, renaming, pass);
        }
        for (name, before) in outside.into_iter().rev() {
            match before {
                Some(value) => renaming.0.insert(name, value),
                None => renaming.0.remove(&name),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Fact;
    use crate::onnx::DataType;
    use crate::testing::{body, node};

    #[test]
    fn copies_read_the_renamed_and_share_the_rest() {
        let branch = body(&["i"], &[node("Add", &["b", "i"], &["t"]), node("Mul", &["t", "x"], &["z"])], &["z"]);
        let nodes = [node("Mul", &["x", "w"], &["b"]), node("Loop", &["x", ""], &["c_grad"]).with(branch)];
        let mut graph = Graph::new(body(&["x", "w"], &nodes, &["c_grad"])).unwrap();
        graph.declare("b", Fact::with_sizes(DataType::Double, &[3]));
        let mut renaming = Renaming::new([("w", Value::from("gnp/w"))]);
        for i in 0..2 {
            graph.duplicate(i, &mut renaming, "perturbed");
        }
        assert_eq!(&*renaming.apply("c_grad"), "gnp/perturbed/c.grad");
        assert_eq!(graph.facts().get("gnp/perturbed/b"), graph.facts().get("b"));
        assert!(graph.facts().get("b").is_some());
        let [_, original, mul, repeat] = graph.nodes() else { panic!() };
        assert_eq!(mul.input, ["x", "gnp/w"]);
        assert_eq!(repeat.input, ["x", ""]);
        let copy = repeat.attribute[0].g.as_ref().unwrap();
        assert_eq!(copy.input[0].name(), "gnp/perturbed/i");
        assert_eq!(copy.node[0].input, ["gnp/perturbed/b", "gnp/perturbed/i"]);
        assert_eq!(copy.node[1].input, ["gnp/perturbed/t", "x"]);
        assert_eq!(copy.output[0].name(), "gnp/perturbed/z");
        assert_eq!(original.attribute[0].g.as_ref().unwrap().node[0].input, ["b", "i"]);
    }
}
