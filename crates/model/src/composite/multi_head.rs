//! Attention as ONNX Runtime's own operators of com.microsoft have it: with the weights that make queries, keys and
//! values, or their biases, in the operator.

use super::attention::{Operands, scale};
use super::mask::{Bias, places, places_of};
use super::{cache, define, heads, input, output};
use crate::graph::{Builder, Dim, Fact, Value};
use crate::onnx::DataType;
use crate::onnx::proto::{AttributeProto, NodeProto};
use std::sync::Arc;

/// Attention: queries, keys and values are what weights, [features, 3 · heads · width], make of the input,
/// [batch, length, features].
///
/// A past is covered where it is known to be empty, rotary embeddings are not.
pub(super) fn attention(node: &NodeProto, b: &Builder<'_>) -> Option<()> {
    let (x, weights, count) = (input(node, 0)?, input(node, 1)?, node.int("num_heads", 0));
    let is_covered = count > 0 && cache::is_empty(node, b) && node.int("do_rotary", 0) == 0;
    if !is_covered {
        return None;
    }
    let mask = Padding::of(input(node, 3), &x, b)?;
    let product = b.matmul(&x, &weights);
    let projected = match input(node, 2) {
        Some(bias) => b.add(&product, bias),
        None => product,
    };
    let [queries, keys, values] = in_three(&projected, 2, node.ints("qkv_hidden_sizes"), b)?;
    let operands = Operands {
        queries: heads::apart(&queries, count, b),
        keys: heads::apart(&keys, count, b),
        values: heads::apart(&values, count, b),
    };
    if output(node, 1).is_some() {
        let both = [&operands.keys, &operands.values].map(|operand| b.unsqueeze(operand, &[0]));
        define(node, 1, b.concat(&[&both[0], &both[1]], 0), b);
    }
    attend(node, &operands, mask, input(node, 5), b);
    Some(())
}

/// MultiHeadAttention: queries, keys and values are [batch, length, heads · width] each, to which a bias of all three
/// may be added; keys and values may be [batch, heads, length, width].
///
/// A past is covered where it is known to be empty; packed operands, which ONNX Runtime has on CUDA alone, are not.
pub(super) fn multi_head_attention(node: &NodeProto, b: &Builder<'_>) -> Option<()> {
    let (query, count) = (input(node, 0)?, node.int("num_heads", 0));
    let has_no_cache = [8, 9].iter().all(|&i| input(node, i).is_none()) && output(node, 3).is_none();
    let is_covered = count > 0 && cache::is_empty(node, b) && has_no_cache;
    if !is_covered {
        return None;
    }
    let key = input(node, 1)?;
    let mask = Padding::of(input(node, 4), &query, b)?;
    let [queries, keys, values] = match (b.fact(&query).rank()?, b.fact(&key).rank()?, input(node, 2)) {
        (3, 3, Some(value)) => {
            let mut parts = [query, key, value];
            if let Some(bias) = input(node, 3) {
                let sizes: Option<Vec<i64>> =
                    parts.iter().map(|part| b.fact(part).dim(2).and_then(Dim::known)).collect();
                let biases = in_three(&bias, 0, sizes.as_deref(), b)?;
                parts = std::array::from_fn(|i| b.add(&parts[i], &biases[i]));
            }
            parts.map(|part| heads::apart(&part, count, b))
        }
        _ if input(node, 3).is_some() => return None,
        (3, 4, Some(value)) => [heads::apart(&query, count, b), key, value],
        _ => return None,
    };
    let (keys, values) = (define(node, 1, keys, b), define(node, 2, values, b));
    attend(node, &Operands { queries, keys, values }, mask, input(node, 5), b);
    Some(())
}

/// Appends softmax(scale · Q Kᵀ + masks + bias) V.
fn attend(node: &NodeProto, operands: &Operands, padding: Padding, added: Option<Value>, b: &Builder<'_>) {
    let element = b.fact(&operands.queries).element;
    let mut bias = Bias::new(element);
    if let Some(added) = added {
        bias.add_mask(&added, b);
    }
    padding.mask(f64::from(node.float("mask_filter_value", -10000.0)), &operands.keys, &mut bias, b);
    if node.int("unidirectional", 0) != 0 {
        let [query, key] = places_of(&operands.queries, &operands.keys, b);
        bias.allow(&b.compare("LessOrEqual", &key, query), b);
    }
    let scores = operands.scores(scale(node), b);
    let (probabilities, kept) = bias.softmax(&scores, element, b);
    let values = operands.select(&probabilities, kept.as_ref(), b);
    define(node, 0, heads::together(&values, b), b);
}

/// Which keys are padding: those for which a number that is not finite nor large is added to the scores.
enum Padding {
    None,
    /// How many keys of each sample are none, [batch].
    Lengths(Value),
    /// 1 for keys that are none, 0 for others, [batch, keys] or [batch, queries, keys].
    Mask(Value),
}

impl Padding {
    /// By the rank of the mask and, for vectors, whether they have an element for each sample; none where it is in
    /// another form.
    fn of(mask: Option<Value>, x: &Value, b: &Builder<'_>) -> Option<Self> {
        let Some(mask) = mask else { return Some(Self::None) };
        let fact = b.fact(&mask);
        match fact.rank()? {
            1 if fact.dim(0)?.is(b.fact(x).dim(0)?) => Some(Self::Lengths(mask)),
            2 | 3 => Some(Self::Mask(mask)),
            _ => None,
        }
    }

    fn mask(self, filter: f64, keys: &Value, bias: &mut Bias, b: &Builder<'_>) {
        let is_padding = match self {
            Self::None => return,
            Self::Lengths(lengths) => {
                let lengths = b.reshape(b.cast(&lengths, DataType::Int64), &[-1, 1, 1, 1]);
                b.compare("GreaterOrEqual", places(keys, 2, b), &lengths)
            }
            Self::Mask(mask) => {
                let axes: &[i64] = if b.fact(&mask).rank() == Some(2) { &[1, 2] } else { &[1] };
                b.unsqueeze(b.compare("LessOrEqual", &mask, b.number(0.0, &mask)), axes)
            }
        };
        let filter = b.scale(b.mask(&is_padding, keys), filter);
        bias.add(&filter, b);
    }
}

/// Three parts of `x` along an axis, of given sizes or equal ones.
pub(super) fn in_three(x: &Value, axis: usize, sizes: Option<&[i64]>, b: &Builder<'_>) -> Option<[Value; 3]> {
    let fact = b.fact(x);
    let part = |size: Option<i64>| {
        let mut fact = Fact::clone(&fact);
        if let Some(dim) = fact.shape.as_mut().and_then(|shape| shape.get_mut(axis)) {
            *dim = size.map_or(Dim::Unknown, Dim::Known);
        }
        Arc::new(fact)
    };
    let mut attributes = vec![AttributeProto::int("axis", axis as i64)];
    let parts = match sizes {
        Some(&[q, k, v]) if [q, k, v].iter().all(|size| (0..=i64::from(i32::MAX)).contains(size)) => {
            let sizes = b.int64s(&[q, k, v]);
            b.nodes("Split", &[x, &sizes], attributes, [q, k, v].map(|size| part(Some(size))).to_vec())
        }
        Some(_) => return None,
        None => {
            attributes.push(AttributeProto::int("num_outputs", 3));
            let size = fact.dim(axis as i64).and_then(Dim::known).map(|size| size / 3);
            b.nodes("Split", &[x], attributes, vec![part(size); 3])
        }
    };
    parts.try_into().ok()
}
