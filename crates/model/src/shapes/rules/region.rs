//! Operators on regions of images.

use super::super::known::{Known, Sizes};
use super::super::size::Size;
use super::{Operation, Rule, number, open};
use crate::onnx::DataType;

pub(super) fn rule(operator: &str) -> Option<Rule> {
    Some(match operator {
        "AffineGrid" => affine_grid,
        "GridSample" => grid_sample,
        "ImageDecoder" => |op| {
            let channels = number(if op.node.string("pixel_format", "RGB") == "Grayscale" { 1 } else { 3 });
            Some(vec![Known::of(DataType::Uint8).with(vec![None, None, channels])])
        },
        "MaxRoiPool" => |op| regions(op, op.size(1, 0), op.node.ints("pooled_shape")?),
        "RoiAlign" => |op| {
            regions(
                op,
                op.size(2, 0).or_else(|| op.size(1, 0)),
                &["output_height", "output_width"].map(|name| op.node.int(name, 1)),
            )
        },
        "NonMaxSuppression" => |_| Some(vec![Known::of(DataType::Int64).with(vec![None, number(3)])]),
        _ => return None,
    })
}

/// A place for each pixel of an image of the size in the second input.
fn affine_grid(op: &Operation<'_>) -> Option<Vec<Known>> {
    let made = Known::of(op.element(0));
    let Some([images, _, spatial @ ..]) = op.input(1).whole() else {
        return Some(vec![made.with(op.size(1, 0).and_then(|rank| open(usize::try_from(rank.known()?).ok()?)))]);
    };
    let mut sizes: Sizes = vec![Some(images.clone())];
    sizes.extend(spatial.iter().cloned().map(Some));
    sizes.push(number(i64::try_from(spatial.len()).ok()?));
    Some(vec![made.with(sizes)])
}

/// A pixel for each place.
fn grid_sample(op: &Operation<'_>) -> Option<Vec<Known>> {
    let made = Known::of(op.element(0));
    let Some([images, places @ .., _]) = op.sizes(1).map(Vec::as_slice) else {
        let mut sizes = op.rank(0).and_then(open);
        if let Some([images, channels, ..]) = sizes.as_deref_mut() {
            (*images, *channels) = (op.size(0, 0), op.size(0, 1));
        }
        return Some(vec![made.with(sizes)]);
    };
    let mut sizes = vec![op.size(0, 0).or_else(|| images.clone()), op.size(0, 1)];
    sizes.extend(places.iter().cloned());
    Some(vec![made.with(sizes)])
}

/// An image of `sizes` for each region.
fn regions(op: &Operation<'_>, count: Option<Size>, sizes: &[i64]) -> Option<Vec<Known>> {
    let &[height, width] = sizes else { return None };
    Some(vec![Known::of(op.element(0)).with(vec![count, op.size(0, 1), number(height), number(width)])])
}
