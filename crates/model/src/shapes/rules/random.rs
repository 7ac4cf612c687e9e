//! Operators that draw.

use super::super::known::{Known, Sizes};
use super::super::size::Size;
use super::{Operation, Rule};
use crate::onnx::DataType;

pub(super) fn rule(operator: &str) -> Option<Rule> {
    Some(match operator {
        "RandomNormal" | "RandomUniform" => of_shape,
        "Bernoulli" | "RandomNormalLike" | "RandomUniformLike" => {
            |op| Some(vec![Known::of(op.named_type("dtype").or(op.element(0))).with(op.sizes(0).cloned())])
        }
        "Multinomial" => |op| {
            let sizes = vec![op.size(0, 0), Some(Size::number(op.node.int("sample_size", 1)))];
            Some(vec![Known::of(op.named_type("dtype").unwrap_or(DataType::Int32)).with(sizes)])
        },
        _ => return None,
    })
}

fn of_shape(op: &Operation<'_>) -> Option<Vec<Known>> {
    let sizes =
        op.node.ints("shape").map(|shape| shape.iter().map(|&size| Some(Size::number(size))).collect::<Sizes>());
    Some(vec![Known::of(op.named_type("dtype").unwrap_or(DataType::Float)).with(sizes)])
}
