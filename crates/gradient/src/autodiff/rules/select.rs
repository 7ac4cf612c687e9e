//! Operators that hand on one of their operands.

use super::{Cotangents, Entry, Op, Rule};
use crate::whole::{DOMAIN, STRAIGHT_THROUGH};
use gnp_base::Result;
use gnp_model::graph::{Builder, Value};
use gnp_model::onnx::proto::AttributeProto;

pub(super) const RULES: &[Entry] = &[
    ("", "Identity", Rule::Vjp(identity)),
    ("", "BitCast", Rule::Vjp(bit_cast)),
    ("", "Cast", Rule::Vjp(cast)),
    ("", "CastLike", Rule::Vjp(cast)),
    ("", "Where", Rule::Vjp(select)),
    ("", "Max", Rule::Vjp(extreme)),
    ("", "Min", Rule::Vjp(extreme)),
    ("", "Clip", Rule::Vjp(clip)),
    ("", "OneHot", Rule::Vjp(one_hot)),
    (DOMAIN, STRAIGHT_THROUGH, Rule::Vjp(straight_through)),
];

/// y = x  ⇒  x̄ = ȳ
fn identity(_: &Op, dy: &Value, _: &Builder<'_>) -> Result<Cotangents> {
    Ok([dy.clone()].into())
}

/// y = q, which stands for x  ⇒  x̄ = ȳ, and q has no cotangent
fn straight_through(_: &Op, dy: &Value, _: &Builder<'_>) -> Result<Cotangents> {
    Ok([dy.clone()].into())
}

/// y = x in another floating-point type  ⇒  x̄ = ȳ in the type of x
fn cast(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let element = g.fact(op.input(0)?).element;
    Ok([g.cast(dy, element)].into())
}

/// y = the bits of x  ⇒  x̄ = ȳ, where they stand for the same numbers
fn bit_cast(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    if g.fact(op.input(0)?).element != g.fact(dy).element {
        return Err(op.refused("it takes the bits of numbers for others, which has no derivative"));
    }
    Ok([dy.clone()].into())
}

/// y = a where c, b elsewhere  ⇒  ā = ȳ where c,  b̄ = ȳ where not c
fn select(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (condition, a, b) = (op.input(0)?, op.input(1)?, op.input(2)?);
    let chosen = g.mask(condition, dy);
    let other = g.minus_from(1.0, &chosen);
    let (da, db) = (g.mul_by(dy, &chosen), g.mul_by(dy, &other));
    Ok(Cotangents::of([None, Some(g.sum_to(&da, a)), Some(g.sum_to(&db, b))]))
}

/// y = maxᵢ xᵢ, or the minimum  ⇒  x̄ᵢ = ȳ / n where xᵢ is one of the n operands equal to y, 0 elsewhere
fn extreme(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (operands, y): (Vec<_>, _) = (op.inputs().iter().flatten().collect(), op.output(0)?);
    if let [x] = operands[..] {
        return Ok([g.sum_to(dy, x)].into());
    }
    let mut masks = Vec::with_capacity(operands.len());
    for x in &operands {
        masks.push(g.mask(g.compare("Equal", y, x), dy));
    }
    let mut count = masks[0].clone();
    for mask in &masks[1..] {
        count = g.add(&count, mask);
    }
    let share = g.div_by(dy, &count);
    Ok(Cotangents::of(operands.iter().zip(&masks).map(|(x, mask)| Some(g.sum_to(g.mul_by(&share, mask), x)))))
}

/// y = min(max(x, low), high) ⇒ x̄ = ȳ where low < x < high (0 at the bounds); the cotangent of low is Σ ȳ where x <
/// low, that of high Σ ȳ where x > high, or all of it where there is no room between them
fn clip(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let x = op.input(0)?;
    let mut sides = [(op.optional(1), "Greater", "Less"), (op.optional(2), "Less", "Greater")]
        .map(|(bound, inner, outer)| bound.map(|bound| [inner, outer].map(|than| g.compare(than, x, bound))));
    if let ([Some([_, below]), Some([_, above])], Some(low), Some(high)) = (&mut sides, op.optional(1), op.optional(2))
    {
        let room = g.compare("Less", low, high);
        let none = g.unary("Not", &room);
        *below = g.compare("And", &*below, &room);
        *above = g.compare("Or", &*above, &none);
    }
    let inside = match &sides {
        [Some([a, _]), Some([b, _])] => g.compare("And", a, b),
        [Some([inside, _]), None] | [None, Some([inside, _])] => inside.clone(),
        [None, None] => return Ok([dy.clone()].into()),
    };
    let part = |condition: &Value| g.mul_by(dy, g.mask(condition, dy));
    let dx = part(&inside);
    let shares = sides.map(|side| side.map(|[_, outside]| part(&outside)));
    let [low, high] = shares.map(|share| share.map(|share| g.reduce_all("ReduceSum", &share)));
    Ok(Cotangents::of([Some(dx), low, high]))
}

/// y = on where the index is, off elsewhere  ⇒  for the pair (off, on) the sums of ȳ over the places where each is
fn one_hot(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (indices, depth, fact) = (op.input(0)?, op.input(1)?, g.fact(dy));
    let (zero, one) = (g.number(0.0, dy), g.number(1.0, dy));
    let [zero, one] = [zero, one].map(|number| g.unsqueeze(&number, &[0]));
    let values = g.concat(&[&zero, &one], 0);
    let axis = AttributeProto::int("axis", op.int("axis", -1));
    let hot = g.node("OneHot", &[indices, depth, &values], vec![axis], fact);
    let (on, all) = (g.reduce_all("ReduceSum", g.mul_by(dy, &hot)), g.reduce_all("ReduceSum", dy));
    let off = g.sub(&all, &on);
    let [off, on] = [off, on].map(|sum| g.unsqueeze(&sum, &[0]));
    Ok(Cotangents::of([None, None, Some(g.concat(&[&off, &on], 0))]))
}
