//! Softmax and its logarithm, along one axis.

use super::{Cotangents, Entry, Op, Rule};
use gnp_base::Result;
use gnp_model::graph::{Builder, Value};

pub(super) const RULES: &[Entry] = &[("", "Softmax", Rule::Vjp(softmax)), ("", "LogSoftmax", Rule::Vjp(log_softmax))];

/// y = softmax x  ⇒  x̄ = y · (ȳ − Σ ȳ·y)
fn softmax(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let y = op.output(0)?;
    let weighted = g.mul(dy, y);
    let sum = g.reduce("ReduceSum", &weighted, &[op.int("axis", -1)], true);
    Ok([g.sub(&weighted, g.mul_by(y, &sum))].into())
}

/// y = x − ln Σ eˣ  ⇒  x̄ = ȳ − eʸ · Σ ȳ
fn log_softmax(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let probabilities = g.unary("Exp", op.output(0)?);
    let sum = g.reduce("ReduceSum", dy, &[op.int("axis", -1)], true);
    Ok([g.sub(dy, g.mul_by(&probabilities, &sum))].into())
}
