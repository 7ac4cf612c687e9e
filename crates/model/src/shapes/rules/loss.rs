//! Losses.

use super::super::known::{Known, Sizes};
use super::{Operation, Rule};

pub(super) fn rule(operator: &str) -> Option<Rule> {
    match operator {
        "SoftmaxCrossEntropyLoss" | "NegativeLogLikelihoodLoss" => Some(loss),
        _ => None,
    }
}

/// A number, or one for each label; and the logarithms of the probabilities.
fn loss(op: &Operation<'_>) -> Option<Vec<Known>> {
    let sizes = match op.node.string("reduction", "mean") {
        "none" => op.sizes(1).cloned(),
        _ => Some(Sizes::new()),
    };
    Some(vec![Known::of(op.element(0)).with(sizes), op.like(0)])
}
