//! What a group computes, without the names of the graph: groups of one outline are calls of one function.

use super::{sum, term};
use crate::graph::Facts;
use crate::onnx::DataType;
use crate::onnx::proto::{AttributeProto, NodeProto};
use foldhash::{HashMap, HashSet};
use prost::Message as _;

/// Where a value of a group comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Operand(usize),
    Constant(usize),
    /// The step of this number.
    Step(usize),
}

/// What a group computes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Outline {
    pub constants: Vec<Constant>,
    pub steps: Vec<Step>,
}

/// A constant number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Constant {
    bits: u32,
    pub sizes: Vec<i64>,
}

impl Constant {
    pub fn number(&self) -> f32 {
        f32::from_bits(self.bits)
    }
}

/// A node of the group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Step {
    operator: String,
    attributes: Vec<u8>,
    /// By input; none of one that is left out.
    pub reads: Vec<Option<Place>>,
    /// The axes of a sum, from 0 on.
    pub axes: Option<Vec<i64>>,
}

/// A group on the way to its outline.
pub(super) struct Outlining<'g, 'f> {
    facts: &'f Facts,
    fed: &'f HashSet<&'f str>,
    places: HashMap<&'g str, Place>,
    pub outline: Outline,
    /// What the group reads.
    pub operands: Vec<&'g str>,
    /// The nodes of the steps.
    pub nodes: Vec<&'g NodeProto>,
}

impl<'g, 'f> Outlining<'g, 'f> {
    pub fn new(facts: &'f Facts, fed: &'f HashSet<&'f str>) -> Self {
        let (places, outline, operands, nodes) = Default::default();
        Self { facts, fed, places, outline, operands, nodes }
    }

    /// A value that a node reads: of the group, a constant number, or an operand.
    fn read(&mut self, name: &'g str) -> Place {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let fact = self.facts.get(name).filter(|fact| fact.element == DataType::Float);
        let number = self.facts.number(name).filter(|_| fact.is_some() && !self.fed.contains(name));
        let place = if let Some(number) = number {
            let sizes = fact.and_then(|fact| fact.sizes()).unwrap_or_default();
            self.outline.constants.push(Constant { bits: (number as f32).to_bits(), sizes });
            Place::Constant(self.outline.constants.len() - 1)
        } else {
            self.operands.push(name);
            Place::Operand(self.operands.len() - 1)
        };
        self.places.insert(name, place);
        place
    }

    /// Adds a node of the chain.
    pub fn join(&mut self, node: &'g NodeProto) -> Option<()> {
        if term::is_broadcast(node) {
            let place = self.read(node.input(0)?);
            self.places.insert(node.output.first()?, place);
            return Some(());
        }
        let reads = node.input.iter().map(|name| (!name.is_empty()).then(|| self.read(name))).collect();
        self.push(node, reads, None)
    }

    /// Adds a sum of it.
    pub fn sum(&mut self, node: &'g NodeProto) -> Option<()> {
        let place = self.read(node.input(0)?);
        let axes = sum::of(node, self.facts)?.axes;
        self.push(node, vec![Some(place)], Some(axes))
    }

    fn push(&mut self, node: &'g NodeProto, reads: Vec<Option<Place>>, axes: Option<Vec<i64>>) -> Option<()> {
        self.places.insert(node.output.first()?, Place::Step(self.nodes.len()));
        let attributes = node.attribute.iter().flat_map(AttributeProto::encode_length_delimited_to_vec).collect();
        self.outline.steps.push(Step { operator: node.op_type().to_owned(), attributes, reads, axes });
        self.nodes.push(node);
        Some(())
    }
}
