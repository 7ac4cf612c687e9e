//! Operators that normalise, and others that keep the sizes of their input while its elements depend on each other.

use super::super::known::{Known, Sizes};
use super::super::size::Size;
use super::{Operation, Rule, named, number};
use crate::onnx::DataType;

/// The output has the type and the sizes of the first input.
const KEEP: &str = "CumProd CumSum GroupNormalization Hardmax InstanceNormalization LRN LogSoftmax LpNormalization \
    MeanVarianceNormalization RMSNormalization Softmax";

pub(super) fn rule(operator: &str) -> Option<Rule> {
    Some(match operator {
        "BatchNormalization" => batch,
        "LayerNormalization" => layer,
        "Dropout" => |op| Some(vec![op.like(0), Known::of(DataType::Bool).with(op.sizes(0).cloned())]),
        operator if named(KEEP, operator) => |op| Some(vec![op.like(0)]),
        _ => return None,
    })
}

/// With the mean and the variance that run along, and in old operators those that were saved.
fn batch(op: &Operation<'_>) -> Option<Vec<Known>> {
    Some(vec![op.like(0), op.like(3), op.like(4), op.like(3), op.like(4)])
}

pub(super) fn layer(op: &Operation<'_>) -> Option<Vec<Known>> {
    Some(vec![op.like(0), statistics(op), statistics(op)])
}

/// Mean and inverse deviation of LayerNormalization: the input's sizes with ones from `axis` on.
fn statistics(op: &Operation<'_>) -> Known {
    let is_float32 = op.node.int("stash_type", 1) == 1;
    let made = Known::of(if is_float32 { Some(DataType::Float) } else { op.element(0) });
    let Some(sizes) = op.sizes(0) else { return made };
    let Some(first) = op.axis(-1, sizes.len()) else { return made };
    let each = |(axis, size): (usize, &Option<Size>)| if axis < first { size.clone() } else { number(1) };
    made.with(sizes.iter().enumerate().map(each).collect::<Sizes>())
}
