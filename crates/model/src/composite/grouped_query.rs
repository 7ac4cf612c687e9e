//! Grouped-query attention (Ainslie et al., [arXiv:2305.13245](https://arxiv.org/abs/2305.13245)), as ONNX Runtime's own
//! operator of com.microsoft has it and its tools for language models write it.

use super::attention::{Operands, capped, scale};
use super::mask::{Bias, places, places_of};
use super::multi_head::in_three;
use super::rotary::turned;
use super::{cache, define, heads, input, output};
use crate::graph::{Builder, Dim, Value};
use crate::onnx::proto::NodeProto;

/// GroupQueryAttention of queries, keys and values, [batch, length, heads · width] each, or packed into the first input:
/// rotated by their places, softmax(scale · Q Kᵀ) V over the keys up to that of the query.
///
/// A sample is padded behind its end, so that no query within it sees a key beyond; what queries beyond it give is of no
/// use to anyone. A past is covered where it is known to be empty; caches of whole numbers, norms of queries and keys
/// inside, and scores that are returned are not, nor is a cache of a window that something reads.
pub(super) fn grouped_query_attention(node: &NodeProto, b: &Builder<'_>) -> Option<()> {
    let counts = ["num_heads", "kv_num_heads"].map(|name| node.int(name, 0));
    let are_groups = counts.iter().all(|count| *count > 0) && counts[0] % counts[1] == 0;
    if !are_groups || !is_covered(node, b) {
        return None;
    }
    let [queries, keys, values] = operands(node, counts, b)?;
    let [queries, keys] = rotated(node, [queries, keys], b)?;
    let (keys, values) = (define(node, 1, keys, b), define(node, 2, values, b));

    let mut bias = Bias::new(b.fact(&queries).element);
    if let Some(added) = input(node, 10) {
        bias.add_mask(&added, b);
    }
    let [query, key] = places_of(&queries, &keys, b);
    bias.allow(&b.compare("LessOrEqual", &key, &query), b);
    let window = node.int("local_window_size", -1);
    if window > 0 {
        bias.allow(&b.compare("Less", b.sub(&query, &key), b.int64(window)), b);
    }
    let operands = Operands { queries, keys, values };
    let scores = capped(node, operands.scores(scale(node), b), b);
    let selected = match sink(node, &scores, b) {
        Some(sink) => {
            let masked = bias.value().map_or_else(|| scores.clone(), |bias| b.add(&scores, bias));
            operands.select(&beside(&masked, &sink, b), None, b)
        }
        None => {
            let (probabilities, kept) = bias.softmax(&scores, b.fact(&operands.queries).element, b);
            operands.select(&probabilities, kept.as_ref(), b)
        }
    };
    define(node, 0, heads::together(&selected, b), b);
    Some(())
}

fn is_covered(node: &NodeProto, b: &Builder<'_>) -> bool {
    let is_plain = (12..node.input.len()).all(|i| input(node, i).is_none()) && output(node, 3).is_none();
    let is_causal = node.int("causal", 1) != 0;
    // Beside a sink, a query that sees no key would have to be told apart.
    let has_sink = input(node, 11).is_some() || is_smooth(node);
    let is_told = !has_sink || input(node, 10).is_none();
    // A cache of a window holds less than all keys, which is to be told of those that are handed on.
    let hands_on = node.int("sliding_window_cache", 0) == 0 || [1, 2].iter().all(|&i| output(node, i).is_none());
    cache::is_empty(node, b) && is_plain && is_causal && is_told && hands_on
}

/// Queries, keys and values, [batch, heads, length, width].
fn operands(node: &NodeProto, [queries, keys]: [i64; 2], b: &Builder<'_>) -> Option<[Value; 3]> {
    let parts = match (input(node, 0)?, input(node, 1), input(node, 2)) {
        (query, Some(key), Some(value)) => [query, key, value],
        (packed, None, None) => {
            let heads = keys.checked_mul(2)?.checked_add(queries)?;
            let width = b.fact(&packed).dim(2).and_then(Dim::known).filter(|packed| packed % heads == 0)? / heads;
            in_three(&packed, 2, Some(&[queries, keys, keys].map(|count| count * width)), b)?
        }
        _ => return None,
    };
    let counts = [queries, keys, keys];
    Some(std::array::from_fn(|i| heads::apart(&parts[i], counts[i], b)))
}

/// Queries and keys, rotated by their places where the node does so.
fn rotated(node: &NodeProto, operands: [Value; 2], b: &Builder<'_>) -> Option<[Value; 2]> {
    if node.int("do_rotary", 0) == 0 {
        return Some(operands);
    }
    let tables = [input(node, 7)?, input(node, 8)?];
    let rotated = b.fact(&tables[0]).dim(1).and_then(Dim::known).map(|half| 2 * half);
    let positions = input(node, 9).unwrap_or_else(|| b.unsqueeze(places(&operands[0], 2, b), &[0]));
    let angles = tables.map(|table| b.unsqueeze(b.gather(table, &positions, 0), &[1]));
    let is_interleaved = node.int("rotary_interleaved", 0) != 0;
    Some(operands.map(|operand| turned(&operand, angles.clone(), rotated, is_interleaved, b)))
}

/// A score that each head has beside those of the keys, whose share of the softmax selects nothing: [heads, 1, 1], or a
/// scalar.
fn sink(node: &NodeProto, scores: &Value, b: &Builder<'_>) -> Option<Value> {
    match input(node, 11) {
        Some(sink) => Some(b.unsqueeze(sink, &[1, 2])),
        None => is_smooth(node).then(|| b.number(0.0, scores)),
    }
}

/// Whether there is a score of 0 beside the others.
fn is_smooth(node: &NodeProto) -> bool {
    node.int("smooth_softmax", 0) > 0
}

/// The softmax of `scores` and of a score beside them, without the latter's share: with s for it, Σ eˣ / (Σ eˣ + eˢ) of
/// what the softmax of the scores alone is.
fn beside(scores: &Value, sink: &Value, b: &Builder<'_>) -> Value {
    let all = b.reduce("ReduceLogSumExp", scores, &[-1], true);
    b.mul(b.unary("Softmax", scores), b.unary("Sigmoid", b.sub(all, sink)))
}
