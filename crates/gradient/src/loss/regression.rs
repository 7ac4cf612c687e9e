//! Losses between predictions and targets of one shape, averaged over all elements.

use gnp_model::graph::{Builder, Value};

/// mean (y − t)²
pub(super) fn mse(b: &Builder<'_>, y: &Value, t: &Value) -> Value {
    let difference = b.sub(y, t);
    b.reduce_all("ReduceMean", b.mul(&difference, &difference))
}

/// mean |y − t|
pub(super) fn l1(b: &Builder<'_>, y: &Value, t: &Value) -> Value {
    b.reduce_all("ReduceMean", b.unary("Abs", b.sub(y, t)))
}

/// mean of ½d² where d = |y − t| ≤ 1, of d − ½ beyond: c·(d − ½c) with c = min(d, 1)
pub(super) fn huber(b: &Builder<'_>, y: &Value, t: &Value) -> Value {
    let distance = b.unary("Abs", b.sub(y, t));
    let clipped = b.binary("Min", &distance, b.number(1.0, y));
    let half = b.scale(&clipped, 0.5);
    b.reduce_all("ReduceMean", b.mul(&clipped, b.sub(&distance, &half)))
}
