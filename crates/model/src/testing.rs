//! Graphs in a line each, for tests.

use crate::onnx::Model;
use crate::onnx::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto};

/// A node under construction; graphs in tests are written as lists of these.
#[derive(Clone)]
pub struct TestNode(NodeProto);

impl TestNode {
    /// The same with a body.
    pub fn with(mut self, body: GraphProto) -> Self {
        self.0.attribute.push(AttributeProto { name: Some("body".into()), g: Some(body.into()), ..Default::default() });
        self
    }

    /// The same under another name.
    pub fn named(mut self, name: &str) -> Self {
        self.0.name = Some(name.into());
        self
    }
}

impl From<TestNode> for NodeProto {
    fn from(node: TestNode) -> Self {
        node.0
    }
}

impl From<NodeProto> for TestNode {
    fn from(node: NodeProto) -> Self {
        Self(node)
    }
}

/// A standard node named after its outputs.
pub fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> TestNode {
    let names = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    TestNode(NodeProto {
        op_type: Some(op.into()),
        name: Some(outputs.join("+")),
        input: names(inputs),
        output: names(outputs),
        ..Default::default()
    })
}

/// A model of `graph`, at operator set 18.
///
/// # Panics
/// Where it is none that could be read.
pub fn model(graph: GraphProto) -> Model {
    let opset_import = vec![OperatorSetIdProto { version: Some(18), ..Default::default() }];
    let proto = ModelProto { graph: Some(graph), opset_import, ir_version: Some(8), ..Default::default() };
    Model::new(proto, "m.onnx").expect("it can be read")
}

/// A graph or a body of `nodes`.
pub fn body(inputs: &[&str], nodes: &[TestNode], outputs: &[&str]) -> GraphProto {
    let values =
        |list: &[&str]| list.iter().map(|n| ValueInfoProto { name: Some((*n).into()), ..Default::default() }).collect();
    GraphProto {
        node: nodes.iter().cloned().map(Into::into).collect(),
        input: values(inputs),
        output: values(outputs),
        ..Default::default()
    }
}
