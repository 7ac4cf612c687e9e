//! Pools.

use super::window::{Padding, Window, spatial_sizes};
use super::{Cotangents, Entry, Op, Rule};
use gnp_base::Result;
use gnp_base::contract::functions::MAX_POOL_GRAD;
use gnp_model::graph::{Builder, Dim, Fact, Signature, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::AttributeProto;

pub(super) const RULES: &[Entry] = &[
    ("", "MaxPool", Rule::Vjp(max_pool)),
    ("", "AveragePool", Rule::Vjp(average_pool)),
    ("", "LpPool", Rule::Vjp(lp_pool)),
    ("", "MaxUnpool", Rule::Vjp(max_unpool)),
    ("", "GlobalMaxPool", Rule::Vjp(global_max_pool)),
    ("", "GlobalAveragePool", Rule::Vjp(global_average_pool)),
    ("", "GlobalLpPool", Rule::Vjp(global_lp_pool)),
];

/// y = x at the greatest element of each window  ⇒  x̄ = ȳ there. Among equals the first has it all, as in PyTorch.
///
/// Where that is, a second MaxPool says: the one of the forward pass stays in the faster form without indices.
fn max_pool(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let x = op.input(0)?;
    let (window, padding) = window(op, x, g)?;
    let overlaps = window.overlaps();
    let body = |g: &Builder<'_>, inputs: &[Value]| {
        let (x, dy) = (&inputs[0], &inputs[1]);
        let attributes = op.attribute.iter().filter(|a| a.name() != "storage_order").cloned().collect();
        let fact = g.fact(dy);
        let positions = fact.with_element(DataType::Int64).into();
        let outputs = g.nodes("MaxPool", &[x], attributes, vec![fact, positions]);
        at_positions(&outputs[1], overlaps, x, dy, g)
    };
    let dx = if padding.is_empty() {
        let attributes = window.all_attributes();
        let signature = Signature { kind: MAX_POOL_GRAD, inputs: &["x", "dy"], outputs: &["dx"], attributes };
        g.call(signature, &[x, dy], g.fact(x), body)
    } else {
        body(g, &[x.clone(), dy.clone()])
    };
    Ok([dx].into())
}

/// The same, where the greatest elements are at `positions`, as MaxPool returns them where rows come first.
pub(super) fn max_pool_at(positions: &Value, op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let kernel = op.ints("kernel_shape").ok_or_else(|| op.error("it has no `kernel_shape`"))?;
    let overlaps = Window::with_pads(op, kernel.to_vec())?.overlaps();
    Ok([at_positions(positions, overlaps, op.input(0)?, dy, g)].into())
}

/// `dy` at `positions` of zeros as `x`; positions of windows that overlap may be the same.
fn at_positions(positions: &Value, overlaps: bool, x: &Value, dy: &Value, g: &Builder<'_>) -> Value {
    let (indices, dy, zeros) = (g.reshape(positions, &[-1]), g.reshape(dy, &[-1]), g.zeros_like(x));
    let zeros = g.reshape(&zeros, &[-1]);
    g.reshape_like(scatter(&zeros, &indices, &dy, 0, overlaps, g), x)
}

/// `x` with `updates` at `indices` along `axis`, in its place or added to it.
fn scatter(x: &Value, indices: &Value, updates: &Value, axis: i64, adds: bool, g: &Builder<'_>) -> Value {
    let mut attributes = vec![AttributeProto::int("axis", axis)];
    if adds {
        attributes.push(AttributeProto::string("reduction", "add"));
    }
    g.node("ScatterElements", &[x, indices, updates], attributes, g.fact(x))
}

/// y = x at the places that were the greatest of each window, zeros elsewhere  ⇒  x̄ = ȳ there
fn max_unpool(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    if op.optional(2).is_some() {
        return Err(op.refused("its output has a shape of its own, in which engines read its indices differently"));
    }
    Ok([g.gather(g.reshape(dy, &[-1]), op.input(1)?, 0)].into())
}

/// y = Σ x / n over each window ⇒ x̄ = Σ ȳ / n over the windows that an element is in, where n is the size of the
/// window, or how much of it is not padding.
fn average_pool(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let x = op.input(0)?;
    let (window, padding) = window(op, x, g)?;
    let (with_pads, ceil) = (op.int("count_include_pad", 0) != 0, op.int("ceil_mode", 0) != 0);
    let is_padded = !padding.is_empty() || window.begin.iter().chain(&window.end).any(|pad| *pad != 0);
    let dy = if ceil || (is_padded && !with_pads) {
        g.div(dy, filled(&window, &padding, with_pads, x, dy, g))
    } else {
        dy.clone()
    };
    Ok([spread(&window, &padding, &dy, x, g)].into())
}

/// y = (Σ |x|ᵖ)¹ᐟᵖ over each window  ⇒  x̄ = x |x|ᵖ⁻² Σ ȳ y¹⁻ᵖ over the windows that an element is in; 0 where y is.
fn lp_pool(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, y) = (op.input(0)?, op.output(0)?);
    let (window, padding) = window(op, x, g)?;
    let (p, count) = (op.int("p", 2), window.size());
    let spread = spread(&window, &padding, &over_power(dy, y, p, g), x, g);
    Ok([g.mul(g.scale(&spread, count as f64), signed_power(x, p - 1, g))].into())
}

/// The window of a pool over `x`.
fn window(op: &Op, x: &Value, g: &Builder<'_>) -> Result<(Window, Padding)> {
    let kernel = op.ints("kernel_shape").ok_or_else(|| op.error("it has no `kernel_shape`"))?;
    Window::over(op, kernel.to_vec(), x, g)
}

/// Of each window that makes an element of `y`, the part that counts: that is not padding, or not beyond the padding.
/// In one plane, [1, 1, …].
fn filled(window: &Window, padding: &Padding, with_pads: bool, x: &Value, y: &Value, g: &Builder<'_>) -> Value {
    let rank = window.rank();
    let axes: Vec<i64> = (2..2 + rank as i64).collect();
    let plane =
        Fact { element: g.fact(x).element, shape: Some([vec![Dim::Known(1); 2], vec![Dim::Unknown; rank]].concat()) };
    let (one, ones, mut size) = (g.number(1.0, x), g.int64s(&[1, 1]), spatial_sizes(x, rank, g));
    let beyond = || window.strides.iter().map(|s| s - 1);
    let (begin, end): (Vec<i64>, Vec<i64>) = if with_pads {
        let pads: Vec<i64> = window.begin.iter().zip(&window.end).map(|(b, e)| b + e).collect();
        size = g.add(&size, g.int64s(&pads));
        (vec![0; rank], beyond().collect())
    } else {
        (window.begin.clone(), window.end.iter().zip(beyond()).map(|(end, beyond)| end + beyond).collect())
    };
    let all = g.node("Expand", &[&one, &g.concat(&[&ones, &size], 0)], vec![], plane.clone());
    let all = if with_pads { all } else { padding.apply(&all, g) };
    let all = g.pad(&all, &[&[0, 0], begin.as_slice()].concat(), &[&[0, 0], end.as_slice()].concat());
    let zeros = vec![0; rank];
    let unpadded = window.with(window.strides.clone(), zeros.clone(), zeros.clone());
    let filled = g.node("AveragePool", &[&all], unpadded.attributes(), plane.clone());
    let (starts, ends, axes) = (g.int64s(&zeros), spatial_sizes(y, rank, g), g.int64s(&axes));
    g.node("Slice", &[&filled, &starts, &ends, &axes], vec![], plane)
}

/// Each element of `dy` divided by the size of the window and added to all elements of `x` that its window had: the
/// adjoint of the mean over a window. It is a mean over a window, too, of `dy` with zeros between its elements where
/// the stride is not one.
fn spread(window: &Window, padding: &Padding, dy: &Value, x: &Value, g: &Builder<'_>) -> Value {
    let rank = window.rank();
    let ones = vec![1; rank];
    if window.kernel == window.strides && window.dilations == ones {
        let share = g.scale(dy, 1.0 / window.size() as f64);
        return window.unpad(&stretch(&share, &window.strides, true, g), padding, x, g);
    }
    let apart = stretch(dy, &window.strides, false, g);
    let reach: Vec<i64> = (0..rank).map(|axis| window.reach(axis)).collect();
    let zeros = vec![0; rank];
    let around = [&[0, 0], reach.as_slice()].concat();
    let padded = g.pad(&apart, &around, &around);
    let backward = window.with(ones, zeros.clone(), zeros);
    let fact = Fact::of(g.fact(x).element);
    window.unpad(&g.node("AveragePool", &[&padded], backward.attributes(), fact), padding, x, g)
}

/// `x` with each spatial axis longer by a factor: its elements repeated, or with zeros behind each.
fn stretch(x: &Value, factors: &[i64], repeat: bool, g: &Builder<'_>) -> Value {
    if factors.iter().all(|f| *f == 1) {
        return x.clone();
    }
    let rank = factors.len();
    let behind: Vec<i64> = (0..rank as i64).map(|axis| 3 + 2 * axis).collect();
    let columns = g.unsqueeze(x, &behind);
    let interleaved = |rest: i64, of: &dyn Fn(i64) -> i64| -> Vec<i64> {
        [1, 1].map(|_| rest).into_iter().chain(factors.iter().flat_map(|f| [rest, of(*f)])).collect()
    };
    let filled = if repeat {
        let shape = g.int64s(&interleaved(1, &|factor| factor));
        let fact = Fact::of(g.fact(x).element);
        g.node("Expand", &[&columns, &shape], vec![], fact)
    } else {
        let end = interleaved(0, &|factor| factor - 1);
        g.pad(&columns, &vec![0; end.len()], &end)
    };
    let times = [&[1, 1], factors].concat();
    let dims = g.fact(x).shape.clone();
    let longer = |(dim, times): (&Dim, &i64)| match dim {
        Dim::Known(size) => Dim::Known(size * times),
        dim if *times == 1 => dim.clone(),
        _ => Dim::Unknown,
    };
    let shape = dims.map(|dims| dims.iter().zip(&times).map(longer).collect());
    let fact = Fact { element: g.fact(x).element, shape };
    g.reshape_to(&filled, g.mul(g.shape_of(x), g.int64s(&times)), fact)
}

/// y = the greatest element of each plane  ⇒  x̄ = ȳ there. Among equals the first has it all, as in PyTorch.
fn global_max_pool(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let x = op.input(0)?;
    let planes = |value: &Value| {
        let dims =
            g.fact(value).shape.as_ref().and_then(|shape| Some(vec![shape.first()?.clone(), shape.get(1)?.clone()]));
        let dims = dims.unwrap_or(vec![Dim::Unknown; 2]);
        let fact = Fact { element: g.fact(value).element, shape: Some([dims, vec![Dim::Unknown]].concat()) };
        g.reshape_to(value, g.int64s(&[0, 0, -1]), fact)
    };
    let (flat, dy) = (planes(x), planes(dy));
    let index = g.fact(&dy).with_element(DataType::Int64);
    let index = g.node("ArgMax", &[&flat], vec![AttributeProto::int("axis", 2)], index);
    Ok([g.reshape_like(scatter(&g.zeros_like(&flat), &index, &dy, 2, false, g), x)].into())
}

/// y = Σ x / n over each plane of n elements  ⇒  x̄ = ȳ / n
fn global_average_pool(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let x = op.input(0)?;
    let count = match g.fact(x).rank() {
        Some(rank) => g.count(x, Some(&(2..rank as i64).collect::<Vec<_>>())),
        None => g.div(g.count(x, None), g.count(dy, None)),
    };
    Ok([g.expand_like(g.div(dy, &count), x)].into())
}

/// y = (Σ |x|ᵖ)¹ᐟᵖ over each plane  ⇒  x̄ = x |x|ᵖ⁻² ȳ y¹⁻ᵖ; 0 where y is.
fn global_lp_pool(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, y) = (op.input(0)?, op.output(0)?);
    let p = op.int("p", 2);
    Ok([g.mul(signed_power(x, p - 1, g), over_power(dy, y, p, g))].into())
}

/// ȳ y¹⁻ᵖ for y ≥ 0, and ȳ where y is 0.
fn over_power(dy: &Value, y: &Value, p: i64, g: &Builder<'_>) -> Value {
    if p == 1 {
        return dy.clone();
    }
    let is_zero = g.compare("Equal", y, g.number(0.0, y));
    g.div(dy, signed_power(&g.add(y, g.mask(&is_zero, y)), p - 1, g))
}

/// |x|ⁿ with the sign of x; the sign alone for n = 0.
fn signed_power(x: &Value, n: i64, g: &Builder<'_>) -> Value {
    match n {
        0 => g.unary("Sign", x),
        1 => x.clone(),
        _ => {
            let (size, sign) = (g.unary("Abs", x), g.unary("Sign", x));
            g.mul(g.binary("Pow", &size, g.number(n as f64, x)), &sign)
        }
    }
}
