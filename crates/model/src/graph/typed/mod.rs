//! Appending nodes whose types and shapes are known as they are appended.
//!
//! A [`TypedBuilder`] has a method for each operator that gradients, losses and updates are made of. Each gives its
//! result a [`Fact`], so that what is built on it can be lean: an axis that surely needs no sum gets none. Where a
//! shape is not known, nodes that ask for it at run time are appended in its place.

mod body;
mod constant;
mod elementwise;
mod layout;
mod product;
mod reduce;
mod shape;

use super::{Builder, Fact, Facts, Graph, Value};
use crate::onnx::DataType;
use crate::onnx::proto::{AttributeProto, NodeProto};
use foldhash::HashMap;

/// Appends typed nodes to a graph, all for one pass, under names that begin with a scope.
///
/// ```
/// use gnp_model::graph::{scalar_info, Facts, Graph, TypedBuilder};
/// use gnp_model::onnx::DataType;
/// use gnp_model::onnx::proto::GraphProto;
/// let input = vec![scalar_info("x", DataType::Float)];
/// let mut graph = Graph::new(GraphProto { input, ..Default::default() })?;
/// let mut facts = Facts::declared(graph.proto());
/// let mut b = TypedBuilder::new(&mut graph, &mut facts, "gradient");
/// let x = "x".into();
/// let square = b.mul(&x, &x);
/// assert_eq!(b.fact(&square).sizes(), Some(vec![]));
/// # Ok::<(), gnp_base::Error>(())
/// ```
#[derive(Debug)]
pub struct TypedBuilder<'g> {
    graph: &'g mut Graph,
    facts: &'g mut Facts,
    pass: &'static str,
    scope: String,
    numbers: HashMap<(i32, u64), Value>,
    vectors: HashMap<(bool, Vec<i64>), Value>,
}

/// Of a value that nobody declared: a float tensor.
static UNKNOWN: Fact = Fact { element: DataType::Float, shape: None };

impl<'g> TypedBuilder<'g> {
    /// A builder of nodes for `pass` over what is known so far; it adds what it learns.
    pub fn new(graph: &'g mut Graph, facts: &'g mut Facts, pass: &'static str) -> Self {
        let (numbers, vectors) = Default::default();
        Self { graph, facts, pass, scope: String::new(), numbers, vectors }
    }

    /// Lets the names of what follows begin with `scope`: the node that a gradient is of, say.
    pub fn set_scope(&mut self, scope: &str) {
        scope.clone_into(&mut self.scope);
    }

    /// The graph that is appended to.
    pub fn graph(&self) -> &Graph {
        self.graph
    }

    /// What is known of the graph.
    pub fn facts(&self) -> &Facts {
        self.facts
    }

    /// The graph and what is known of it, for what is done to both as a whole.
    pub fn parts_mut(&mut self) -> (&mut Graph, &mut Facts) {
        (self.graph, self.facts)
    }

    /// The graph that is appended to, for what is done to it as a whole.
    pub fn graph_mut(&mut self) -> &mut Graph {
        self.graph
    }

    /// What is known of `value`; of an undeclared one, that it is a float tensor.
    pub fn fact(&self, value: &Value) -> &Fact {
        self.facts.get(value).unwrap_or(&UNKNOWN)
    }

    /// The elements of `value`, where it is a small constant of whole numbers.
    pub fn ints(&self, value: &Value) -> Option<&[i64]> {
        self.facts.ints(value)
    }

    /// The elements of `value`, where it is a small constant of floating-point numbers.
    pub fn floats(&self, value: &Value) -> Option<&[f64]> {
        self.facts.floats(value)
    }

    /// Tells what is known of a value that is not made here: an input that is to be declared, say.
    pub fn declare(&mut self, value: &str, fact: Fact) {
        self.facts.insert(value.into(), fact);
    }

    /// The number that `value` is, where it is a constant with one element.
    pub fn known_number(&self, value: &Value) -> Option<f64> {
        self.facts.number(value)
    }

    /// A standard operator with one output of which `fact` is known. The methods below are the same for one operator
    /// each, and find the fact themselves.
    pub fn node(&mut self, operator: &str, inputs: &[&Value], attributes: Vec<AttributeProto>, fact: Fact) -> Value {
        let name = self.name(operator);
        let value = Builder::new(self.graph, self.pass).op_with(operator, inputs, attributes, &name);
        self.facts.insert(value.clone(), fact);
        value
    }

    /// The same in another domain.
    pub fn node_in(
        &mut self,
        domain: &str,
        operator: &str,
        inputs: &[&Value],
        attributes: Vec<AttributeProto>,
        fact: Fact,
    ) -> Value {
        let name = self.name(operator);
        let value = Builder::new(self.graph, self.pass).op_in(domain, operator, inputs, attributes, &name);
        self.facts.insert(value.clone(), fact);
        value
    }

    /// Puts a node back ([`Graph::put`]).
    pub fn put(&mut self, node: NodeProto) {
        self.graph.put(node);
    }

    /// Lets `value` have `name` ([`Graph::define`]), and returns it under that name. What is known of the name stays
    /// known.
    pub fn define(&mut self, name: &str, value: &Value) -> Value {
        if self.facts.get(name).is_none_or(|fact| fact.shape.is_none()) {
            let fact = self.fact(value).clone();
            self.facts.insert(name.into(), fact);
        }
        self.graph.define(name, value);
        name.into()
    }

    /// A standard operator with an output for each of `facts`.
    pub fn nodes(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: Vec<AttributeProto>,
        facts: Vec<Fact>,
    ) -> Vec<Value> {
        let name = self.name(operator);
        let values = Builder::new(self.graph, self.pass).op_many(operator, inputs, attributes, facts.len(), &name);
        for (value, fact) in values.iter().zip(facts) {
            self.facts.insert(value.clone(), fact);
        }
        values
    }

    fn name(&self, operator: &str) -> String {
        if self.scope.is_empty() { operator.to_owned() } else { format!("{}/{operator}", self.scope) }
    }
}
