//! Sequences that only split a tensor: what is taken out of one is a part of the tensor.
//!
//! TorchScript's exporter writes torch.split, chunk and unbind of a scripted module as `SplitToSequence` and
//! `SequenceAt`. Other sequences stay.

use super::context::Context;
use super::split::Split;
use crate::onnx::DataType;
use crate::onnx::proto::{AttributeProto, NodeProto};

/// Makes of a `SequenceAt` of a split sequence the part of the tensor; returns any other node.
pub(super) fn lower(context: &mut Context<'_>, node: NodeProto) -> NodeProto {
    if let Some((sequence, split)) = node.output(0).zip(Split::of(&node)) {
        context.scope.splits.insert(sequence.to_owned(), split);
    }
    if !node.is("", "SequenceAt") {
        return node;
    }
    let split = node.input(0).and_then(|sequence| context.split(sequence)).cloned();
    let (Some(split), Some(position)) = (split, node.input(1).map(str::to_owned)) else { return node };
    let axis = split.axis;
    match &split.sizes {
        // By the standard pieces whose size is given keep the axis. torch.unbind is written with the size 1 and without
        // the axis all the same, and ONNX Runtime understands it so.
        sizes if sizes.as_ref().is_none_or(|sizes| !split.keeps_axis && is_one(context, sizes)) => {
            let along = vec![AttributeProto::int("axis", axis)];
            if !split.keeps_axis {
                return like(&node, "Gather", &[&split.tensor, &position], along);
            }
            let piece = context.op("Gather", &[&split.tensor, &position], along, "piece");
            let axes = context.int64s(&[axis], "axes");
            like(&node, "Unsqueeze", &[&piece, &axes], vec![])
        }
        None => node,
        Some(sizes) => {
            let Some([start, end]) = bounds(context, &split, sizes, &position) else { return node };
            let axes = context.int64s(&[axis], "axes");
            like(&node, "Slice", &[&split.tensor, &start, &end, &axes], vec![])
        }
    }
}

/// Whether a value is the number 1, not a list.
fn is_one(context: &Context<'_>, value: &str) -> bool {
    context.rank(value) == Some(0) && context.ints(value) == Some(&[1])
}

/// Where the piece at `position` begins and ends; none where it is not known whether `sizes` are one number or many.
fn bounds(context: &mut Context<'_>, split: &Split, sizes: &str, position: &str) -> Option<[String; 2]> {
    let at = context.ints(position).and_then(|at| at.first().copied());
    let is_list = |node: &NodeProto| node.is("", "Concat") && node.output(0) == Some(sizes);
    let is_one_number = match context.rank(sizes) {
        Some(rank) => rank == 0,
        None if context.scope.nodes.iter().any(is_list) => false,
        None => return None,
    };
    let known = context.ints(sizes).map(<[i64]>::to_vec);
    match (known.as_deref(), at) {
        (Some(&[size]), Some(at)) if is_one_number && at >= 0 => {
            let bounds = [at.saturating_mul(size), at.saturating_add(1).saturating_mul(size)];
            return Some(bounds.map(|bound| context.int64s(&[bound], "bound")));
        }
        (Some(sizes), Some(at)) if !is_one_number => {
            let at = if at < 0 { at + sizes.len() as i64 } else { at };
            if let Some(size) = usize::try_from(at).ok().and_then(|at| sizes.get(at)) {
                let start = sizes[..at as usize].iter().fold(0i64, |sum, &size| sum.saturating_add(size));
                return Some([start, start.saturating_add(*size)].map(|bound| context.int64s(&[bound], "bound")));
            }
        }
        _ => {}
    }
    let to = || vec![AttributeProto::int("to", i64::from(DataType::Int64 as i32))];
    let vector = context.int64s(&[-1], "vector");
    let position = context.op("Cast", &[position], to(), "position");
    let position = context.op("Reshape", &[&position, &vector], vec![], "position");
    let sizes = context.op("Cast", &[sizes], to(), "sizes");
    let (start, size) = if is_one_number {
        let size = context.op("Reshape", &[&sizes, &vector], vec![], "size");
        let place = from_front(context, split, &size, &position);
        (context.op("Mul", &[&place, &size], vec![], "start"), size)
    } else {
        let zero = context.int64s(&[0], "zero");
        let before = context.op("Slice", &[&sizes, &zero, &position, &zero], vec![], "before");
        let start = context.op("ReduceSum", &[&before], vec![], "start");
        (start, context.op("Gather", &[&sizes, &position], vec![], "size"))
    };
    let end = context.op("Add", &[&start, &size], vec![], "end");
    Some([start, end])
}

/// A position counted from the front: one from the end takes the number of pieces, ⌈length / size⌉.
fn from_front(context: &mut Context<'_>, split: &Split, size: &str, position: &str) -> String {
    let axis = split.axis;
    let mut range = vec![AttributeProto::int("start", axis)];
    range.extend((axis != -1).then(|| AttributeProto::int("end", axis + 1)));
    let length = context.op("Shape", &[&split.tensor], range, "length");
    let one = context.int64s(&[1], "one");
    let rest = context.op("Sub", &[size, &one], vec![], "rest");
    let sum = context.op("Add", &[&length, &rest], vec![], "sum");
    let count = context.op("Div", &[&sum, size], vec![], "count");
    let behind = context.op("Add", &[position, &count], vec![], "behind");
    let zero = context.int64s(&[0], "zero");
    let negative = context.op("Less", &[position, &zero], vec![], "negative");
    context.op("Where", &[&negative, &behind, position], vec![], "place")
}

/// Another operator under the name and with the output of `node`.
fn like(node: &NodeProto, operator: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: Some(operator.into()),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        attribute,
        ..node.clone()
    }
}
