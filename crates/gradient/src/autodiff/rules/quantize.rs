//! Numbers in few bits. What is rounded has no gradient; the scales that it is made with have one.

use super::{Cotangents, Entry, Op, Rule};
use gnp_base::Result;
use gnp_model::graph::{Builder, Dim, Value};

pub(super) const RULES: &[Entry] = &[
    ("", "DequantizeLinear", Rule::Vjp(dequantize)),
    ("", "DynamicQuantizeLinear", Rule::Definition(dynamic_scale)),
    ("", "QuantizeLinear", Rule::Zero),
];

/// y = (q − z) s, where s is one number, or one for each place or block along an axis  ⇒  s̄ = Σ ȳ (q − z)
fn dequantize(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (q, scale, y) = (op.input(0)?, op.input(1)?, op.output(0)?);
    // The operator itself says what its zero points and blocks are.
    let ones = g.filled(1.0, scale);
    let inputs: Vec<&Value> = [q, &ones].into_iter().chain(op.optional(2)).collect();
    let unit = g.node("DequantizeLinear", &inputs, op.attribute.clone(), g.fact(y));
    let product = g.mul(dy, g.cast_like(unit, dy));
    let fact = g.fact(scale);
    let sum = match (fact.rank(), g.fact(y).rank(), op.int("block_size", 0)) {
        (Some(0), ..) => g.reduce_all("ReduceSum", &product),
        (Some(1), Some(rank), 0) if fact.is_single() || rank > 0 => {
            let axis = op.int("axis", 1).rem_euclid(rank.max(1) as i64);
            let others: Vec<i64> = (0..rank as i64).filter(|i| *i != axis || fact.is_single()).collect();
            g.reduce("ReduceSum", &product, &others, false)
        }
        (Some(_), Some(rank), block @ 1..=0x8000_0000) => {
            let axis = op.int("axis", 1).rem_euclid(rank.max(1) as i64);
            sum_blocks(&product, axis, block, g).ok_or_else(|| op.unknown("the size of the axis that is in blocks"))?
        }
        _ => return Err(op.unknown("the shape of its scale or its output")),
    };
    Ok(Cotangents::of([None, Some(g.cast_like(g.reshape_like(sum, scale), scale))]))
}

/// Sums over blocks along an axis; none where its size is not known.
fn sum_blocks(x: &Value, axis: i64, block: i64, g: &Builder<'_>) -> Option<Value> {
    let size = g.fact(x).dim(axis).and_then(Dim::known)?;
    let count = (size + block - 1) / block;
    let filled = g.pad_along(x, &[0], &[count * block - size], &[axis]);
    let mut shape = g.fact(&filled).shape.clone()?;
    shape.splice(axis as usize..=axis as usize, [Dim::Known(count), Dim::Known(block)]);
    Some(g.reduce("ReduceSum", g.reshape_dims(&filled, shape)?, &[axis + 1], false))
}

/// q, s, z = x in 8 bits, with s = (max (x, 0) − min (x, 0)) / 255
fn dynamic_scale(op: &Op, g: &Builder<'_>) -> Result<Vec<Value>> {
    let x = op.input(0)?;
    let zero = g.number(0.0, x);
    let highest = g.binary("Max", g.reduce_all("ReduceMax", x), &zero);
    let lowest = g.binary("Min", g.reduce_all("ReduceMin", x), &zero);
    Ok(vec![op.output(0)?.clone(), g.scale(g.sub(highest, lowest), 1.0 / 255.0)])
}
