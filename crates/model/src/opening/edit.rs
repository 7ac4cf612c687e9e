//! What an attempt puts into the graph.

use super::attempt::{Attempt, Misfit};
use super::places::Holds;
use crate::graph::{Dim, Fact};
use crate::onnx::proto::{AttributeProto, NodeProto, TensorProto};
use crate::onnx::{DataType, Model};
use std::collections::BTreeMap;

/// The pass that added nodes are named for.
const PASS: &str = "opening";

/// What one element of a shape becomes.
pub(super) enum Entry {
    Number(i64),
    /// A value of the graph, a vector of one element.
    Value(String),
}

impl Attempt<'_> {
    /// A constant of whole numbers.
    pub fn ints(&mut self, numbers: &[i64]) -> String {
        let name = self.names.value(PASS, "ints");
        let tensor = TensorProto::int64s(name.as_str(), numbers);
        self.after.constant(&tensor);
        self.constants.push(tensor);
        name
    }

    /// Puts a node before the one that is about to be taken. Returns the name of what it makes.
    pub fn insert(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attribute: Vec<AttributeProto>,
    ) -> Result<String, Misfit> {
        let output = self.names.value(PASS, operator);
        let node = NodeProto {
            name: Some(self.names.node(PASS, operator)),
            op_type: Some(operator.into()),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.clone()],
            attribute,
            ..Default::default()
        };
        self.analyse(&node)?;
        self.nodes.push(node);
        Ok(output)
    }

    /// The size of an axis of a value, a vector of one element.
    pub fn size_of(&mut self, value: &str, axis: usize) -> Result<String, Misfit> {
        let (start, end) = (AttributeProto::int("start", axis as i64), AttributeProto::int("end", axis as i64 + 1));
        self.insert("Shape", &[value], vec![start, end])
    }

    /// The size that is opened, a vector of one element.
    pub fn size(&mut self) -> Result<String, Misfit> {
        let (axis, model) = (self.opening.axes[0], self.opening.model);
        self.size_of(model.graph.input[axis.input].name(), axis.axis)
    }

    /// `value` repeated along an axis of size 1, `size` times.
    pub fn expand(&mut self, value: &str, axis: usize, rank: usize, size: &str) -> Result<String, Misfit> {
        let (before, behind) = (self.ints(&vec![1; axis]), self.ints(&vec![1; rank - axis - 1]));
        let shape = self.insert("Concat", &[&before, size, &behind], vec![AttributeProto::int("axis", 0)])?;
        let expanded = self.insert("Expand", &[value, &shape], vec![])?;
        if let Some(mut sizes) = self.shape(value).map(<[Dim]>::to_vec) {
            sizes[axis] = Dim::Known(self.opening.size);
            self.inserted.insert(expanded.clone(), sizes);
        }
        Ok(expanded)
    }

    /// The vector `vector`, of the elements `entries`, with others in place of some.
    pub fn with_entries(&mut self, vector: &str, entries: &[Dim], new: Vec<(usize, Entry)>) -> Result<String, Misfit> {
        let known: Option<Vec<i64>> = entries.iter().map(Dim::known).collect();
        let numbers = new.iter().all(|(_, entry)| matches!(entry, Entry::Number(_)));
        if let (Some(mut numbers), true) = (known, numbers) {
            for (at, entry) in new {
                if let Entry::Number(number) = entry {
                    numbers[at] = number;
                }
            }
            // The indices of a Slice may be int32, all of them.
            let is_short = self.after.facts().get(vector).is_some_and(|fact| fact.element == DataType::Int32);
            let constant = self.ints(&numbers);
            let to = AttributeProto::int("to", i64::from(DataType::Int32 as i32));
            return if is_short { self.insert("Cast", &[&constant], vec![to]) } else { Ok(constant) };
        }
        let mut parts = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            let number = match new.iter().find(|(i, _)| *i == at) {
                Some((_, Entry::Value(value))) => {
                    parts.push(value.clone());
                    continue;
                }
                Some((_, Entry::Number(number))) => Some(*number),
                None => entry.known(),
            };
            parts.push(match number {
                Some(number) => self.ints(&[number]),
                None => {
                    let [start, end] = [at, at + 1].map(|i| self.ints(&[i as i64]));
                    self.insert("Slice", &[vector, &start, &end], vec![])?
                }
            });
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        self.insert("Concat", &parts, vec![AttributeProto::int("axis", 0)])
    }

    /// Puts the outcome of the attempt into the model, in which the axis is called `symbol`. Returns how many nodes
    /// follow.
    pub fn apply(self, model: &mut Model, symbol: &str) -> BTreeMap<String, usize> {
        for output in &mut model.graph.output {
            let Some(fact) = self.after.facts().get(output.name()).cloned() else { continue };
            let Some(declared) = Fact::declared(output).filter(|declared| declared.shape.is_none()) else { continue };
            let mut shape = fact.shape;
            if let (Some(dims), Holds::At(places)) = (&mut shape, self.holds(output.name())) {
                for place in places {
                    dims[place.axis] = if place.is_alone() { Dim::Symbol(symbol.into()) } else { Dim::Unknown };
                }
            }
            *output = Fact { element: declared.element, shape }.info(output.name());
        }
        let holds = |name: &str| self.holds(name) != Holds::Nothing;
        model.graph.value_info.retain(|info| !holds(info.name()));
        model.graph.node = self.nodes;
        model.graph.initializer.extend(self.constants);
        self.followed
    }
}
