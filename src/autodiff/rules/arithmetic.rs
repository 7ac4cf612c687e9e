//! Sums, differences, products and quotients of operands that broadcast.

use super::{Cotangents, Entry, Op, Rule};
use crate::Result;
use crate::graph::{TypedBuilder, Value};

pub(super) const RULES: &[Entry] = &[
    ("", "Add", Rule::Vjp(add)),
    ("", "Sub", Rule::Vjp(sub)),
    ("", "Mul", Rule::Vjp(mul)),
    ("", "Div", Rule::Vjp(div)),
    ("", "Neg", Rule::Vjp(neg)),
    ("", "Identity", Rule::Vjp(identity)),
];

/// y = a + b  ⇒  ā = ȳ,  b̄ = ȳ
fn add(op: &Op, dy: &Value, g: &mut TypedBuilder<'_>) -> Result<Cotangents> {
    let (a, b) = (op.input(0)?, op.input(1)?);
    Ok([g.sum_to(dy, a), g.sum_to(dy, b)].into())
}

/// y = a − b  ⇒  ā = ȳ,  b̄ = −ȳ
fn sub(op: &Op, dy: &Value, g: &mut TypedBuilder<'_>) -> Result<Cotangents> {
    let (a, b) = (op.input(0)?, op.input(1)?);
    let db = g.sum_to(dy, b);
    Ok([g.sum_to(dy, a), g.neg(&db)].into())
}

/// y = a · b  ⇒  ā = ȳ · b,  b̄ = ȳ · a
fn mul(op: &Op, dy: &Value, g: &mut TypedBuilder<'_>) -> Result<Cotangents> {
    let (a, b) = (op.input(0)?, op.input(1)?);
    let (da, db) = (g.mul(dy, b), g.mul(dy, a));
    Ok([g.sum_to(&da, a), g.sum_to(&db, b)].into())
}

/// y = a / b  ⇒  ā = ȳ / b,  b̄ = −ȳ · y / b
fn div(op: &Op, dy: &Value, g: &mut TypedBuilder<'_>) -> Result<Cotangents> {
    let (a, b, y) = (op.input(0)?, op.input(1)?, op.output(0)?);
    let da = g.div(dy, b);
    let db = g.mul(&da, y);
    let db = g.sum_to(&db, b);
    Ok([g.sum_to(&da, a), g.neg(&db)].into())
}

/// y = −x  ⇒  x̄ = −ȳ
fn neg(_: &Op, dy: &Value, g: &mut TypedBuilder<'_>) -> Result<Cotangents> {
    Ok([g.neg(dy)].into())
}

/// y = x  ⇒  x̄ = ȳ
fn identity(_: &Op, dy: &Value, _: &mut TypedBuilder<'_>) -> Result<Cotangents> {
    Ok([dy.clone()].into())
}
