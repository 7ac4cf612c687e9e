//! Recurrent layers.

use super::super::known::{Known, Sizes};
use super::super::size::Size;
use super::{Operation, Rule, number};

pub(super) fn rule(operator: &str) -> Option<Rule> {
    matches!(operator, "GRU" | "LSTM" | "RNN").then_some(recurrent)
}

/// All hidden states, the last, and of LSTM the last cell. With layout 1, the batch is the first axis of all.
fn recurrent(op: &Operation<'_>) -> Option<Vec<Known>> {
    let directions = number(if op.node.string("direction", "forward") == "bidirectional" { 2 } else { 1 });
    let hidden = match op.node.attribute("hidden_size") {
        Some(size) => number(size.i()),
        None => op.size(2, 2),
    };
    let is_batch_first = op.node.int("layout", 0) == 1;
    let (steps, batch): (Option<Size>, Option<Size>) = match is_batch_first {
        true => (op.size(0, 1), op.size(0, 0)),
        false => (op.size(0, 0), op.size(0, 1)),
    };
    let made = |sizes: Sizes| Known::of(op.element(0)).with(sizes);
    Some(if is_batch_first {
        let last = made(vec![batch.clone(), directions.clone(), hidden.clone()]);
        vec![made(vec![batch, steps, directions, hidden]), last.clone(), last]
    } else {
        let last = made(vec![directions.clone(), batch.clone(), hidden.clone()]);
        vec![made(vec![steps, directions, batch, hidden]), last.clone(), last]
    })
}
