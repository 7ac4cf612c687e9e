//! Convolution along time that sees the past alone.

use super::{define, input, output};
use crate::graph::{Builder, Dim, Fact, Value};
use crate::onnx::proto::{AttributeProto, NodeProto};

/// [CausalConvWithState](https://onnx.ai/onnx/operators/onnx__CausalConvWithState.html): a convolution of each channel
/// by itself over the input, behind as many steps of the past as the kernel reaches back, or as many zeros.
pub(super) fn causal_conv(node: &NodeProto, b: &Builder<'_>) -> Option<()> {
    let (x, weight) = (input(node, 0)?, input(node, 1)?);
    let [channels, _, kernel] = b.fact(&weight).sizes()?[..] else { return None };
    let whole = match input(node, 3) {
        Some(past) => b.concat(&[&past, &x], 2),
        None => b.pad_along(&x, &[kernel - 1], &[0], &[2]),
    };
    if output(node, 1).is_some() {
        let state = match kernel {
            1 => b.slice(&whole, &[0], &[0], &[2], &[1]),
            _ => b.slice(&whole, &[1 - kernel], &[i64::MAX], &[2], &[1]),
        };
        define(node, 1, state, b);
    }
    let bias = input(node, 2);
    let inputs: Vec<&Value> = [&whole, &weight].into_iter().chain(&bias).collect();
    let attributes = vec![AttributeProto::int("group", channels), AttributeProto::ints("kernel_shape", &[kernel])];
    let fact = b.fact(&x);
    let dim = |axis: i64| fact.dim(axis).cloned().unwrap_or(Dim::Unknown);
    let fact = Fact { element: fact.element, shape: Some(vec![dim(0), Dim::Known(channels), dim(2)]) };
    let y = b.node("Conv", &inputs, attributes, fact);
    let y = match node.string("activation", "none") {
        "silu" | "swish" => b.mul(&y, b.unary("Sigmoid", &y)),
        _ => y,
    };
    define(node, 0, y, b);
    Some(())
}
