//! The Gaussian error linear unit and its approximations
//! (Hendrycks and Gimpel, [arXiv:1606.08415](https://arxiv.org/abs/1606.08415)).

use super::super::context::Context;
use super::last;
use crate::onnx::proto::NodeProto;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

/// x·½(1 + erf(x/√2))
pub(super) fn gelu(g: &mut Context<'_>, node: &NodeProto) -> Option<NodeProto> {
    let x = node.input(0)?;
    Some(exact(g, node, x, x))
}

/// Gelu of x + b.
pub(super) fn bias_gelu(g: &mut Context<'_>, node: &NodeProto) -> Option<NodeProto> {
    let (x, b) = (node.input(0)?, node.input(1)?);
    let sum = g.op("Add", &[x, b], vec![], "sum");
    Some(exact(g, node, &sum, x))
}

/// x·½(1 + tanh(√(2/π)·(x + 0.044715·x³))), with x + b for x where there is a bias.
pub(super) fn fast_gelu(g: &mut Context<'_>, node: &NodeProto) -> Option<NodeProto> {
    let data = node.input(0)?;
    let biased = node.input(1).map(|b| g.op("Add", &[data, b], vec![], "sum"));
    let x = biased.as_deref().unwrap_or(data);
    let (c, k) = (g.scalar(0.044715, data, "c"), g.scalar(FRAC_2_PI.sqrt(), data, "k"));
    let square = g.op("Mul", &[x, x], vec![], "square");
    let cube = g.op("Mul", &[&square, x], vec![], "cube");
    let cubic = g.op("Mul", &[&c, &cube], vec![], "cubic");
    let polynomial = g.op("Add", &[x, &cubic], vec![], "polynomial");
    let scaled = g.op("Mul", &[&k, &polynomial], vec![], "scaled");
    let tanh = g.op("Tanh", &[&scaled], vec![], "tanh");
    Some(half_of_one_plus(g, node, x, &tanh, data))
}

/// x·σ(αx)
pub(super) fn quick_gelu(g: &mut Context<'_>, node: &NodeProto) -> Option<NodeProto> {
    let x = node.input(0)?;
    let alpha = g.scalar(node.float("alpha", 1.702).into(), x, "alpha");
    let scaled = g.op("Mul", &[&alpha, x], vec![], "scaled");
    let gate = g.op("Sigmoid", &[&scaled], vec![], "gate");
    Some(last(node, "Mul", &[x, &gate]))
}

/// Constants have the type of `like`.
fn exact(g: &mut Context<'_>, node: &NodeProto, x: &str, like: &str) -> NodeProto {
    let k = g.scalar(FRAC_1_SQRT_2, like, "k");
    let scaled = g.op("Mul", &[x, &k], vec![], "scaled");
    let erf = g.op("Erf", &[&scaled], vec![], "erf");
    half_of_one_plus(g, node, x, &erf, like)
}

/// x·½(1 + s)
fn half_of_one_plus(g: &mut Context<'_>, node: &NodeProto, x: &str, s: &str, like: &str) -> NodeProto {
    let (one, half) = (g.scalar(1.0, like, "one"), g.scalar(0.5, like, "half"));
    let gate = g.op("Add", &[s, &one], vec![], "gate");
    let product = g.op("Mul", &[x, &gate], vec![], "product");
    last(node, "Mul", &[&product, &half])
}
