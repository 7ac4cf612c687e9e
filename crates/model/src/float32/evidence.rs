//! Which types a model computes in, by who reads its weights.

use super::{FEWEST, is_weight, other};
use crate::onnx::proto::{NodeProto, TensorProto};
use crate::onnx::{DataType, Model};
use foldhash::{HashMap, HashSet};

/// Operators that move the elements of their first input, and leave them as they are.
const MOVE: &[&str] = &["Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"];

/// What is to become float32.
#[derive(Default)]
pub(super) struct Evidence {
    /// The types that the model computes in, in the order of their codes; float32 is none of them.
    computes: Vec<DataType>,
    /// Weights that the file holds in another type, and what only moves their elements, by name.
    held: HashSet<String>,
    /// The types that these have.
    types: Vec<DataType>,
}

impl Evidence {
    /// Looks at who reads the weights of `model`. Of those of which a Cast alone makes another type, it takes those for
    /// whose names `converts` holds.
    pub fn of(model: &Model, converts: &dyn Fn(&str) -> bool) -> Self {
        let mut readers = Readers::default();
        model.graph.initializer.iter().for_each(|tensor| readers.constant(tensor.name(), tensor));
        readers.nodes(&model.graph.node);
        let mut computes = readers.computes.clone();
        let mut has_single = readers.has_single;
        for function in &model.header.functions {
            let mut inside = Readers::default();
            inside.nodes(&function.node);
            computes.extend(inside.computes);
            has_single |= inside.has_single;
        }
        // float32 models look things up in tables of float64, too.
        computes.retain(|&element| element != DataType::Double || !has_single);
        let computes = sorted(computes);
        let takes = |origin: &Origin<'_>| {
            !computes.contains(&origin.element) && !readers.computed_with.contains(origin.name) && converts(origin.name)
        };
        let held: Vec<(&str, DataType)> =
            readers.origins.iter().filter(|(_, origin)| takes(origin)).map(|(name, o)| (*name, o.element)).collect();
        let types = sorted(held.iter().map(|(_, element)| *element).collect());
        Self { held: held.into_iter().map(|(name, _)| name.to_owned()).collect(), computes, types }
    }

    pub fn is_empty(&self) -> bool {
        self.computes.is_empty() && self.held.is_empty()
    }

    /// Whether the model computes in the type of this code.
    pub fn computes_in(&self, code: i64) -> bool {
        self.computes.iter().any(|&element| element as i64 == code)
    }

    /// Whether the value is a weight that is held in another type, or has the elements of one.
    pub fn holds(&self, name: &str) -> bool {
        self.held.contains(name)
    }

    /// What was done, where so many tensors became float32, and so many Casts were to a type that the model computed in.
    pub fn told(&self, tensors: usize, casts: usize) -> String {
        let types = if self.computes.is_empty() { listed(&self.types) } else { listed(&self.computes) };
        let (noun, train, are) = if tensors == 1 { ("", "trains", "it is") } else { ("s", "train", "they are") };
        if self.computes.is_empty() {
            return format!(
                "{tensors} weight{noun} that the file holds as {types} {train} as float32; back in the model's file, {are} {types} again"
            );
        }
        let rounding = match casts {
            0 => String::new(),
            1 => format!(", and 1 Cast to {types} rounds nothing"),
            _ => format!(", and {casts} Casts to {types} round nothing"),
        };
        let are = if tensors == 1 { "is" } else { "are" };
        format!(
            "the model computes in {types}: it trains in float32{rounding}; back in the model's file, {tensors} tensor{noun} {are} {types} again"
        )
    }
}

fn sorted(mut elements: Vec<DataType>) -> Vec<DataType> {
    elements.sort_unstable_by_key(|&element| element as i32);
    elements.dedup();
    elements
}

fn listed(elements: &[DataType]) -> String {
    elements.iter().map(|element| element.name()).collect::<Vec<_>>().join(" and ")
}

/// The weight whose elements a value has.
#[derive(Clone, Copy)]
struct Origin<'m> {
    name: &'m str,
    element: DataType,
}

/// Who reads the weights of a graph and of the bodies in it.
#[derive(Default)]
struct Readers<'m> {
    origins: HashMap<&'m str, Origin<'m>>,
    /// The weights that something else than a Cast reads.
    computed_with: HashSet<&'m str>,
    /// Their types.
    computes: Vec<DataType>,
    /// Whether there is a weight of float32.
    has_single: bool,
}

impl<'m> Readers<'m> {
    fn constant(&mut self, name: &'m str, tensor: &'m TensorProto) {
        if let Some(element) = other(tensor).filter(|_| is_weight(tensor)) {
            self.origins.insert(name, Origin { name, element });
        }
        self.has_single |= tensor.element() == Some(DataType::Float) && tensor.element_count() >= FEWEST;
    }

    fn nodes(&mut self, nodes: &'m [NodeProto]) {
        for node in nodes {
            let output = node.output.first().map_or("", String::as_str);
            if node.is("", "Constant")
                && let Some(tensor) = node.attribute("value").and_then(|value| value.t.as_deref())
            {
                self.constant(output, tensor);
            }
            let moves = MOVE.iter().any(|operator| node.is("", operator));
            match node.input(0).and_then(|input| self.origins.get(input)).copied() {
                Some(origin) if moves => _ = self.origins.insert(output, origin),
                _ if node.is("", "Cast") => {}
                _ => node.input.iter().for_each(|input| self.reads(input)),
            }
            for body in node.subgraphs() {
                body.initializer.iter().for_each(|tensor| self.constant(tensor.name(), tensor));
                self.nodes(&body.node);
                body.output.iter().for_each(|output| self.reads(output.name()));
            }
        }
    }

    fn reads(&mut self, name: &str) {
        if let Some(origin) = self.origins.get(name)
            && self.computed_with.insert(origin.name)
        {
            self.computes.push(origin.element);
        }
    }
}
