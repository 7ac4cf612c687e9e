//! Determinants.

use super::sampling::count_to;
use super::{Cotangents, Entry, Op, Rule};
use gnp_base::Result;
use gnp_model::graph::{Builder, Dim, Fact, Value};
use gnp_model::onnx::DataType;

pub(super) const RULES: &[Entry] = &[("", "Det", Rule::Vjp(det))];

/// y = det X ⇒ X̄ᵢⱼ = ȳ (−1)^(i + j) det (X without row i and column j), which is right of singular matrices too.
/// (There is no operator for an inverse.)
fn det(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let x = op.input(0)?;
    let fact = g.fact(x);
    let (element, n) = (fact.element, fact.dim(-1).and_then(Dim::known).or(fact.dim(-2).and_then(Dim::known)));
    let dys = g.reshape(dy, &[-1, 1, 1]);
    if n == Some(1) {
        return Ok([g.reshape_like(dy, x)].into());
    }
    let size = n.map_or_else(|| g.size_of(x, -1), |n| g.int64s(&[n]));
    let (one, any) = (g.int64s(&[1]), g.int64s(&[-1]));
    let dim = |less: i64| n.map_or(Dim::Unknown, |n| Dim::Known(n - less));
    let shape = g.concat_ints(&[&any, &size, &size]);
    let fact = Fact { element, shape: Some(vec![Dim::Unknown, dim(0), dim(0)]) };
    let matrices = g.reshape_to(x, shape, fact);
    // The places that are left without each one.
    let (left_out, kept) = (g.unsqueeze(count_to(&size, g), &[1]), count_to(&g.sub(&size, &one), g));
    let kept = g.add(&kept, g.cast(g.compare("GreaterOrEqual", &kept, &left_out), DataType::Int64));
    let minors = g.gather(g.gather(matrices, &kept, 2), &kept, 1);
    let fact = Fact { element, shape: Some(vec![Dim::Unknown, dim(0), dim(0)]) };
    let cofactors = g.node("Det", &[&g.transpose(minors, &[0, 1, 3, 2, 4])], vec![], fact);
    let place = count_to(&size, g);
    let is_odd = g.binary("Mod", g.add(g.unsqueeze(&place, &[1]), &place), g.int64s(&[2]));
    let sign = g.minus_from(1.0, g.scale(g.cast(is_odd, element), 2.0));
    Ok([g.reshape_like(g.mul(g.mul(cofactors, sign), dys), x)].into())
}
