//! Convolutions, and what puts their columns together.

use super::super::known::{Known, Sizes};
use super::super::size::Size;
use super::window::Window;
use super::{Operation, Rule, open};
use crate::onnx::DataType;

pub(super) fn rule(operator: &str) -> Option<Rule> {
    Some(match operator {
        "Conv" | "DeformConv" => |op| Some(vec![Known::of(op.element(0).or(op.element(1))).with(convolved(op, 1))]),
        "ConvInteger" => |op| Some(vec![Known::of(DataType::Int32).with(convolved(op, 1))]),
        "QLinearConv" => |op| Some(vec![Known::of(op.element(7)).with(convolved(op, 3))]),
        "ConvTranspose" => transposed,
        "CausalConvWithState" => causal,
        "Col2Im" => col2im,
        _ => return None,
    })
}

/// The size of the kernel along a spatial axis.
fn kernel(op: &Operation<'_>, weights: usize, axis: usize) -> Option<Size> {
    match op.node.ints("kernel_shape") {
        Some(kernel) => kernel.get(axis).copied().map(Size::number),
        None => op.size(weights, axis.checked_add(2)?),
    }
}

/// An image for each of the first, of a channel for each kernel.
fn convolved(op: &Operation<'_>, weights: usize) -> Option<Sizes> {
    let channels = op.size(weights, 0);
    let Some([images, _, spatial @ ..]) = op.sizes(0).map(Vec::as_slice) else {
        // The weights have as many axes.
        let mut sizes = open(op.rank(weights)?)?;
        *sizes.get_mut(1)? = channels;
        return Some(sizes);
    };
    let along = |(axis, size): (usize, &Option<Size>)| {
        Window::along(op, axis, spatial.len(), kernel(op, weights, axis)?)?.places(size.as_ref()?)
    };
    let mut sizes = vec![images.clone(), channels];
    sizes.extend(spatial.iter().enumerate().map(along));
    Some(sizes)
}

pub(super) fn transposed(op: &Operation<'_>) -> Option<Vec<Known>> {
    let made = Known::of(op.element(0).or(op.element(1)));
    let channels = op.size(1, 1).and_then(|size| size.times_number(op.node.int("group", 1)));
    let Some([images, _, spatial @ ..]) = op.sizes(0).map(Vec::as_slice) else {
        let mut sizes = open(op.rank(1)?)?;
        *sizes.get_mut(1)? = channels;
        return Some(vec![made.with(sizes)]);
    };
    let along = |(axis, size): (usize, &Option<Size>)| {
        if let Some(sizes) = op.node.ints("output_shape") {
            // Some exporters name all axes.
            let skipped = sizes.len().checked_sub(spatial.len())?;
            return sizes.get(skipped + axis).copied().map(Size::number);
        }
        let more = op.node.ints("output_padding").map_or(Some(0), |list| list.get(axis).copied())?;
        Window::along(op, axis, spatial.len(), kernel(op, 1, axis)?)?.spread(size.as_ref()?, more)
    };
    let mut sizes = vec![images.clone(), channels];
    sizes.extend(spatial.iter().enumerate().map(along));
    Some(vec![made.with(sizes)])
}

/// The input's sizes, and as many of its last columns as the kernel looks back.
fn causal(op: &Operation<'_>) -> Option<Vec<Known>> {
    let columns = op.size_from_end(1, 1).and_then(|kernel| kernel.plus_number(-1));
    let state = vec![op.size(0, 0), op.size(0, 1), columns];
    Some(vec![op.like(0), Known::of(op.element(0)).with(state)])
}

/// Images of the size in the second input, of blocks of the size in the third.
fn col2im(op: &Operation<'_>) -> Option<Vec<Known>> {
    let made = Known::of(op.element(0));
    let Some(image) = op.input(1).whole() else {
        let spatial = op.size(1, 0).and_then(|spatial| usize::try_from(spatial.known()?.checked_add(2)?).ok());
        return Some(vec![made.with(spatial.and_then(open))]);
    };
    let channels = || op.size(0, 1)?.exactly_over(&Size::product(op.input(2).whole()?)?);
    let mut sizes = vec![op.size(0, 0), channels()];
    sizes.extend(image.iter().cloned().map(Some));
    Some(vec![made.with(sizes)])
}
