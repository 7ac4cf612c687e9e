//! Linear attention: a state in the place of keys and values (Katharopoulos et al.,
//! [arXiv:2006.16236](https://arxiv.org/abs/2006.16236); Yang et al.,
//! [arXiv:2312.06635](https://arxiv.org/abs/2312.06635) and [arXiv:2412.06464](https://arxiv.org/abs/2412.06464)).

use super::attention::scale;
use super::mask::places_of;
use super::{define, heads, input, output};
use crate::graph::{Builder, Dim, Fact, Value};
use crate::onnx::proto::NodeProto;

/// [LinearAttention](https://onnx.ai/onnx/operators/onnx__LinearAttention.html) for all steps at once. With Gₜ the sum
/// of the decays up to t and Eₜₛ = exp(Gₜ − Gₛ), the recurrence
///
/// Sₜ = exp(gₜ) Sₜ₋₁ + kₜ uₜᵀ, oₜ = scale · Sₜᵀ qₜ
///
/// is oₜ = scale · (Σₛ≤ₜ (qₜ · Eₜₛ kₛ) uₛ + S₀ᵀ exp(Gₜ) qₜ). What is written is u = v or, with the delta rule,
/// uₜ = βₜ (vₜ − Σₛ<ₜ (kₜ · Eₜₛ kₛ) uₛ − S₀ᵀ exp(Gₜ) kₜ): a triangular system, which takes the number of steps to be
/// known.
pub(super) fn linear_attention(node: &NodeProto, b: &Builder<'_>) -> Option<()> {
    let counts = [node.int("q_num_heads", 0), node.int("kv_num_heads", 0)];
    let rule = node.string("update_rule", "gated_delta");
    let given = [input(node, 0)?, input(node, 1)?, input(node, 2)?];
    let (decay, beta) = (input(node, 4), input(node, 5));
    let steps = b.fact(&given[0]).dim(1).and_then(Dim::known);
    let is_covered = counts.iter().all(|count| *count > 0)
        && rule.starts_with("gated") == decay.is_some()
        && rule.ends_with("delta") == beta.is_some()
        && (beta.is_none() || steps.is_some());
    if !is_covered {
        return None;
    }
    let [queries, keys, values] = [0, 1, 2].map(|i| heads::apart(&given[i], counts[i.min(1)], b));
    let past = input(node, 3).map(|state| b.cast_like(state, &keys));
    let decay = decay.map(|decay| {
        let each = heads::apart(&decay, counts[1], b);
        let fact = b.fact(&each);
        b.node("CumSum", &[&each, &b.int64(2)], vec![], fact)
    });

    let written = match &beta {
        None => values,
        Some(beta) => {
            let beta = b.unsqueeze(b.transpose(beta, &[0, 2, 1]), &[3]);
            let known = past.as_ref().map(|past| b.matmul(decayed(&keys, decay.as_ref(), b), past));
            let missing = known.map_or_else(|| values.clone(), |known| b.sub(&values, known));
            let overlap = Pairs { decay: decay.as_ref(), includes_itself: false }.of(&keys, &keys, b);
            solved(&b.mul(&overlap, &beta), &b.mul(missing, &beta), steps.unwrap_or_default(), b)
        }
    };
    if output(node, 1).is_some() {
        let last = decay.as_ref().map(|decay| b.slice(decay, &[-1], &[i64::MAX], &[2], &[1]));
        let left = match decay.as_ref().zip(last.as_ref()) {
            Some((decay, last)) => b.mul(&keys, b.unary("Exp", b.sub(last, decay))),
            None => keys.clone(),
        };
        let made = b.matmul(b.transpose_last(left), &written);
        let state = match (&past, last) {
            (Some(past), Some(last)) => b.add(made, b.mul(past, b.transpose_last(b.unary("Exp", last)))),
            (Some(past), None) => b.add(made, past),
            (None, _) => made,
        };
        let like = input(node, 3).unwrap_or_else(|| given[0].clone());
        define(node, 1, b.cast_like(state, like), b);
    }
    // Several heads of queries read one state.
    let shared = |x: &Value| heads::repeated(x, &queries, b);
    let decay = decay.as_ref().map(shared);
    let overlap = Pairs { decay: decay.as_ref(), includes_itself: true }.of(&queries, &shared(&keys), b);
    let mut read = b.matmul(overlap, shared(&written));
    if let Some(past) = &past {
        read = b.add(read, b.matmul(decayed(&queries, decay.as_ref(), b), shared(past)));
    }
    let read = match (scale(node), b.fact(&queries).dim(3).and_then(Dim::known)) {
        (Some(scale), _) => b.scale(&read, scale),
        (None, Some(width)) => b.scale(&read, 1.0 / (width.max(1) as f64).sqrt()),
        (None, None) => b.div_by(&read, b.unary("Sqrt", b.cast_like(b.size_of(&queries, -1), &read))),
    };
    define(node, 0, heads::together(&read, b), b);
    Some(())
}

/// exp(Gₜ) xₜ
fn decayed(x: &Value, decay: Option<&Value>, b: &Builder<'_>) -> Value {
    decay.map_or_else(|| x.clone(), |decay| b.mul(x, b.unary("Exp", decay)))
}

/// Pairs of a step t and one that is not later.
struct Pairs<'v> {
    /// Gₜ, [batch, heads, steps, width or 1].
    decay: Option<&'v Value>,
    /// Whether a step has a pair with itself.
    includes_itself: bool,
}

impl Pairs<'_> {
    /// xₜ · Eₜₛ yₛ of each pair, [batch, heads, steps, steps]; 0 of the others.
    fn of(&self, x: &Value, y: &Value, b: &Builder<'_>) -> Value {
        let [later, earlier] = places_of(x, x, b);
        let is_pair = b.compare(if self.includes_itself { "LessOrEqual" } else { "Less" }, earlier, later);
        let Some(decay) = self.decay else {
            let product = b.matmul(x, b.transpose_last(y));
            return b.mul_by(&product, b.mask(&is_pair, x));
        };
        let [earlier, later] = [2, 3];
        let difference = b.sub(b.unsqueeze(decay, &[later]), b.unsqueeze(decay, &[earlier]));
        // Beyond the pairs it may be large.
        let never = b.number(f64::NEG_INFINITY, x);
        let left = b.unary("Exp", b.select(b.unsqueeze(is_pair, &[2]), difference, never));
        if b.fact(decay).dim(3).and_then(Dim::known) == Some(1) {
            return b.mul(b.matmul(x, b.transpose_last(y)), b.squeeze(left, &[4]));
        }
        let product = b.mul(b.unsqueeze(x, &[later]), b.unsqueeze(y, &[earlier]));
        b.reduce("ReduceSum", b.mul(product, left), &[-1], false)
    }
}

/// u of u + N u = r, where N is triangular with zeros on its diagonal: r − N r + N² r − …, of which so many terms are
/// not 0 as there are rows, each product of (1 − N)(1 + N²)(1 + N⁴)… having twice as many.
fn solved(n: &Value, r: &Value, rows: i64, b: &Builder<'_>) -> Value {
    let (mut power, mut solution, mut terms) = (b.neg(n), r.clone(), 1);
    while terms < rows {
        if terms > 1 {
            power = b.matmul(&power, &power);
        }
        let fact = Fact::clone(&b.fact(&solution));
        let more = b.matmul(&power, &solution);
        solution = b.node("Add", &[&solution, &more], vec![], fact);
        terms *= 2;
    }
    solution
}
