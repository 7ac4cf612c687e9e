//! Rotary position embedding (Su et al., [arXiv:2104.09864](https://arxiv.org/abs/2104.09864)).

use super::mask::places;
use super::{define, heads, input};
use crate::graph::{Builder, Dim, Fact, Value};
use crate::onnx::DataType;
use crate::onnx::proto::{AttributeProto, NodeProto};
use std::sync::Arc;

/// [RotaryEmbedding](https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html) of X, [batch, heads, length, width], or
/// [batch, length, heads · width] with the number of heads as an attribute. Cosines and sines are rows of tables, one
/// for each position in `position_ids`; without these they are those of each place, [batch, length, half a width].
pub(super) fn standard(node: &NodeProto, b: &Builder<'_>) -> Option<()> {
    let tables = [input(node, 1)?, input(node, 2)?];
    let positions = input(node, 3);
    let angles = match &positions {
        Some(positions) => tables.map(|table| b.gather(table, positions, 0)),
        None => tables,
    };
    rotate(node, angles, b)
}

/// The same of the domain com.microsoft, whose positions may be one number: that of the first place.
pub(super) fn microsoft(node: &NodeProto, b: &Builder<'_>) -> Option<()> {
    if node.int("is_packed_batching", 0) != 0 || node.float("scale", 1.0) != 1.0 {
        return None;
    }
    let (x, positions, tables) = (input(node, 0)?, input(node, 1)?, [input(node, 2)?, input(node, 3)?]);
    let fact = b.fact(&positions);
    let positions = match fact.rank()? {
        1 => {
            let length = if b.fact(&x).rank()? == 4 { 2 } else { 1 };
            b.unsqueeze(b.add(places(&x, length, b), b.cast(&positions, DataType::Int64)), &[0])
        }
        2 => positions,
        _ => return None,
    };
    rotate(node, tables.map(|table| b.gather(table, &positions, 0)), b)
}

/// Rotates each pair (x₁, x₂) of a head to (x₁ cos − x₂ sin, x₁ sin + x₂ cos). The pairs are neighbours, or elements of
/// the two halves; beyond `rotary_embedding_dim` elements stay as they are.
fn rotate(node: &NodeProto, angles: [Value; 2], b: &Builder<'_>) -> Option<()> {
    let x = input(node, 0)?;
    let is_packed = match b.fact(&x).rank()? {
        3 => true,
        4 => false,
        _ => return None,
    };
    let rotated = Some(node.int("rotary_embedding_dim", 0)).filter(|rotated| *rotated > 0);
    // [batch, length, heads, width] and [batch, heads, length, width] have the angles at different axes.
    let (apart, axis) = if is_packed { (unpacked(node, &x, &angles[0], rotated, b)?, 2) } else { (x.clone(), 1) };
    let angles = angles.map(|angle| b.unsqueeze(angle, &[axis]));
    let whole = turned(&apart, angles, rotated, node.int("interleaved", 0) != 0, b);
    define(node, 0, if is_packed { heads::packed(&whole, b) } else { whole }, b);
    Some(())
}

/// Rotates the pairs along the last of four axes of `x`, the first `rotated` elements where that is given, by the
/// cosines and sines in `angles`, which broadcast to one half of them.
pub(super) fn turned(
    x: &Value,
    angles: [Value; 2],
    rotated: Option<i64>,
    is_interleaved: bool,
    b: &Builder<'_>,
) -> Value {
    let [cos, sin] = angles.map(|angle| b.cast_like(angle, x));
    let (turning, rest) = match rotated {
        Some(rotated) if b.fact(x).dim(3).and_then(Dim::known) != Some(rotated) => {
            (b.slice(x, &[0], &[rotated], &[3], &[1]), Some(b.slice(x, &[rotated], &[i64::MAX], &[3], &[1])))
        }
        _ => (x.clone(), None),
    };
    let [first, second] = if is_interleaved { neighbours(&turning, b) } else { halves(&turning, b) };
    let real = b.sub(b.mul(&first, &cos), b.mul(&second, &sin));
    let imaginary = b.add(b.mul(&first, &sin), b.mul(&second, &cos));
    let turned = if is_interleaved {
        let pairs = b.concat(&[&b.unsqueeze(real, &[4]), &b.unsqueeze(imaginary, &[4])], 4);
        let shape = b.int64s(&[0, 0, 0, -1]);
        b.reshape_to(pairs, shape, Fact::clone(&b.fact(&turning)))
    } else {
        b.concat(&[&real, &imaginary], 3)
    };
    rest.map_or_else(|| turned.clone(), |rest| b.concat(&[&turned, &rest], 3))
}

/// [batch, length, heads · width] as [batch, length, heads, width]: where the number of heads is not given, a head is
/// as wide as its angles say.
fn unpacked(node: &NodeProto, x: &Value, angle: &Value, rotated: Option<i64>, b: &Builder<'_>) -> Option<Value> {
    match node.int("num_heads", 0) {
        0 if rotated.is_some() => None,
        0 => {
            let width = b.fact(angle).dim(-1).and_then(Dim::known).map(|half| 2 * half);
            let fact = b.fact(x);
            let dim = |axis: i64| fact.dim(axis).cloned().unwrap_or(Dim::Unknown);
            let count = dim(2).known().zip(width).map_or(Dim::Unknown, |(all, width)| Dim::Known(all / width.max(1)));
            let shape = Some(vec![dim(0), dim(1), count, width.map_or(Dim::Unknown, Dim::Known)]);
            let width = match width {
                Some(width) => b.int64s(&[width]),
                None => b.mul(b.size_of(angle, -1), b.int64s(&[2])),
            };
            let sizes = b.concat_ints(&[&b.int64s(&[0, 0, -1]), &width]);
            Some(b.reshape_to(x, sizes, Fact { element: fact.element, shape }))
        }
        count => (count > 0).then(|| heads::beside(x, count, b)),
    }
}

/// The two halves of each row.
fn halves(x: &Value, b: &Builder<'_>) -> [Value; 2] {
    let half = half(x, b);
    let mut parts = in_two(x, 3, half, b).into_iter();
    std::array::from_fn(|_| parts.next().unwrap_or_else(|| x.clone()))
}

/// The elements of each row with even places, and those with odd ones.
fn neighbours(x: &Value, b: &Builder<'_>) -> [Value; 2] {
    let fact = b.fact(x);
    let mut shape = fact.shape.clone().unwrap_or_default();
    shape.truncate(3);
    shape.extend([half(x, b), Dim::Known(2)]);
    let pairs = b.reshape_to(x, b.int64s(&[0, 0, 0, -1, 2]), Fact { element: fact.element, shape: Some(shape) });
    let mut parts = in_two(&pairs, 4, Dim::Known(1), b).into_iter();
    std::array::from_fn(|_| b.squeeze(parts.next().unwrap_or_else(|| x.clone()), &[4]))
}

fn half(x: &Value, b: &Builder<'_>) -> Dim {
    b.fact(x).dim(3).and_then(Dim::known).map_or(Dim::Unknown, |width| Dim::Known(width / 2))
}

/// The two halves of `x`, which are of size `half`, along an axis.
fn in_two(x: &Value, axis: usize, half: Dim, b: &Builder<'_>) -> Vec<Value> {
    let mut fact = Fact::clone(&b.fact(x));
    if let Some(dim) = fact.shape.as_mut().and_then(|shape| shape.get_mut(axis)) {
        *dim = half;
    }
    let fact = Arc::new(fact);
    let attributes = vec![AttributeProto::int("axis", axis as i64), AttributeProto::int("num_outputs", 2)];
    b.nodes("Split", &[x], attributes, vec![fact.clone(), fact])
}
