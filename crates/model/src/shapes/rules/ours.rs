//! Functions of ours ([`crate::graph::Signature`]), by what their calls say.

use super::super::known::{Known, Sizes};
use super::super::size::Size;
use super::{Operation, Rule, convolution, elementwise, matmul, normalization, reduce};
use gnp_base::contract::functions::{
    CHANNELS_FIRST, CONV_GRAD_INPUT, CONV_GRAD_WEIGHT, ELEMENTWISE, LAYER_NORM, LAYER_NORM_GRAD, MATMUL, MAX_POOL_GRAD,
    REDUCE, kind_of,
};

pub(super) fn rule(operator: &str) -> Option<Rule> {
    match kind_of(operator) {
        ELEMENTWISE => Some(elementwise::arithmetic),
        REDUCE => Some(reduce::reduce),
        // It has the attributes of ConvTranspose.
        CONV_GRAD_INPUT => Some(convolution::transposed),
        CONV_GRAD_WEIGHT => Some(weights),
        MAX_POOL_GRAD => Some(as_input),
        LAYER_NORM => Some(layer_norm),
        LAYER_NORM_GRAD => Some(layer_norm_grad),
        MATMUL => Some(product),
        _ => None,
    }
}

/// The shape of the first input.
fn as_input(op: &Operation<'_>) -> Option<Vec<Known>> {
    Some(vec![op.like(0)])
}

/// The image, or what the standard's operator makes; means and inverse deviations of each place.
fn layer_norm(op: &Operation<'_>) -> Option<Vec<Known>> {
    if op.node.int(CHANNELS_FIRST, 0) == 0 {
        return normalization::layer(op);
    }
    let (batch, places) = (op.sizes(0)?.first()?, op.sizes(0)?.get(2..)?);
    let one = Some(Size::number(1));
    let sizes: Sizes = [batch].into_iter().chain(places).cloned().chain([one]).collect();
    let statistic = Known::of(op.element(0)).with(sizes);
    Some(vec![op.like(0), statistic.clone(), statistic])
}

/// The gradients of x, of the scale and of the bias.
fn layer_norm_grad(op: &Operation<'_>) -> Option<Vec<Known>> {
    Some(vec![op.like(0), op.like(2), op.like(2)])
}

/// A product of matrices whose axes are exchanged before and behind it.
fn product(op: &Operation<'_>) -> Option<Vec<Known>> {
    let ordered = |sizes: &Sizes, name: &str| match op.node.ints(name) {
        Some(axes) => axes.iter().map(|&axis| sizes.get(usize::try_from(axis).ok()?).cloned()).collect(),
        None => Some(sizes.clone()),
    };
    let (a, b) = (ordered(op.sizes(0)?, "a_axes")?, ordered(op.sizes(1)?, "b_axes")?);
    let sizes = ordered(&matmul::product(Some(&a), Some(&b))?, "y_axes")?;
    Some(vec![Known::of(op.element(0)).with(sizes)])
}

/// Weights [channels of the output, channels of the input in a group, kernel…].
fn weights(op: &Operation<'_>) -> Option<Vec<Known>> {
    let channels = op.size(0, 1).and_then(|size| size.exactly_over(&Size::number(op.node.int("group", 1))));
    let mut sizes: Sizes = vec![op.size(1, 1), channels];
    sizes.extend(op.node.ints("kernel_shape")?.iter().copied().map(Size::number).map(Some));
    Some(vec![Known::of(op.element(0)).with(sizes)])
}
