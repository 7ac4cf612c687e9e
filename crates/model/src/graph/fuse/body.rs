//! The function of a group, and its call.

use super::outline::{Constant, Outline, Outlining, Place};
use super::{MOST_OPERANDS, sum, term};
use crate::graph::builder::{Signature, as_function};
use crate::graph::{Graph, Value};
use crate::onnx::DataType;
use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};
use foldhash::{HashMap, HashSet};
use gnp_base::contract::functions::{DOMAIN, ELEMENTWISE, REDUCE};
use gnp_base::formula::{Formula, Operation, TermId};

/// The functions of groups, by their outlines; none where there can be none.
pub(super) type Functions = HashMap<Outline, Option<Function>>;

/// A function, and what a call of it says to a kernel.
#[derive(Clone, Debug)]
pub(super) struct Function {
    name: String,
    attributes: Vec<AttributeProto>,
}

/// A call of a function.
#[derive(Clone, Debug)]
pub(super) struct Call {
    function: Function,
    inputs: Vec<String>,
}

impl Call {
    /// Lets `node`, the sink of the group, be the call.
    pub fn stand_for(self, node: &mut NodeProto) {
        node.op_type = Some(self.function.name);
        node.domain = Some(DOMAIN.into());
        node.input = self.inputs;
        node.attribute = self.function.attributes;
    }
}

impl Graph {
    /// The call that stands for `members`, nodes of a group in their order; none where they cannot be one.
    pub(super) fn call_of(
        &mut self,
        members: &[&NodeProto],
        fed: &HashSet<&str>,
        functions: &mut Functions,
    ) -> Option<Call> {
        let sink = members.last()?;
        let is_sum = |node: &&NodeProto| sum::of(node, &self.facts).is_some();
        let (chain, sums) = members.split_at(members.iter().position(is_sum).unwrap_or(members.len()));
        let mut group = Outlining::new(&self.facts, fed);
        chain.iter().try_for_each(|node| group.join(node))?;
        sums.iter().try_for_each(|node| group.sum(node))?;
        let Outlining { outline, operands, nodes, .. } = group;
        // What the kernel broadcasts to is the shape of the group.
        let shaped = match sums.first() {
            Some(first) => first.input(0)?,
            None => sink.output.first()?,
        };
        if operands.len() > MOST_OPERANDS || !self.broadcast_to(&operands, shaped) {
            return None;
        }
        let function = match functions.get(&outline) {
            Some(known) => known.clone(),
            None => {
                let made = self.function_of(&outline, &nodes, sums, operands.len());
                functions.insert(outline, made.clone());
                made
            }
        };
        Some(Call { function: function?, inputs: operands.into_iter().map(str::to_owned).collect() })
    }

    /// The function of an outline, whose steps are `nodes`, of which the last are `sums`.
    fn function_of(
        &mut self,
        outline: &Outline,
        nodes: &[&NodeProto],
        sums: &[&NodeProto],
        operands: usize,
    ) -> Option<Function> {
        let whole = sum::of_all(sums, &self.facts);
        let body = Body::of(outline, nodes);
        let formula = self.formula_of(outline, nodes, whole.as_ref().is_some_and(|whole| whole.squares))?;
        let mut attributes = vec![AttributeProto::string("formula", &formula.to_string())];
        if let Some(whole) = &whole {
            attributes.push(AttributeProto::ints("axes", &whole.axes));
            attributes.push(AttributeProto::int("keepdims", whole.keeps.into()));
            attributes.push(AttributeProto::int("mean", whole.is_mean.into()));
        }
        let kind = if whole.is_some() { REDUCE } else { ELEMENTWISE };
        let inputs: Vec<String> = (0..operands).map(|i| Body::name(Place::Operand(i))).collect();
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let signature = Signature { kind, inputs: &inputs, outputs: &["y"], attributes };
        let output = Value::from(body.node.last()?.output[0].as_str());
        let function = as_function(body, &signature, &[output]);
        let name = self.functions.as_mut()?.name_of(kind, function)?;
        Some(Function { name, attributes: signature.attributes })
    }

    /// What the chain computes, or the square of it.
    fn formula_of(&self, outline: &Outline, nodes: &[&NodeProto], squared: bool) -> Option<Formula> {
        let mut formula = Formula::builder();
        let mut made: Vec<TermId> = Vec::new();
        let mut result = None;
        for (step, node) in outline.steps.iter().zip(nodes) {
            let mut term = |place: &Place| match *place {
                Place::Operand(number) => formula.operand(number),
                Place::Constant(number) => formula.constant(outline.constants[number].number()),
                Place::Step(number) => made[number],
            };
            let terms: Vec<_> = step.reads.iter().map(|place| place.as_ref().map(&mut term)).collect();
            if step.axes.is_some() {
                // The first sum is of what the chain computes.
                result = terms[0];
                break;
            }
            let term = term::of_node(node, &self.facts, &terms, &mut formula)?;
            made.push(term);
            result = Some(term);
        }
        let result = result?;
        let result = if squared { formula.apply(Operation::Mul, &[result, result]) } else { result };
        Some(formula.finish(result))
    }

    /// Whether `operands` surely broadcast to the shape of `value`.
    fn broadcast_to(&self, operands: &[&str], value: &str) -> bool {
        let Some(shape) = self.facts.get(value).and_then(|fact| fact.shape.as_deref()) else { return false };
        let facts: Vec<_> = operands.iter().filter_map(|name| self.facts.get(name)).collect();
        (1..=shape.len()).all(|from_end| {
            let size = &shape[shape.len() - from_end];
            facts.iter().any(|fact| fact.dim(-(from_end as i64)).is_some_and(|dim| dim.is(size)))
        })
    }
}

/// A group as the body of a function.
struct Body;

impl Body {
    /// What a value is called.
    fn name(place: Place) -> String {
        match place {
            Place::Operand(number) => format!("x{number}"),
            Place::Constant(number) => format!("c{number}"),
            Place::Step(number) => format!("t{number}"),
        }
    }

    fn of(outline: &Outline, nodes: &[&NodeProto]) -> GraphProto {
        let number = |(i, constant): (usize, &Constant)| {
            let bytes = constant.number().to_le_bytes().to_vec();
            TensorProto::raw(Self::name(Place::Constant(i)), DataType::Float, &constant.sizes, bytes.into())
        };
        let mut initializer: Vec<_> = outline.constants.iter().enumerate().map(number).collect();
        let mut node = Vec::with_capacity(nodes.len());
        for (i, (step, original)) in outline.steps.iter().zip(nodes).enumerate() {
            let mut input: Vec<_> = step.reads.iter().map(|read| read.map_or_else(String::new, Self::name)).collect();
            if let Some(axes) = &step.axes {
                let name = format!("axes{i}");
                initializer.push(TensorProto::int64s(&name, axes));
                input.push(name);
            }
            node.push(NodeProto {
                name: Some(format!("{}_{i}", original.op_type())),
                input,
                output: vec![Self::name(Place::Step(i))],
                op_type: original.op_type.clone(),
                attribute: original.attribute.clone(),
                ..Default::default()
            });
        }
        GraphProto { node, initializer, ..Default::default() }
    }
}
