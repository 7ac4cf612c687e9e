//! Losses between predictions and targets of one shape, averaged over all elements.

use gnp_model::graph::{Builder, Value};

/// mean (y − t)²
pub(super) fn mse(b: &Builder<'_>, y: &Value, t: &Value) -> Value {
    let difference = b.sub(y, t);
    let square = b.mul(&difference, &difference);
    b.reduce_all("ReduceMean", &square)
}

/// mean |y − t|
pub(super) fn l1(b: &Builder<'_>, y: &Value, t: &Value) -> Value {
    let difference = b.sub(y, t);
    let distance = b.unary("Abs", &difference);
    b.reduce_all("ReduceMean", &distance)
}

/// mean of ½d² where d = |y − t| ≤ 1, of d − ½ beyond: c·(d − ½c) with c = min(d, 1)
pub(super) fn huber(b: &Builder<'_>, y: &Value, t: &Value) -> Value {
    let difference = b.sub(y, t);
    let distance = b.unary("Abs", &difference);
    let one = b.number(1.0, y);
    let clipped = b.binary("Min", &distance, &one);
    let half = b.scale(&clipped, 0.5);
    let rest = b.sub(&distance, &half);
    let loss = b.mul(&clipped, &rest);
    b.reduce_all("ReduceMean", &loss)
}
