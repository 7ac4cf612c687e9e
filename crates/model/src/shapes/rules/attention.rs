//! Attention, and what belongs to it.

use super::super::known::{Known, Sizes};
use super::super::size::Size;
use super::{Operation, Rule, number};

pub(super) fn rule(operator: &str) -> Option<Rule> {
    Some(match operator {
        "Attention" => attention,
        "LinearAttention" => linear,
        "RotaryEmbedding" => |op| Some(vec![op.like(0)]),
        _ => return None,
    })
}

/// Heads of an operand: those of its second axis, or those that are packed into its last.
struct Heads {
    count: Option<Size>,
    length: Option<Size>,
    width: Option<Size>,
}

fn heads(op: &Operation<'_>, index: usize, count: &str) -> Option<Heads> {
    match op.sizes(index).map(Vec::as_slice)? {
        [_, count, length, width] => Some(Heads { count: count.clone(), length: length.clone(), width: width.clone() }),
        [_, length, packed] => {
            let count = op.node.attribute(count).map(|count| Size::number(count.i()));
            let width = packed.as_ref().zip(count.as_ref()).and_then(|(packed, count)| packed.exactly_over(count));
            Some(Heads { count, length: length.clone(), width })
        }
        _ => None,
    }
}

/// The values that queries select among keys; the keys and values with those of the past before them; the scores.
fn attention(op: &Operation<'_>) -> Option<Vec<Known>> {
    let element = op.element(0);
    let unknown = || Some(vec![Known::of(element)]);
    let Some(((queries, keys), values)) =
        heads(op, 0, "q_num_heads").zip(heads(op, 1, "kv_num_heads")).zip(heads(op, 2, "kv_num_heads"))
    else {
        return unknown();
    };
    let batch = op.size(0, 0);
    let sizes = if op.rank(0) == Some(4) {
        vec![batch.clone(), queries.count.clone(), queries.length.clone(), values.width.clone()]
    } else {
        let packed = queries.count.as_ref().zip(values.width.as_ref()).and_then(|(count, width)| count.times(width));
        vec![batch.clone(), queries.length.clone(), packed]
    };
    let all = match (op.has(4), &keys.length) {
        (false, length) => length.clone(),
        (true, length) => op.size(4, 2).zip(length.as_ref()).and_then(|(past, length)| past.plus(length)),
    };
    let present = |index: usize, heads: &Heads| {
        let sizes = vec![batch.clone(), heads.count.clone(), all.clone(), heads.width.clone()];
        Known::of(op.element(index)).with(sizes)
    };
    let scores =
        Known::of(element).with(vec![batch.clone(), queries.count.clone(), queries.length.clone(), all.clone()]);
    Some(vec![Known::of(element).with(sizes), present(1, &keys), present(2, &values), scores])
}

/// As many values as there are queries, and the state of each head.
fn linear(op: &Operation<'_>) -> Option<Vec<Known>> {
    let counts = ["q_num_heads", "kv_num_heads"].map(|name| op.node.int(name, 0));
    let width = |index: usize| op.size(index, 2)?.exactly_over(&Size::number(counts[1]));
    let key_width = || op.size(0, 2)?.exactly_over(&Size::number(counts[0]));
    let packed = width(2).and_then(|width| width.times_number(counts[0]));
    let sizes: Sizes = vec![op.size(0, 0), op.size(0, 1), packed];
    let state = vec![op.size(0, 0), number(counts[1]), key_width(), width(2)];
    Some(vec![Known::of(op.element(0)).with(sizes), Known::of(op.element(3).or(op.element(0))).with(state)])
}
