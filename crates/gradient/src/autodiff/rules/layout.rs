//! Operators that give elements another place and keep each, once or several times.

use super::{Cotangents, Entry, Op, Rule};
use gnp_base::Result;
use gnp_model::graph::{Builder, Dim, Fact, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::AttributeProto;

pub(super) const RULES: &[Entry] = &[
    ("", "Reshape", Rule::Vjp(reshape)),
    ("", "Flatten", Rule::Vjp(reshape)),
    ("", "Squeeze", Rule::Vjp(reshape)),
    ("", "Unsqueeze", Rule::Vjp(reshape)),
    ("", "Transpose", Rule::Vjp(transpose)),
    ("", "Expand", Rule::Vjp(expand)),
    ("", "Tile", Rule::Vjp(tile)),
    ("", "DepthToSpace", Rule::Vjp(depth_to_space)),
    ("", "SpaceToDepth", Rule::Vjp(space_to_depth)),
    ("", "ReverseSequence", Rule::Vjp(reverse_sequence)),
];

/// y = x in another shape  ⇒  x̄ = ȳ in the shape of x
fn reshape(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.reshape_like(dy, op.input(0)?)].into())
}

/// y = x with axes in the order p ⇒ x̄ = ȳ with axes in the order p⁻¹. Without `perm`, p reverses them and is its own
/// inverse.
fn transpose(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let x = op.input(0)?;
    let dx = match op.ints("perm") {
        Some(perm) => {
            let mut inverse = vec![0; perm.len()];
            for (i, &axis) in perm.iter().enumerate() {
                let place = usize::try_from(axis).ok().and_then(|axis| inverse.get_mut(axis));
                *place.ok_or_else(|| op.error(format!("its `perm` {perm:?} is no order of axes")))? = i as i64;
            }
            g.transpose(dy, &inverse)
        }
        None => g.node("Transpose", &[dy], vec![], g.fact(x)),
    };
    Ok([dx].into())
}

/// y = x, repeated along axes where it has the size 1  ⇒  x̄ = ȳ summed over them
fn expand(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.sum_to(dy, op.input(0)?)].into())
}

/// y = x, r times along each axis  ⇒  x̄ = Σ ȳ over the repetitions: ȳ has an axis of size n · r as two, of r and n.
fn tile(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, repeats) = (op.input(0)?, op.input(1)?);
    if let (Some(shape), Some(repeats)) = (g.fact(x).shape.clone(), g.ints(repeats).map(|repeats| repeats.to_vec())) {
        let (mut dims, mut axes) = (Vec::new(), Vec::new());
        for (dim, &times) in shape.into_iter().zip(&repeats) {
            if times != 1 {
                axes.push(dims.len() as i64);
                dims.push(Dim::Known(times));
            }
            dims.push(dim);
        }
        if axes.is_empty() {
            return Ok([dy.clone()].into());
        }
        if let Some(split) = g.reshape_dims(dy, dims) {
            return Ok([g.reduce("ReduceSum", &split, &axes, false)].into());
        }
    }
    // The shape (r₀, n₀, r₁, n₁, …) made as the graph runs.
    let shape = g.shape_of(x);
    let last = g.int64s(&[1]);
    let ints = |shape| Fact { element: DataType::Int64, shape };
    let rank = g.fact(x).rank().map_or(Dim::Unknown, |rank| Dim::Known(rank as i64));
    let columns = [repeats, &shape]
        .map(|v| g.node("Unsqueeze", &[v, &last], vec![], ints(Some(vec![rank.clone(), Dim::Known(1)]))));
    let pairs = g.reshape(g.concat(&[&columns[0], &columns[1]], 1), &[-1]);
    let split = g.reshape_to(dy, &pairs, Fact { element: g.fact(dy).element, shape: None });
    let [zero, two] = [0, 2].map(|i| g.int64(i));
    let count = g.node("Size", &[&pairs], vec![], ints(Some(vec![])));
    let axes = g.node("Range", &[&zero, &count, &two], vec![], ints(Some(vec![rank])));
    Ok([g.node("ReduceSum", &[&split, &axes], vec![AttributeProto::int("keepdims", 0)], g.fact(x))].into())
}

/// y = blocks of channels laid out in space ⇒ x̄ = ȳ with the blocks back in channels. `SpaceToDepth` has the order of
/// channels of the mode DCR, (block, channel); CRD is (channel, block).
fn depth_to_space(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, size) = (op.input(0)?, op.int("blocksize", 1));
    let dx = g.node("SpaceToDepth", &[dy], vec![AttributeProto::int("blocksize", size)], g.fact(x));
    match op.string("mode", "DCR") {
        "DCR" => Ok([dx].into()),
        "CRD" => {
            let [kept, block, left] = [0, size * size, -1].map(|i| g.int64s(&[i]));
            let shape = g.concat_ints(&[&kept, &block, &g.size_of(dy, 1), &left]);
            let fact = Fact { element: g.fact(x).element, shape: Some(vec![Dim::Unknown; 4]) };
            let split = g.reshape_to(&dx, &shape, fact);
            Ok([g.reshape_like(g.transpose(&split, &[0, 2, 1, 3]), x)].into())
        }
        mode => Err(op.error(format!("its mode {mode} is none of DCR and CRD"))),
    }
}

/// y = blocks of space laid out in channels  ⇒  x̄ = ȳ with the blocks back in space, by the same order of channels
fn space_to_depth(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let fact = g.fact(op.input(0)?);
    Ok([g.node("DepthToSpace", &[dy], op.attribute.clone(), fact)].into())
}

/// y = x with the first nᵢ steps of sequence i reversed  ⇒  x̄ = ȳ with them reversed again
fn reverse_sequence(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let fact = g.fact(op.input(0)?);
    Ok([g.node("ReverseSequence", &[dy, op.input(1)?], op.attribute.clone(), fact)].into())
}
