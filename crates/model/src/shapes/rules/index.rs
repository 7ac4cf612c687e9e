//! Operators that take elements by their places, and that tell places.

use super::super::known::{Known, Sizes};
use super::super::size::Size;
use super::moved::{moved, whole};
use super::{Operation, Rule, number, open, place, places, replaced};
use crate::onnx::DataType;

pub(super) fn rule(operator: &str) -> Option<Rule> {
    Some(match operator {
        "Gather" => gather,
        "GatherElements" => |op| Some(vec![Known::of(op.element(0)).with(op.sizes(1).cloned())]),
        "GatherND" => gather_nd,
        "Scatter" | "ScatterElements" | "ScatterND" | "TensorScatter" => |op| Some(vec![op.like(0)]),
        "ArgMax" | "ArgMin" => arg_extreme,
        "TopK" => top_k,
        "NonZero" => non_zero,
        "OneHot" => one_hot,
        "Compress" => compress,
        "Unique" => unique,
        _ => return None,
    })
}

/// The axes of the indices in place of an axis.
fn gather(op: &Operation<'_>) -> Option<Vec<Known>> {
    let (Some(data), Some(indices)) = (op.sizes(0), op.sizes(1)) else { return Some(vec![Known::of(op.element(0))]) };
    let axis = op.axis(0, data.len())?;
    let to = data[..axis].iter().chain(indices).chain(&data[axis + 1..]).cloned().collect();
    // A small constant has no large axis.
    let size = data[axis].as_ref().and_then(|size| usize::try_from(size.known()?).ok());
    let at = size.zip(op.input(1).ints()).and_then(|(size, at)| places(&at, size));
    let sizes = op.input(1).numbers();
    Some(vec![moved(op.input(0), to, |index| {
        let (sizes, rank) = (sizes.as_ref()?, indices.len());
        let own = index.get(axis..axis + rank)?;
        let flat = own.iter().zip(sizes).fold(0, |flat, (at, size)| flat * size + at);
        let mut from = index[..axis].to_vec();
        from.push(*at.as_ref()?.get(flat)?);
        from.extend_from_slice(&index[axis + rank..]);
        Some(from)
    })])
}

/// For each tuple of indices what is at it, from the axes behind on.
fn gather_nd(op: &Operation<'_>) -> Option<Vec<Known>> {
    let made = Known::of(op.element(0));
    let (Some(data), Some([before @ .., Some(depth)])) = (op.sizes(0), op.sizes(1).map(Vec::as_slice)) else {
        return Some(vec![made]);
    };
    let Some(depth) = depth.known() else { return Some(vec![made]) };
    let taken = usize::try_from(op.node.int("batch_dims", 0).checked_add(depth)?).ok()?;
    Some(vec![made.with(before.iter().chain(data.get(taken..)?).cloned().collect::<Sizes>())])
}

fn arg_extreme(op: &Operation<'_>) -> Option<Vec<Known>> {
    let made = Known::of(DataType::Int64);
    let Some(sizes) = op.sizes(0) else { return Some(vec![made]) };
    let axis = op.axis(0, sizes.len())?;
    Some(vec![made.with(if op.node.int("keepdims", 1) == 0 {
        without(sizes, axis)
    } else {
        replaced(sizes, axis, number(1))
    })])
}

fn without(sizes: &Sizes, axis: usize) -> Option<Sizes> {
    let mut sizes = sizes.clone();
    (axis < sizes.len()).then(|| sizes.remove(axis));
    Some(sizes)
}

/// The number of elements that the second input, or in old operators `k`, says, and their places.
fn top_k(op: &Operation<'_>) -> Option<Vec<Known>> {
    let sizes = op.sizes(0).and_then(|sizes| {
        let count = match op.node.attribute("k") {
            Some(k) => number(k.i()),
            None => op.input(1).number().cloned(),
        };
        replaced(sizes, op.axis(-1, sizes.len())?, count)
    });
    Some(vec![Known::of(op.element(0)).with(sizes.clone()), Known::of(DataType::Int64).with(sizes)])
}

/// A row for each axis; as many columns as there are such elements.
fn non_zero(op: &Operation<'_>) -> Option<Vec<Known>> {
    let made = Known::of(DataType::Int64);
    let Some(rank) = op.rank(0) else { return Some(vec![made.with(open(2))]) };
    // Places in a vector are known where its elements are.
    if let (1, Some(elements)) = (rank, op.input(0).ints()) {
        let at: Vec<i64> = (0..).zip(elements).filter(|(_, element)| *element != 0).map(|(at, _)| at).collect();
        return Some(vec![made.with_elements(&[1, at.len()], Some(whole(at)))]);
    }
    Some(vec![made.with(vec![number(rank.max(1) as i64), None])])
}

/// An axis of size `depth` more.
fn one_hot(op: &Operation<'_>) -> Option<Vec<Known>> {
    let made = Known::of(op.element(2));
    let Some(indices) = op.sizes(0) else { return Some(vec![made]) };
    let mut sizes = indices.clone();
    sizes.insert(place(op.node.int("axis", -1), indices.len() + 1)?, op.input(1).number().cloned());
    Some(vec![made.with(sizes)])
}

/// How many elements are left, the condition says.
fn compress(op: &Operation<'_>) -> Option<Vec<Known>> {
    let count = op.input(1).ints().map(|truths| truths.iter().filter(|truth| **truth != 0).count() as i64);
    let count = count.map(Size::number);
    let made = Known::of(op.element(0));
    if op.node.attribute("axis").is_none() {
        return Some(vec![made.with(vec![count])]);
    }
    let sizes = op.sizes(0).and_then(|sizes| replaced(sizes, op.axis(0, sizes.len())?, count));
    Some(vec![made.with(sizes)])
}

fn unique(op: &Operation<'_>) -> Option<Vec<Known>> {
    let made = Known::of(op.element(0));
    let places = Known::of(DataType::Int64).with(vec![None]);
    let values = match (op.node.attribute("axis"), op.sizes(0)) {
        (None, _) => made.with(vec![None]),
        (Some(_), Some(sizes)) => made.with(replaced(sizes, op.axis(0, sizes.len())?, None)),
        (Some(_), None) => made,
    };
    // Of each element the place among the values.
    let inverse = match op.node.attribute("axis") {
        Some(_) => op.sizes(0).and_then(|sizes| op.size(0, op.axis(0, sizes.len())?)),
        None => {
            op.sizes(0).and_then(|sizes| Size::product(sizes.iter().map(Option::as_ref).collect::<Option<Vec<_>>>()?))
        }
    };
    Some(vec![values, places.clone(), places.clone().with(vec![inverse]), places])
}
