//! Elementary functions of one variable.

use super::{Cotangents, Entry, Op, Rule};
use gnp_base::Result;
use gnp_model::graph::{Builder, Value};
use std::f64::consts::FRAC_2_SQRT_PI;

pub(super) const RULES: &[Entry] = &[
    ("", "Abs", Rule::Vjp(abs)),
    ("", "Sqrt", Rule::Vjp(sqrt)),
    ("", "Reciprocal", Rule::Vjp(reciprocal)),
    ("", "Exp", Rule::Vjp(exp)),
    ("", "Log", Rule::Vjp(log)),
    ("", "Erf", Rule::Vjp(erf)),
    ("", "Sin", Rule::Vjp(sin)),
    ("", "Cos", Rule::Vjp(cos)),
    ("", "Tan", Rule::Vjp(tan)),
    ("", "Asin", Rule::Vjp(asin)),
    ("", "Acos", Rule::Vjp(acos)),
    ("", "Atan", Rule::Vjp(atan)),
    ("", "Sinh", Rule::Vjp(sinh)),
    ("", "Cosh", Rule::Vjp(cosh)),
    ("", "Asinh", Rule::Vjp(asinh)),
    ("", "Acosh", Rule::Vjp(acosh)),
    ("", "Atanh", Rule::Vjp(atanh)),
];

/// y = |x|  ⇒  x̄ = ȳ · sign x (0 at 0)
fn abs(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.mul(dy, g.unary("Sign", op.input(0)?))].into())
}

/// y = √x  ⇒  x̄ = ȳ / 2y
fn sqrt(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.div(g.scale(dy, 0.5), op.output(0)?)].into())
}

/// y = 1 / x  ⇒  x̄ = −ȳ · y²
fn reciprocal(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let y = op.output(0)?;
    Ok([g.neg(g.mul(dy, g.mul(y, y)))].into())
}

/// y = eˣ  ⇒  x̄ = ȳ · y
fn exp(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.mul(dy, op.output(0)?)].into())
}

/// y = ln x  ⇒  x̄ = ȳ / x
fn log(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.div(dy, op.input(0)?)].into())
}

/// y = erf x  ⇒  x̄ = ȳ · 2/√π · e^(−x²)
fn erf(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let bell = g.unary("Exp", g.neg(square(op, g)?));
    Ok([g.mul(dy, g.scale(bell, FRAC_2_SQRT_PI))].into())
}

/// y = sin x  ⇒  x̄ = ȳ · cos x
fn sin(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.mul(dy, g.unary("Cos", op.input(0)?))].into())
}

/// y = cos x  ⇒  x̄ = −ȳ · sin x
fn cos(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.neg(g.mul(dy, g.unary("Sin", op.input(0)?)))].into())
}

/// y = tan x  ⇒  x̄ = ȳ · (1 + y²)
fn tan(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let y = op.output(0)?;
    Ok([g.mul(dy, g.plus(g.mul(y, y), 1.0))].into())
}

/// y = arcsin x  ⇒  x̄ = ȳ / √(1 − x²)
fn asin(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.div(dy, g.unary("Sqrt", g.minus_from(1.0, square(op, g)?)))].into())
}

/// y = arccos x  ⇒  x̄ = −ȳ / √(1 − x²)
fn acos(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    asin(op, &g.neg(dy), g)
}

/// y = arctan x  ⇒  x̄ = ȳ / (1 + x²)
fn atan(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.div(dy, g.plus(square(op, g)?, 1.0))].into())
}

/// y = sinh x  ⇒  x̄ = ȳ · cosh x
fn sinh(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.mul(dy, g.unary("Cosh", op.input(0)?))].into())
}

/// y = cosh x  ⇒  x̄ = ȳ · sinh x
fn cosh(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.mul(dy, g.unary("Sinh", op.input(0)?))].into())
}

/// y = arsinh x  ⇒  x̄ = ȳ / √(x² + 1)
fn asinh(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.div(dy, g.unary("Sqrt", g.plus(square(op, g)?, 1.0)))].into())
}

/// y = arcosh x  ⇒  x̄ = ȳ / √(x² − 1)
fn acosh(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.div(dy, g.unary("Sqrt", g.plus(square(op, g)?, -1.0)))].into())
}

/// y = artanh x  ⇒  x̄ = ȳ / (1 − x²)
fn atanh(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.div(dy, g.minus_from(1.0, square(op, g)?))].into())
}

/// x²
fn square(op: &Op, g: &Builder<'_>) -> Result<Value> {
    let x = op.input(0)?;
    Ok(g.mul(x, x))
}
