//! What keeps queries from keys.

use crate::graph::{Builder, Dim, Fact, Value};
use crate::onnx::DataType;

/// A tensor that is added to the scores, and broadcasts to their shape, [batch, heads, queries, keys].
pub(super) struct Bias {
    value: Option<Value>,
    /// Whether it may keep a query from all keys.
    may_be_empty: bool,
    element: DataType,
}

impl Bias {
    /// Nothing yet, for scores of a type.
    pub(super) fn new(element: DataType) -> Self {
        Self { value: None, may_be_empty: false, element }
    }

    /// What is added.
    pub(super) fn value(&self) -> Option<&Value> {
        self.value.as_ref()
    }

    /// Adds finite numbers.
    pub(super) fn add(&mut self, bias: &Value, b: &Builder<'_>) {
        let bias = b.cast(bias, self.element);
        self.value = Some(match self.value.take() {
            Some(value) => b.add(&value, &bias),
            None => bias,
        });
    }

    /// Adds numbers, −∞ perhaps among them.
    pub(super) fn add_mask(&mut self, mask: &Value, b: &Builder<'_>) {
        self.may_be_empty = true;
        self.add(mask, b);
    }

    /// Adds −∞ where `allowed` does not hold; it holds somewhere for each query.
    pub(super) fn allow(&mut self, allowed: &Value, b: &Builder<'_>) {
        let mask = self.of(allowed, b);
        self.add(&mask, b);
    }

    /// Adds −∞ where `allowed` does not hold.
    pub(super) fn allow_some(&mut self, allowed: &Value, b: &Builder<'_>) {
        self.may_be_empty = true;
        self.allow(allowed, b);
    }

    /// 0 where `allowed` holds, −∞ elsewhere.
    pub(super) fn of(&self, allowed: &Value, b: &Builder<'_>) -> Value {
        let [zero, never] = [0.0, f64::NEG_INFINITY].map(|number| b.number_of(number, self.element));
        b.select(allowed, zero, never)
    }

    /// Softmax of `scores` with this added, computed in the type `precision`; and, where there may be queries without a
    /// key, 1 for each query, and 0 for those, whose probabilities are then not as they should be, 0, but finite.
    /// (Softmax of −∞ alone is not a number, and neither is its gradient.)
    pub(super) fn softmax(self, scores: &Value, precision: DataType, b: &Builder<'_>) -> (Value, Option<Value>) {
        let (bias, kept) = match self.value {
            Some(bias) if self.may_be_empty => {
                let highest = b.reduce("ReduceMax", &bias, &[-1], true);
                let is_empty = b.compare("Equal", highest, b.number_of(f64::NEG_INFINITY, self.element));
                let kept = b.minus_from(1.0, b.mask(&is_empty, &bias));
                (Some(b.select(&is_empty, b.number_of(0.0, self.element), &bias)), Some(kept))
            }
            bias => (bias, None),
        };
        let masked =
            bias.map_or_else(|| scores.clone(), |bias| b.node("Add", &[scores, &bias], vec![], b.fact(scores)));
        let probabilities = b.unary("Softmax", b.cast(masked, precision));
        (b.cast(probabilities, self.element), kept)
    }
}

/// The places of queries, [queries, 1], and of keys, [keys], both [batch, heads, length, width].
pub(super) fn places_of(queries: &Value, keys: &Value, b: &Builder<'_>) -> [Value; 2] {
    let key = places(keys, 2, b);
    [b.unsqueeze(places(queries, 2, b), &[1]), key]
}

/// The places along an axis of `x`, a vector of int64.
pub(super) fn places(x: &Value, axis: i64, b: &Builder<'_>) -> Value {
    let dim = b.fact(x).dim(axis).cloned().unwrap_or(Dim::Unknown);
    let count = match dim.known() {
        Some(size) => b.int64(size),
        None => b.squeeze(b.size_of(x, axis), &[0]),
    };
    let fact = Fact { element: DataType::Int64, shape: Some(vec![dim]) };
    b.node("Range", &[&b.int64(0), &count, &b.int64(1)], vec![], fact)
}
