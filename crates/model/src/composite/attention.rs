//! Scaled dot-product attention (Vaswani et al., [arXiv:1706.03762](https://arxiv.org/abs/1706.03762)), as the standard
//! has it from operator set 23 on.

use super::mask::{Bias, places, places_of};
use super::{cache, define, heads, input};
use crate::graph::{Builder, Dim, Fact, Value};
use crate::onnx::DataType;
use crate::onnx::proto::NodeProto;

/// Queries, keys and values, [batch, heads, length, width] each.
pub(super) struct Operands {
    pub queries: Value,
    pub keys: Value,
    pub values: Value,
}

/// [Attention](https://onnx.ai/onnx/operators/onnx__Attention.html): Y = softmax(scale · Q Kᵀ + mask) V for each head.
///
/// Q, K and V are [batch, heads, length, width], or [batch, length, heads · width] with the numbers of heads as
/// attributes. A query that is kept from all keys has the value 0.
pub(super) fn standard(node: &NodeProto, b: &Builder<'_>) -> Option<()> {
    let given = [input(node, 0)?, input(node, 1)?, input(node, 2)?];
    let counts = ["q_num_heads", "kv_num_heads", "kv_num_heads"].map(|name| node.int(name, 0));
    let is_packed = match b.fact(&given[0]).rank() {
        Some(rank @ (3 | 4)) => rank == 3,
        Some(_) => return None,
        None => counts[0] > 0,
    };
    if is_packed && counts.iter().any(|count| *count < 1) {
        return None;
    }
    let split = |i: usize| if is_packed { heads::apart(&given[i], counts[i], b) } else { given[i].clone() };
    let (queries, mut keys, mut values) = (split(0), split(1), split(2));
    let past = input(node, 4).zip(input(node, 5)).filter(|_| !cache::is_empty(node, b));
    if let Some((key, value)) = &past {
        (keys, values) = (b.concat(&[key, &keys], 2), b.concat(&[value, &values], 2));
    }
    let (keys, values) = (define(node, 1, keys, b), define(node, 2, values, b));

    let element = b.fact(&queries).element;
    let mut bias = Bias::new(element);
    if let Some(mask) = input(node, 3) {
        add_mask(&mask, &keys, &mut bias, b);
    }
    Order::of(node, past.map(|(key, _)| key)).restrict(&queries, &keys, &mut bias, b);
    let operands = Operands { queries, keys, values };

    let mode = node.int("qk_matmul_output_mode", 0);
    let returned = |stage: i64, scores: Value| if mode == stage { define(node, 3, scores, b) } else { scores };
    let scores = returned(0, operands.scores(node.attribute("scale").map(|scale| scale.f().into()), b));
    let scores = returned(1, capped(node, scores, b));
    if mode == 2 {
        define(node, 3, bias.value().map_or_else(|| scores.clone(), |bias| b.add(&scores, bias)), b);
    }
    let precision = node.attribute("softmax_precision").and_then(|precision| i32::try_from(precision.i()).ok());
    let precision = precision.and_then(|precision| DataType::try_from(precision).ok()).unwrap_or(element);
    let (probabilities, kept) = bias.softmax(&scores, precision, b);
    if mode == 3 {
        define(node, 3, kept.as_ref().map_or_else(|| probabilities.clone(), |kept| b.mul_by(&probabilities, kept)), b);
    }
    let values = b.cast(operands.select(&probabilities, kept.as_ref(), b), element);
    define(node, 0, if is_packed { heads::together(&values, b) } else { values }, b);
    Some(())
}

impl Operands {
    /// scale · Q Kᵀ for each head; the scale is width^−½, where none is given.
    pub(super) fn scores(&self, scale: Option<f64>, b: &Builder<'_>) -> Value {
        let width = b.fact(&self.queries).dim(-1).and_then(Dim::known);
        let scaled = match (scale, width) {
            (Some(scale), _) => b.scale(&self.queries, scale),
            (None, Some(width)) => b.scale(&self.queries, 1.0 / (width.max(1) as f64).sqrt()),
            (None, None) => {
                let width = b.cast_like(b.size_of(&self.queries, -1), &self.queries);
                b.div_by(&self.queries, b.unary("Sqrt", width))
            }
        };
        b.matmul(scaled, b.transpose_last(heads::repeated(&self.keys, &self.queries, b)))
    }

    /// The values, weighted by `probabilities`; 0 for queries for which `kept` is 0.
    pub(super) fn select(&self, probabilities: &Value, kept: Option<&Value>, b: &Builder<'_>) -> Value {
        let values = heads::repeated(&self.values, &self.queries, b);
        let selected = b.matmul(b.cast_like(probabilities, &values), &values);
        match kept {
            Some(kept) => b.mul_by(&selected, b.cast_like(kept, &selected)),
            None => selected,
        }
    }
}

/// The scale that a node of com.microsoft gives, or a LinearAttention; 0 is none.
pub(super) fn scale(node: &NodeProto) -> Option<f64> {
    Some(f64::from(node.float("scale", 0.0))).filter(|scale| *scale != 0.0)
}

/// c · tanh(x / c) of scores x, with the node's softcap for c; x where it has none.
pub(super) fn capped(node: &NodeProto, x: Value, b: &Builder<'_>) -> Value {
    let c = f64::from(node.float("softcap", 0.0));
    if c > 0.0 { b.scale(b.unary("Tanh", b.scale(x, 1.0 / c)), c) } else { x }
}

/// A mask of truth values, or of numbers. Where its last axis is shorter than there are keys, the rest is masked.
fn add_mask(mask: &Value, keys: &Value, bias: &mut Bias, b: &Builder<'_>) {
    let is_bool = b.fact(mask).element == DataType::Bool;
    let mask = if is_bool { bias.of(mask, b) } else { mask.clone() };
    let [own, all] =
        [b.fact(&mask).dim(-1).cloned(), b.fact(keys).dim(2).cloned()].map(|dim| dim.unwrap_or(Dim::Unknown));
    if own.is(&all) {
        return bias.add_mask(&mask, b);
    }
    let missing = match own.known().zip(all.known()) {
        Some((own, all)) => b.int64s(&[all - own]),
        None => b.sub(b.size_of(keys, 2), b.size_of(&mask, -1)),
    };
    let pads = b.concat_ints(&[&b.int64s(&[0]), &missing]);
    let mut fact = Fact::clone(&b.fact(&mask));
    if let Some(last) = fact.shape.as_mut().and_then(|shape| shape.last_mut()) {
        *last = all;
    }
    let never = b.number(f64::NEG_INFINITY, &mask);
    bias.add_mask(&b.node("Pad", &[&mask, &pads, &never, &b.int64s(&[-1])], vec![], fact), b);
}

/// Which keys a query may see, by their places.
struct Order {
    is_causal: bool,
    /// How far before and behind its place a query sees.
    window: [Option<i64>; 2],
    past: Option<Value>,
    /// How many of the keys of each sample there are.
    lengths: Option<Value>,
}

impl Order {
    fn of(node: &NodeProto, past: Option<Value>) -> Self {
        let window = ["left_window_size", "right_window_size"].map(|side| node.int(side, -1));
        Self {
            is_causal: node.int("is_causal", 0) != 0,
            window: window.map(|size| (size >= 0).then_some(size)),
            past,
            lengths: input(node, 6),
        }
    }

    /// Masks the keys that a query may not see: query i is at the place i + the number of keys that come before all
    /// queries.
    fn restrict(&self, queries: &Value, keys: &Value, bias: &mut Bias, b: &Builder<'_>) {
        let lengths = self.lengths.as_ref().map(|lengths| b.reshape(lengths, &[-1, 1, 1, 1]));
        if self.is_causal || self.window != [None; 2] {
            let [mut query, key] = places_of(queries, keys, b);
            let before = match (&self.past, &lengths) {
                (Some(past), _) => Some(b.size_of(past, 2)),
                (None, Some(lengths)) => Some(b.sub(lengths, b.size_of(queries, 2))),
                (None, None) => None,
            };
            if let Some(before) = before {
                query = b.add(&query, &before);
            }
            let [left, right] = self.window;
            let right = if self.is_causal { Some(0) } else { right };
            if let Some(right) = right {
                let last = if right == 0 { query.clone() } else { b.add(&query, b.int64(right)) };
                let allowed = b.compare("LessOrEqual", &key, last);
                // With no keys missing, a query sees at least the first.
                if lengths.is_none() { bias.allow(&allowed, b) } else { bias.allow_some(&allowed, b) }
            }
            if let Some(left) = left {
                bias.allow_some(&b.compare("GreaterOrEqual", &key, b.sub(&query, b.int64(left))), b);
            }
        }
        if let Some(lengths) = &lengths {
            bias.allow_some(&b.compare("Less", places(keys, 2, b), lengths), b);
        }
    }
}
