//! Loops: Scan over the slices of tensors, and Loop.

use super::Builder;
use crate::graph::{Dim, Fact, Graph, Value, for_each_use};
use crate::onnx::DataType;
use crate::onnx::proto::{AttributeProto, GraphProto};
use foldhash::HashSet;
use gnp_base::Result;

/// How a `Scan` goes along a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Along {
    /// The axis, from the front.
    pub axis: i64,
    /// Whether from its end to its beginning.
    pub reverse: bool,
}

/// What one iteration of a `Scan` makes.
#[derive(Debug)]
pub struct Iteration {
    /// The states after it.
    pub states: Vec<Value>,
    /// What is put beside that of the other iterations, along a new axis.
    pub returned: Vec<(Value, Along)>,
}

impl Builder<'_> {
    /// A `Scan` that begins with `states` and takes a slice of each of `scanned` in every iteration. Returns the states
    /// after the last iteration, then what the iterations return.
    ///
    /// `edit` appends what one iteration computes to the body: a graph of its own, which may read all that this graph
    /// defines. It is given the states and the slices. Slices that it does not read are not taken.
    ///
    /// # Errors
    /// Those of `edit`.
    pub fn scan(
        &self,
        states: &[Value],
        scanned: &[(Value, Along)],
        edit: impl FnOnce(&mut Graph, &'static str, &[Value], &[Value]) -> Result<Iteration>,
    ) -> Result<Vec<Value>> {
        let state = |state: &Value| self.fact(state).info(&self.fresh_name("state"));
        let slice =
            |(value, along): &(Value, Along)| slice(&self.fact(value), along.axis).info(&self.fresh_name("slice"));
        let input = states.iter().map(state).chain(scanned.iter().map(slice)).collect();
        self.scan_over(&GraphProto { name: Some("body".into()), input, ..Default::default() }, states, scanned, edit)
    }

    /// The same; the body begins as a copy of `body`, whose inputs are the states and the slices.
    ///
    /// # Errors
    /// Those of `edit`.
    pub fn scan_over(
        &self,
        body: &GraphProto,
        states: &[Value],
        scanned: &[(Value, Along)],
        edit: impl FnOnce(&mut Graph, &'static str, &[Value], &[Value]) -> Result<Iteration>,
    ) -> Result<Vec<Value>> {
        let mut along = Vec::new();
        let mut body = self.edit_copy_of_body(body, |copy, pass| {
            let inputs = inputs(copy);
            let (states, slices) = inputs.split_at(states.len());
            let made = edit(copy, pass, states, slices)?;
            along = made.returned.iter().map(|(_, along)| *along).collect();
            let outputs = made.states.into_iter().chain(made.returned.into_iter().map(|(value, _)| value));
            let outputs = own(&outputs.collect::<Vec<_>>(), copy, pass);
            // ONNX Runtime wants to know the ranks of what an iteration returns; a state keeps its shape.
            for (next, state) in outputs.iter().zip(states) {
                if copy.facts().of(next).shape.is_none() {
                    let fact = copy.facts().of(state);
                    copy.declare(next, fact);
                }
            }
            Ok(outputs)
        })?;
        let taken = used_inputs(&body, states.len());
        let mut index = 0..;
        body.input.retain(|_| index.next().is_some_and(|i| i < states.len() || taken[i - states.len()]));
        let scanned: Vec<_> =
            scanned.iter().zip(taken).filter(|(_, taken)| *taken).map(|(scanned, _)| scanned).collect();
        let length = scanned.first().and_then(|(value, along)| self.fact(value).dim(along.axis).cloned());
        let outputs = body.output.iter().enumerate().map(|(i, output)| {
            let fact = self.fact(&output.name().into());
            match i.checked_sub(states.len()) {
                None => fact,
                Some(i) => joined(&fact, along[i].axis, length.as_ref()).into(),
            }
        });
        let outputs = outputs.collect();
        let inputs: Vec<&Value> = states.iter().chain(scanned.iter().map(|(value, _)| value)).collect();
        let mut attributes = vec![AttributeProto::int("num_scan_inputs", scanned.len() as i64)];
        let in_along: Vec<Along> = scanned.iter().map(|(_, along)| *along).collect();
        for (kind, along) in [("input", &in_along), ("output", &along)] {
            let axes: Vec<i64> = along.iter().map(|along| along.axis).collect();
            let directions: Vec<i64> = along.iter().map(|along| along.reverse.into()).collect();
            for (what, numbers) in [("axes", axes), ("directions", directions)] {
                if numbers.iter().any(|number| *number != 0) {
                    attributes.push(AttributeProto::ints(&format!("scan_{kind}_{what}"), &numbers));
                }
            }
        }
        attributes.push(AttributeProto::graph("body", body));
        Ok(self.nodes("Scan", &inputs, attributes, outputs))
    }
}

impl Builder<'_> {
    /// The same over the first axis of `scanned`, of which there is at least one, from its end to its beginning, and
    /// without results but the states: a `Loop`, which may have no iterations. (A `Scan` over nothing fails in ONNX
    /// Runtime.)
    ///
    /// # Errors
    /// Those of `edit`.
    pub fn loop_back_over(
        &self,
        body: &GraphProto,
        states: &[Value],
        scanned: &[Value],
        edit: impl FnOnce(&mut Graph, &'static str, &[Value], &[Value]) -> Result<Vec<Value>>,
    ) -> Result<Vec<Value>> {
        let Some(first) = scanned.first() else { return Ok(vec![]) };
        let count = self.reshape(self.size_of(first, 0), &[]);
        let last = self.sub(&count, self.int64(1));
        let scalar = |name: &str, element| Fact::with_sizes(element, &[]).info(&self.fresh_name(name));
        let own_inputs = [scalar("iteration", DataType::Int64), scalar("go", DataType::Bool)];
        let [iteration, go] = own_inputs.each_ref().map(|info| Value::from(info.name()));
        let mut body = self.edit_copy_of_body(body, |copy, pass| {
            copy.declare(&iteration, Fact::with_sizes(DataType::Int64, &[]));
            copy.declare(&go, Fact::with_sizes(DataType::Bool, &[]));
            let inputs = inputs(copy);
            let (states, slices) = inputs.split_at(states.len());
            let next = edit(copy, pass, states, slices)?;
            let begin = copy.nodes().len();
            let b = Builder::new(copy, pass);
            let at = b.sub(&last, &iteration);
            for (slice, tensor) in slices.iter().zip(scanned) {
                b.define(slice, b.gather(tensor, &at, 0));
            }
            drop(b);
            // The slices come before what is computed of them.
            let nodes = &mut copy.proto.node;
            let made = nodes.len() - begin;
            nodes.rotate_right(made);
            Ok(own(&[&[go], &next[..]].concat(), copy, pass))
        })?;
        body.input.truncate(states.len());
        body.input.splice(..0, own_inputs);
        let none = Value::from("");
        let inputs: Vec<&Value> = [&count, &none].into_iter().chain(states).collect();
        let facts = states.iter().map(|state| self.fact(state)).collect();
        Ok(self.nodes("Loop", &inputs, vec![AttributeProto::graph("body", body)], facts))
    }
}

fn inputs(body: &Graph) -> Vec<Value> {
    body.proto().input.iter().map(|input| input.name().into()).collect()
}

/// The values under names that the body makes itself, each of another node.
fn own(values: &[Value], body: &mut Graph, pass: &'static str) -> Vec<Value> {
    let made: HashSet<String> = body.nodes().iter().flat_map(|node| node.output.iter().cloned()).collect();
    let b = Builder::new(body, pass);
    let mut seen = HashSet::default();
    let one = |value: &Value| match made.contains(&**value) && seen.insert(value.clone()) {
        true => value.clone(),
        false => b.unary("Identity", value),
    };
    values.iter().map(one).collect()
}

/// Which inputs behind the first `states` the body reads.
fn used_inputs(body: &GraphProto, states: usize) -> Vec<bool> {
    let mut used = HashSet::default();
    body.node.iter().for_each(|node| for_each_use(node, &mut |name| _ = used.insert(name)));
    body.input.iter().skip(states).map(|input| used.contains(input.name())).collect()
}

/// A tensor without one of its axes.
fn slice(fact: &Fact, axis: i64) -> Fact {
    let without = |shape: &Vec<Dim>| {
        let dims = shape.iter().enumerate().filter(|(i, _)| *i as i64 != axis);
        dims.map(|(_, dim)| dim.clone()).collect()
    };
    Fact { element: fact.element, shape: fact.shape.as_ref().map(without) }
}

/// A tensor with one more axis.
fn joined(fact: &Fact, axis: i64, length: Option<&Dim>) -> Fact {
    let mut fact = fact.clone();
    if let Some(shape) = fact.shape.as_mut().filter(|shape| axis as usize <= shape.len()) {
        shape.insert(axis as usize, length.cloned().unwrap_or(Dim::Unknown));
    }
    fact
}
