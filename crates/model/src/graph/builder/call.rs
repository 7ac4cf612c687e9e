//! Calls of functions, and their bodies.

use super::Builder;
use crate::graph::{Fact, Graph, Names, Value};
use crate::onnx::DataType;
use crate::onnx::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto};
use gnp_base::contract::functions::DOMAIN;
use std::sync::Arc;

/// What a function is called.
#[derive(Clone, Debug)]
pub struct Signature<'s> {
    /// The kind of the function, in the domain `gnp`.
    pub kind: &'static str,
    /// What the inputs are called in its body, one a value of the call.
    pub inputs: &'s [&'s str],
    /// What the outputs are called in its body.
    pub outputs: &'s [&'s str],
    /// What a call says to a kernel that runs in place of the body. The body itself does not read it.
    pub attributes: Vec<AttributeProto>,
}

impl Builder<'_> {
    /// What `body` makes of `inputs`, as a call of a function where the graph makes functions
    /// ([`Graph::make_functions`]) and all inputs are float32; as the nodes of the body otherwise. `fact` is known of
    /// the result.
    ///
    /// `body` appends nodes to the builder that it is given, and reads no values but those that it is given: the
    /// inputs. Its chains of elementwise operators are calls too.
    pub fn call(
        &self,
        signature: Signature<'_>,
        inputs: &[&Value],
        fact: impl Into<Arc<Fact>>,
        body: impl Fn(&Builder<'_>, &[Value]) -> Value,
    ) -> Value {
        let [output] = self.calls(signature, inputs, [fact.into()], |g, values| [body(g, values)]);
        output
    }

    /// The same for a function of several outputs.
    pub fn calls<const N: usize>(
        &self,
        signature: Signature<'_>,
        inputs: &[&Value],
        facts: [Arc<Fact>; N],
        body: impl Fn(&Builder<'_>, &[Value]) -> [Value; N],
    ) -> [Value; N] {
        let name = self.function(&signature, inputs, &body);
        let Some(name) = name else {
            return body(self, &inputs.iter().map(|&value| value.clone()).collect::<Vec<_>>());
        };
        self.append_all(&self.name(signature.kind), (DOMAIN, &name), inputs, signature.attributes, facts)
    }

    /// The name of the function with this body, if there can be one.
    fn function<const N: usize>(
        &self,
        signature: &Signature<'_>,
        inputs: &[&Value],
        body: &impl Fn(&Builder<'_>, &[Value]) -> [Value; N],
    ) -> Option<String> {
        self.graph().functions.as_ref()?;
        let facts: Vec<Arc<Fact>> = inputs.iter().map(|value| self.fact(value)).collect();
        if facts.iter().any(|fact| fact.element != DataType::Float) {
            return None;
        }
        let input = facts.iter().zip(signature.inputs).map(|(fact, name)| fact.info(name)).collect();
        let mut inner = Graph {
            proto: GraphProto { input, ..Default::default() },
            facts: Default::default(),
            names: Names::default(),
            limits: self.graph().limits,
            functions: None,
        };
        for (name, fact) in signature.inputs.iter().zip(facts) {
            inner.facts.insert((*name).into(), fact);
        }
        let formal: Vec<Value> = signature.inputs.iter().map(|&name| name.into()).collect();
        let results = body(&Builder::new(&mut inner, BODY), &formal);
        let is_taken = |place: usize| formal.contains(&results[place]) || results[..place].contains(&results[place]);
        if (0..N).any(is_taken) {
            return None;
        }
        inner.proto.output = results.iter().map(|result| inner.facts.of(result).info(result)).collect();
        inner.retain_needed();
        let mut graph = self.graph.borrow_mut();
        inner.functions = graph.functions.take();
        inner.fuse_elementwise();
        inner.retain_needed();
        graph.functions = inner.functions.take();
        let function = as_function(inner.proto, signature, &results);
        graph.functions.as_mut()?.name_of(signature.kind, function)
    }
}

/// The pass that the names in a body begin with, until they are those of a function.
const BODY: &str = "body";

/// A function that computes what `graph` does. Its names need be no others than those of this one function, so they are
/// short.
pub(in crate::graph) fn as_function(graph: GraphProto, signature: &Signature<'_>, results: &[Value]) -> FunctionProto {
    let output = |name: &str| results.iter().position(|result| **result == *name).map(|place| signature.outputs[place]);
    let constants = graph.initializer.into_iter().map(constant);
    let mut node: Vec<NodeProto> = constants.chain(graph.node).collect();
    for node in &mut node {
        node.metadata_props.clear();
        node.name = node.name.take().map(|name| short(&name).to_owned());
        for name in node.input.iter_mut().chain(&mut node.output) {
            *name = output(name).unwrap_or_else(|| short(name)).to_owned();
        }
    }
    FunctionProto {
        input: signature.inputs.iter().map(|&name| name.to_owned()).collect(),
        output: signature.outputs.iter().map(|&name| name.to_owned()).collect(),
        attribute: signature.attributes.iter().map(|attribute| attribute.name().to_owned()).collect(),
        node,
        ..Default::default()
    }
}

fn constant(mut tensor: TensorProto) -> NodeProto {
    let name = tensor.name.take().unwrap_or_default();
    NodeProto {
        name: Some(name.clone()),
        op_type: Some("Constant".into()),
        output: vec![name],
        attribute: vec![AttributeProto::tensor("value", tensor)],
        ..Default::default()
    }
}

/// A name without what says that it is ours: nothing else is in the body of a function.
fn short(name: &str) -> &str {
    name.strip_prefix("gnp/body/").unwrap_or(name)
}
