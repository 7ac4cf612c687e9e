//! Tensors of several heads: [batch, heads, length, width].

use crate::graph::{Builder, Dim, Fact, Value};

/// [batch, length, heads · width] as [batch, heads, length, width].
pub(super) fn apart(x: &Value, heads: i64, b: &Builder<'_>) -> Value {
    b.transpose(beside(x, heads, b), &[0, 2, 1, 3])
}

/// [batch, length, heads · width] as [batch, length, heads, width].
pub(super) fn beside(x: &Value, heads: i64, b: &Builder<'_>) -> Value {
    let fact = b.fact(x);
    let dim = |axis: i64| fact.dim(axis).cloned().unwrap_or(Dim::Unknown);
    let width = dim(2).known().map_or(Dim::Unknown, |packed| Dim::Known(packed / heads.max(1)));
    let shape = Some(vec![dim(0), dim(1), Dim::Known(heads), width]);
    // Reshape takes a size of 0 for that of the input.
    b.reshape_to(x, b.int64s(&[0, 0, heads, -1]), Fact { element: fact.element, shape })
}

/// [batch, heads, length, width] as [batch, length, heads · width].
pub(super) fn together(x: &Value, b: &Builder<'_>) -> Value {
    packed(&b.transpose(x, &[0, 2, 1, 3]), b)
}

/// [batch, length, heads, width] as [batch, length, heads · width].
pub(super) fn packed(x: &Value, b: &Builder<'_>) -> Value {
    let fact = b.fact(x);
    let dim = |axis: i64| fact.dim(axis).cloned().unwrap_or(Dim::Unknown);
    let both = dim(2).known().zip(dim(3).known()).map_or(Dim::Unknown, |(heads, width)| Dim::Known(heads * width));
    b.reshape_to(x, b.int64s(&[0, 0, -1]), Fact { element: fact.element, shape: Some(vec![dim(0), dim(1), both]) })
}

/// `x` with each of its heads as often, one behind the other, as `like` has heads for it.
pub(super) fn repeated(x: &Value, like: &Value, b: &Builder<'_>) -> Value {
    let [from, to] = [x, like].map(|value| b.fact(value).dim(1).cloned().unwrap_or(Dim::Unknown));
    if from.is(&to) {
        return x.clone();
    }
    let fact = b.fact(x);
    let dim = |axis: i64| fact.dim(axis).cloned().unwrap_or(Dim::Unknown);
    let times = from.known().zip(to.known()).map(|(from, to)| to / from.max(1));
    let count = match times {
        Some(times) => b.int64s(&[times]),
        None => b.div(b.size_of(like, 1), b.size_of(x, 1)),
    };
    let one = b.int64s(&[1]);
    let shape = vec![dim(0), from, times.map_or(Dim::Unknown, Dim::Known), dim(2), dim(3)];
    let grouped = Fact { element: fact.element, shape: Some(shape) };
    let sizes = b.concat_ints(&[&one, &one, &count, &one, &one]);
    let expanded = b.node("Expand", &[&b.unsqueeze(x, &[2]), &sizes], vec![], grouped);
    let shape = vec![dim(0), to, dim(2), dim(3)];
    b.reshape_dims(&expanded, shape.clone()).unwrap_or_else(|| {
        let sizes = [b.size_of(x, 0), b.size_of(like, 1), b.size_of(x, 2), b.size_of(x, 3)];
        let sizes = b.concat_ints(&sizes.iter().collect::<Vec<_>>());
        b.reshape_to(&expanded, &sizes, Fact { element: fact.element, shape: Some(shape) })
    })
}
