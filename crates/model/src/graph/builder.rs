//! Appending nodes.

use super::{Graph, Value};
use crate::onnx::DataType;
use crate::onnx::proto::{AttributeProto, NodeProto, StringStringEntryProto, TensorProto};
use gnp_base::Result;

/// The key of a node's metadata under which an added node says what it is for.
pub const PASS_KEY: &str = "gnp.pass";

/// The key of a node's metadata under which a node that stands for one of the first pass names it.
pub const SOURCE_KEY: &str = "gnp.source";

/// Writes entries into the metadata of a node.
pub(super) fn tag(node: &mut NodeProto, entries: &[(&str, &str)]) {
    node.metadata_props.reserve_exact(entries.len());
    node.metadata_props.extend(
        entries.iter().map(|&(key, value)| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) }),
    );
}

/// Lets a node that was added count as one of the model's own.
pub(super) fn untag(node: &mut NodeProto) {
    node.metadata_props.retain(|entry| ![PASS_KEY, SOURCE_KEY].contains(&entry.key()));
}

/// Appends nodes to a graph, all for one pass: they are named `gnp/<pass>/<name>` and say so in their metadata.
#[derive(Debug)]
pub struct Builder<'g> {
    graph: &'g mut Graph,
    pass: &'static str,
}

impl<'g> Builder<'g> {
    /// A builder of nodes for `pass`.
    pub fn new(graph: &'g mut Graph, pass: &'static str) -> Self {
        Self { graph, pass }
    }

    /// The graph that is appended to.
    pub fn graph(&self) -> &Graph {
        self.graph
    }

    /// A standard operator with one output and no attributes.
    pub fn op(&mut self, operator: &str, inputs: &[&Value], name: &str) -> Value {
        self.op_with(operator, inputs, vec![], name)
    }

    /// A standard operator with one output.
    pub fn op_with(&mut self, operator: &str, inputs: &[&Value], attributes: Vec<AttributeProto>, name: &str) -> Value {
        self.op_in("", operator, inputs, attributes, name)
    }

    /// An operator of any domain with one output. An empty input is one left out.
    pub fn op_in(
        &mut self,
        domain: &str,
        operator: &str,
        inputs: &[&Value],
        attributes: Vec<AttributeProto>,
        name: &str,
    ) -> Value {
        let output = self.graph.names.value(self.pass, name);
        let value = Value::from(output.as_str());
        self.push(domain, operator, inputs, attributes, name, vec![output]);
        value
    }

    /// A standard operator with `count` outputs.
    pub fn op_many(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: Vec<AttributeProto>,
        count: usize,
        name: &str,
    ) -> Vec<Value> {
        let outputs: Vec<_> = (0..count).map(|_| self.graph.names.value(self.pass, name)).collect();
        let values = outputs.iter().map(|o| o.as_str().into()).collect();
        self.push("", operator, inputs, attributes, name, outputs);
        values
    }

    /// Gives `value` a second, given name, for an output of the graph.
    ///
    /// # Errors
    /// Where a value of this name is there already.
    pub fn alias(&mut self, value: &Value, name: &str) -> Result<()> {
        self.graph.take_name(name)?;
        self.identity(value, name);
        Ok(())
    }

    pub(super) fn identity(&mut self, value: &Value, name: &str) {
        self.push("", "Identity", &[value], vec![], name, vec![name.to_owned()]);
    }

    fn push(
        &mut self,
        domain: &str,
        operator: &str,
        inputs: &[&Value],
        attribute: Vec<AttributeProto>,
        name: &str,
        output: Vec<String>,
    ) {
        let mut node = NodeProto {
            name: Some(self.graph.names.node(self.pass, name)),
            op_type: Some(operator.into()),
            domain: (!domain.is_empty()).then(|| domain.into()),
            input: inputs.iter().map(|value| String::from(&***value)).collect(),
            output,
            attribute,
            ..Default::default()
        };
        tag(&mut node, &[(PASS_KEY, self.pass)]);
        self.graph.proto.node.push(node);
    }

    /// A constant, as an initializer; its name is replaced by a fresh one.
    pub fn constant(&mut self, mut tensor: TensorProto, name: &str) -> Value {
        let name = self.graph.names.value(self.pass, name);
        let constant = Value::from(name.as_str());
        tensor.name = Some(name);
        self.graph.proto.initializer.push(tensor);
        constant
    }

    /// A float constant of rank 0, as an initializer.
    pub fn scalar(&mut self, value: f32, name: &str) -> Value {
        let payload = value.to_le_bytes().to_vec().into();
        self.constant(TensorProto::raw("", DataType::Float, &[], payload), name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{body, node};

    #[test]
    fn added_nodes_are_named_and_tagged() {
        let mut graph = Graph::new(body(&["x"], &[node("Neg", &["x"], &["y"])], &["y"])).unwrap();
        let mut b = Builder::new(&mut graph, "mix");
        let half = b.scalar(0.5, "half");
        let product = b.op("Mul", &[&"y".into(), &half], "product");
        assert_eq!(&*product, "gnp/mix/product");
        let added = graph.added_nodes().next().unwrap();
        assert_eq!(added.name(), "gnp/mix/product");
        assert_eq!(added.metadata_props[0].value(), "mix");
    }

    #[test]
    fn what_nothing_uses_is_removed() {
        let mut graph = Graph::new(body(&["x"], &[node("Neg", &["x"], &["y"])], &["y"])).unwrap();
        let mut b = Builder::new(&mut graph, "mix");
        let (one, two) = (b.scalar(1.0, "one"), b.scalar(2.0, "two"));
        let used = b.op("Mul", &[&"y".into(), &one], "used");
        let unused = b.op("Mul", &[&used, &two], "unused");
        b.op("Neg", &[&unused], "unused too");
        graph.insert_output(1, crate::graph::scalar_info(&used, DataType::Float));
        graph.remove_unused();
        assert_eq!(graph.added_nodes().count(), 1);
        assert_eq!(graph.proto().initializer.len(), 1);
    }
}
