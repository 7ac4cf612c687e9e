//! Sums, products and powers of operands that broadcast.

use super::{Cotangents, Entry, Op, Rule};
use gnp_base::Result;
use gnp_model::graph::{Builder, Fact, Value};
use gnp_model::onnx::DataType;

pub(super) const RULES: &[Entry] = &[
    ("", "Add", Rule::Vjp(sum)),
    ("", "Sum", Rule::Vjp(sum)),
    ("", "Mean", Rule::Vjp(mean)),
    ("", "Sub", Rule::Vjp(sub)),
    ("", "Mul", Rule::Vjp(mul)),
    ("", "Div", Rule::Vjp(div)),
    ("", "Neg", Rule::Vjp(neg)),
    ("", "Pow", Rule::Vjp(pow)),
    ("", "Mod", Rule::Vjp(modulo)),
    ("", "Range", Rule::Vjp(range)),
];

/// y = Σᵢ xᵢ  ⇒  x̄ᵢ = ȳ
fn sum(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok(Cotangents::of(op.inputs().iter().map(|x| Some(g.sum_to(dy, x.as_ref()?)))))
}

/// y = Σᵢ xᵢ / n  ⇒  x̄ᵢ = ȳ / n
fn mean(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    sum(op, &g.scale(dy, 1.0 / op.inputs().len() as f64), g)
}

/// y = a − b  ⇒  ā = ȳ,  b̄ = −ȳ
fn sub(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (a, b) = (op.input(0)?, op.input(1)?);
    let db = g.sum_to(dy, b);
    Ok([g.sum_to(dy, a), g.neg(&db)].into())
}

/// y = a · b  ⇒  ā = ȳ · b,  b̄ = ȳ · a
fn mul(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (a, b) = (op.input(0)?, op.input(1)?);
    let (da, db) = (g.mul_by(dy, b), g.mul_by(dy, a));
    Ok([g.sum_to(&da, a), g.sum_to(&db, b)].into())
}

/// y = a / b  ⇒  ā = ȳ / b,  b̄ = −ȳ · y / b
fn div(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (a, b, y) = (op.input(0)?, op.input(1)?, op.output(0)?);
    let da = g.div_by(dy, b);
    let db = g.sum_to(g.mul_by(&da, y), b);
    Ok([g.sum_to(&da, a), g.neg(&db)].into())
}

/// y = −x  ⇒  x̄ = −ȳ
fn neg(_: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.neg(dy)].into())
}

/// y = aᵇ ⇒ ā = ȳ · b · aᵇ⁻¹ (0 where b = 0), b̄ = ȳ · y · ln a (0 where a = 0 and b ≥ 0). The exponent may be of
/// another type.
fn pow(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (a, b, y) = (op.input(0)?, op.input(1)?, op.output(0)?);
    if let Some(exponent) = g.known_number(b)
        && !op.wants(1)
    {
        let da = power_of_number(exponent, [a, y, dy], g);
        return Ok(Cotangents::of([da.map(|da| g.sum_to(&da, a))]));
    }
    let (element, element_b) = (g.fact(a).element, g.fact(b).element);
    let exponent = g.cast(b, element);
    let zero = g.number(0.0, &exponent);
    // Where b = 0 any finite power will do: a⁰.
    let lower = g.add(&exponent, g.mask(g.compare("Equal", &exponent, &zero), a));
    let slope = g.mul(&exponent, g.binary("Pow", a, g.plus(&lower, -1.0)));
    let da = g.sum_to(g.mul_by(dy, &slope), a);

    // Where a = 0 and b ≥ 0, the logarithm of 1 in place of that of 0.
    let at_zero = g.compare("Equal", a, &zero);
    let not_negative = g.compare("GreaterOrEqual", &exponent, &zero);
    let guard = g.mask(g.compare("And", &at_zero, &not_negative), a);
    let slope = g.mul(y, g.unary("Log", g.add(a, &guard)));
    Ok([da, g.cast(g.sum_to(g.mul_by(dy, &slope), b), element_b)].into())
}

/// The cotangent of a in y = aᶜ for a number c, not yet summed to a's shape; powers with a faster form take it.
fn power_of_number(c: f64, [a, y, dy]: [&Value; 3], g: &Builder<'_>) -> Option<Value> {
    let scaled = g.scale(dy, c);
    Some(if c == 0.0 {
        return None;
    } else if c == 1.0 {
        scaled
    } else if c == 2.0 {
        g.mul_by(&scaled, a)
    } else if c == 0.5 {
        g.div_by(&scaled, y)
    } else {
        g.mul_by(&scaled, g.binary("Pow", a, g.number(c - 1.0, a)))
    })
}

/// y = a − b · q, q the quotient without its fraction  ⇒  ā = ȳ,  b̄ = −ȳ · q
fn modulo(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (a, b, y) = (op.input(0)?, op.input(1)?, op.output(0)?);
    let db = g.mul_by(dy, g.div(g.sub(y, a), b));
    Ok([g.sum_to(dy, a), g.sum_to(&db, b)].into())
}

/// y\[i\] = start + i · step ⇒ start̄ = Σᵢ ȳ\[i\], step̄ = Σᵢ i · ȳ\[i\]; the limit only decides how many elements
/// there are
fn range(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let start = op.input(0)?;
    let (element, fact) = (g.fact(start).element, g.fact(dy));
    let count = g.node("Size", &[dy], vec![], Fact::with_sizes(DataType::Int64, &[]));
    let (zero, one) = (g.int64(0), g.int64(1));
    let steps = g.node("Range", &[&zero, &count, &one], vec![], fact.with_element(DataType::Int64));
    let weighted = g.mul_by(dy, g.cast(&steps, element));
    let scalars = [g.reduce_all("ReduceSum", dy), g.reduce_all("ReduceSum", &weighted)];
    let [start, step] = scalars.map(Some);
    Ok(Cotangents::of([start, None, step]))
}
