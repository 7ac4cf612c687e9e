//! What must be opened elsewhere, for a node to fit: where an operand does not come from the input that is opened, and
//! was made for the fixed size.

use super::attempt::{Attempt, Misfit, Opening};
use super::edit::Entry;
use super::places::Holds;
use crate::graph::Dim;
use crate::onnx::DataType;
use crate::onnx::proto::{NodeProto, TensorProto};
use foldhash::HashSet;

/// Something that is to be opened too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Demand {
    /// The node that reads it, by its position in the model.
    pub node: usize,
    /// The input of the node that it is.
    pub operand: usize,
    /// The axis, or the element.
    pub axis: usize,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// An axis of size 1 is repeated.
    Axis,
    /// An element of the shape that is expanded to becomes the size.
    Entry,
    /// Of rows that are equal, the first is taken.
    First,
}

/// What would let a node fit that does not: that an operand which does not hold the axis does.
pub(super) fn of(attempt: &Attempt<'_>, node: &NodeProto) -> Option<Demand> {
    let holds = |input: &&String| matches!(attempt.holds(input), Holds::At(_));
    let (with, without): (Vec<_>, Vec<_>) = node.input.iter().filter(|input| !input.is_empty()).partition(holds);
    if with.is_empty() { None } else { without.into_iter().find_map(|value| trace(attempt.opening, value)) }
}

/// Goes back from a value through what keeps its rows apart, to where it was made for the fixed size.
fn trace(opening: &Opening<'_>, value: &str) -> Option<Demand> {
    let (mut left, mut seen) = (vec![value], HashSet::default());
    while let Some(value) = left.pop() {
        let Some((index, node)) = opening.producer(value).filter(|(index, _)| seen.insert(*index)) else { continue };
        if let Some(demand) = made_for(opening, value, index, node) {
            return Some(demand);
        }
        let goes_on = match node.op_type() {
            "Expand" | "Tile" | "Reshape" | "Transpose" | "Unsqueeze" | "Squeeze" | "Cast" | "Identity" => 1,
            "Mul" | "Div" | "Add" | "Sub" | "MatMul" | "Gemm" => node.input.len(),
            _ => 0,
        };
        // The first input comes first.
        left.extend(node.input.iter().take(goes_on).rev().map(String::as_str));
    }
    None
}

/// What a node that makes `value` has been given for the fixed size.
fn made_for(opening: &Opening<'_>, value: &str, index: usize, node: &NodeProto) -> Option<Demand> {
    let demand = |operand, axis, what| Some(Demand { node: index, operand, axis, what });
    let from = opening.shape(node.input(0)?);
    match node.op_type() {
        "Reshape" if opening.size == 1 => demand(0, from?.iter().position(|dim| *dim == Dim::Known(1))?, What::Axis),
        "Expand" | "Tile" if opening.size > 1 => {
            let (from, to) = (from?, opening.shape(value)?);
            let missing = to.len().saturating_sub(from.len());
            let was_one = |axis: usize| axis < missing || from[axis - missing] == Dim::Known(1);
            let axis = (0..to.len()).find(|&axis| to[axis] == Dim::Known(opening.size) && was_one(axis))?;
            demand(1, axis, What::Entry)
        }
        "Gather" => {
            let mut constants = opening.model.graph.initializer.iter();
            let indices = constants.find(|tensor| Some(tensor.name()) == node.input(1))?;
            if repeats(indices, opening.size) { demand(1, 0, What::First) } else { None }
        }
        _ => None,
    }
}

/// Whether a constant has the same rows `size` times.
fn repeats(tensor: &TensorProto, size: i64) -> bool {
    let is_whole = matches!(tensor.element(), Some(DataType::Int64 | DataType::Int32));
    let ints = || tensor.ints().filter(|ints| tensor.dims.first() == Some(&size) && size > 1 && !ints.is_empty());
    is_whole && ints().is_some_and(|ints| ints.chunks(ints.len() / size as usize).all(|row| row == &ints[..row.len()]))
}

/// Lets a node read what a demand is for.
pub(super) fn meet(attempt: &mut Attempt<'_>, node: &mut NodeProto, demand: &Demand) -> Result<(), Misfit> {
    let Some(value) = node.input(demand.operand).map(str::to_owned) else { return Ok(()) };
    let read = match demand.what {
        What::Axis => {
            let rank = attempt.shape(&value).map_or(0, <[Dim]>::len);
            let size = attempt.size()?;
            attempt.expand(&value, demand.axis, rank, &size)?
        }
        What::Entry => {
            let Some(entries) = attempt.after.entries(&value) else { return Ok(()) };
            let size = attempt.size()?;
            attempt.with_entries(&value, &entries, vec![(demand.axis, Entry::Value(size))])?
        }
        What::First => {
            let [start, end] = [0, 1].map(|i| attempt.ints(&[i]));
            attempt.insert("Slice", &[&value, &start, &end], vec![])?
        }
    };
    node.input[demand.operand] = read;
    Ok(())
}
