//! The function of a group, and its call.

use super::{MOST_OPERANDS, sum, term};
use crate::graph::builder::{Signature, as_function};
use crate::graph::{Graph, Value};
use crate::onnx::DataType;
use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};
use foldhash::{HashMap, HashSet};
use gnp_base::contract::functions::{DOMAIN, ELEMENTWISE, REDUCE};
use gnp_base::formula::{Formula, TermId};
use std::collections::hash_map::Entry;

impl Graph {
    /// The call that stands for `members`, nodes of a group in their order; none where they cannot be one.
    pub(super) fn call_of(&mut self, members: &[&NodeProto], fed: &HashSet<String>) -> Option<NodeProto> {
        let sink = members.last()?;
        let is_sum = |node: &&&NodeProto| sum::of(node, &self.facts).is_some();
        let chain = members.iter().position(|node| is_sum(&node)).unwrap_or(members.len());
        let (chain, sums) = members.split_at(chain);
        let whole = sum::of_all(sums, &self.facts);
        let mut body = Body::new(self, fed);
        let mut result = None;
        for node in chain {
            result = Some(body.join(node)?);
        }
        for node in sums {
            let of = body.sum(node)?;
            result = result.or(Some(of));
        }
        let result = if whole.as_ref().is_some_and(|whole| whole.squares) { body.squared(result?) } else { result? };
        let Body { formula, operands, constants, nodes, .. } = body;
        // What the kernel broadcasts to is the shape of the group.
        let shaped = match sums.first() {
            Some(first) => first.input(0)?,
            None => sink.output.first()?,
        };
        if operands.len() > MOST_OPERANDS || !self.broadcast_to(&operands, shaped) {
            return None;
        }
        let formula = formula.finish(result).to_string();
        let mut attributes = vec![AttributeProto::string("formula", &formula)];
        if let Some(whole) = &whole {
            attributes.push(AttributeProto::ints("axes", &whole.axes));
            attributes.push(AttributeProto::int("keepdims", whole.keeps.into()));
            attributes.push(AttributeProto::int("mean", whole.is_mean.into()));
        }
        let kind = if whole.is_some() { REDUCE } else { ELEMENTWISE };
        let inputs: Vec<String> = (0..operands.len()).map(|i| format!("x{i}")).collect();
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let signature = Signature { kind, inputs: &inputs, output: "y", attributes };
        let output = Value::from(nodes.last()?.output[0].as_str());
        let graph = GraphProto { node: nodes, initializer: constants, ..Default::default() };
        let function = as_function(graph, &signature, &output);
        let name = self.functions.as_mut()?.name_of(kind, function)?;
        Some(NodeProto {
            op_type: Some(name),
            domain: Some(DOMAIN.into()),
            input: operands,
            attribute: signature.attributes,
            ..(*sink).clone()
        })
    }
}

impl Graph {
    /// Whether `operands` surely broadcast to the shape of `value`.
    fn broadcast_to(&self, operands: &[String], value: &str) -> bool {
        let Some(shape) = self.facts.get(value).and_then(|fact| fact.shape.as_deref()) else { return false };
        let facts = || operands.iter().filter_map(|name| self.facts.get(name));
        (1..=shape.len()).all(|from_end| {
            let size = &shape[shape.len() - from_end];
            facts().any(|fact| fact.dim(-(from_end as i64)).is_some_and(|dim| dim.is(size)))
        })
    }
}

/// A group on the way to a function: its nodes under names that say nothing of the graph, and its formula.
struct Body<'g> {
    graph: &'g Graph,
    fed: &'g HashSet<String>,
    formula: gnp_base::formula::Builder,
    operands: Vec<String>,
    constants: Vec<TensorProto>,
    nodes: Vec<NodeProto>,
    /// The terms of values, and their names in the body.
    known: HashMap<String, (TermId, String)>,
}

impl<'g> Body<'g> {
    fn new(graph: &'g Graph, fed: &'g HashSet<String>) -> Self {
        let (operands, constants, nodes, known) = Default::default();
        Self { graph, fed, formula: Formula::builder(), operands, constants, nodes, known }
    }

    /// A value that a node reads: of the group, a constant number, or an operand.
    fn read(&mut self, name: &str) -> (TermId, String) {
        let entry = match self.known.entry(name.to_owned()) {
            Entry::Occupied(known) => return known.get().clone(),
            Entry::Vacant(entry) => entry,
        };
        let fact = self.graph.facts.get(name).filter(|fact| fact.element == DataType::Float);
        let number = self.graph.facts.number(name).filter(|_| fact.is_some() && !self.fed.contains(name));
        let read = if let Some(number) = number {
            let inner = format!("c{}", self.constants.len());
            let dims = fact.and_then(|fact| fact.sizes()).unwrap_or_default();
            let bytes = (number as f32).to_le_bytes().to_vec();
            self.constants.push(TensorProto::raw(&inner, DataType::Float, &dims, bytes.into()));
            (self.formula.constant(number as f32), inner)
        } else {
            let number = self.operands.len();
            self.operands.push(name.to_owned());
            (self.formula.operand(number), format!("x{number}"))
        };
        entry.insert(read).clone()
    }

    /// Adds a node; its term.
    fn join(&mut self, node: &NodeProto) -> Option<TermId> {
        if term::is_broadcast(node) {
            let read = self.read(node.input(0)?);
            self.known.insert(node.output[0].clone(), read.clone());
            return Some(read.0);
        }
        let read: Vec<_> = node.input.iter().map(|name| (!name.is_empty()).then(|| self.read(name))).collect();
        let terms: Vec<_> = read.iter().map(|read| read.as_ref().map(|(term, _)| *term)).collect();
        let term = term::of_node(node, &self.graph.facts, &terms, &mut self.formula)?;
        let input = read.into_iter().map(|read| read.map_or_else(String::new, |(_, name)| name)).collect();
        self.push(node, input, Some(term));
        Some(term)
    }

    /// Adds a sum; the term of what it is of, where that is no sum.
    fn sum(&mut self, node: &NodeProto) -> Option<TermId> {
        let (term, value) = self.read(node.input(0)?);
        let axes = sum::of(node, &self.graph.facts)?.axes;
        let name = format!("axes{}", self.nodes.len());
        self.constants.push(TensorProto::int64s(&name, &axes));
        self.push(node, vec![value, name], Some(term));
        Some(term)
    }

    fn squared(&mut self, term: TermId) -> TermId {
        self.formula.apply(gnp_base::formula::Operation::Mul, &[term, term])
    }

    fn push(&mut self, node: &NodeProto, input: Vec<String>, term: Option<TermId>) {
        let inner = format!("t{}", self.nodes.len());
        if let Some(term) = term {
            self.known.insert(node.output[0].clone(), (term, inner.clone()));
        }
        let name = Some(format!("{}_{}", node.op_type(), self.nodes.len()));
        self.nodes.push(NodeProto { name, input, output: vec![inner], ..node.clone() });
    }
}
