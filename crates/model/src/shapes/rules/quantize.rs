//! Operators from floating-point numbers to whole ones of few bits, and back.

use super::super::known::{Known, Sizes};
use super::{Operation, Rule};
use crate::onnx::DataType;

pub(super) fn rule(operator: &str) -> Option<Rule> {
    Some(match operator {
        "QuantizeLinear" => quantize,
        "DequantizeLinear" => {
            |op| Some(vec![Known::of(op.named_type("output_dtype").or(op.element(1))).with(op.sizes(0).cloned())])
        }
        "DynamicQuantizeLinear" => dynamic,
        _ => return None,
    })
}

/// Of the type of the zero point; without one, and without an attribute that says another, of uint8.
fn quantize(op: &Operation<'_>) -> Option<Vec<Known>> {
    let element = if op.has(2) { op.element(2) } else { op.named_type("output_dtype").or(Some(DataType::Uint8)) };
    Some(vec![Known::of(element).with(op.sizes(0).cloned())])
}

/// With the scale and the zero point.
fn dynamic(op: &Operation<'_>) -> Option<Vec<Known>> {
    let quantized = Known::of(DataType::Uint8).with(op.sizes(0).cloned());
    let number = |element| Known::of(element).with(Sizes::new());
    Some(vec![quantized, number(DataType::Float), number(DataType::Uint8)])
}
