//! Gated linear units.

use super::{define, input};
use crate::graph::Builder;
use crate::onnx::proto::NodeProto;

/// [SwiGLU](https://onnx.ai/onnx/operators/onnx__SwiGLU.html): Y = A σ(αA) B.
pub(super) fn swiglu(node: &NodeProto, b: &Builder<'_>) -> Option<()> {
    let (gate, linear) = (input(node, 0)?, input(node, 1)?);
    let swish = b.mul(&gate, b.unary("Sigmoid", b.scale(&gate, node.float("alpha", 1.0).into())));
    define(node, 0, b.mul(swish, linear), b);
    Some(())
}
