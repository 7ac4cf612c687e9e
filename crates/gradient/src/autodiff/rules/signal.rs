//! Discrete Fourier transforms.

use super::sampling::count_to;
use super::{Cotangents, Entry, Op, Rule};
use gnp_base::Result;
use gnp_model::graph::{Builder, Dim, Fact, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::AttributeProto;
use std::f64::consts::TAU;

pub(super) const RULES: &[Entry] = &[("", "DFT", Rule::Vjp(dft)), ("", "STFT", Rule::Definition(stft))];

/// y = F x, with the matrix F of e^(−2πi·jk/n), or with its inverse, F* / n  ⇒  x̄ = F* ȳ, or F ȳ / n: the transform in
/// the other direction, but for the factor.
///
/// x is cut to n elements, or filled with zeros, and so is x̄, the other way round. With `onesided` y has half of the
/// frequencies, so ȳ is 0 at the others; and where x has half of them, x̄ counts twice what stands for two.
fn dft(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let transform = Transform::of(op, g)?;
    let Transform { inverts, halves, .. } = transform;
    let (x, y) = (op.input(0)?, op.output(0)?);
    let axis = &transform.axis;
    // As many as are transformed.
    let count = match op.optional(1) {
        Some(length) => g.reshape(g.cast(length, DataType::Int64), &[1]),
        None => size_at(if halves && inverts { y } else { x }, axis, g),
    };
    let number = g.cast_like(&count, dy);
    let dx = match (halves, inverts) {
        (true, true) => {
            let half = g.div(transform.apply(dy, true, false, g), &number);
            let once = Half { of: &half, axis, count: &count }.counted_once(g);
            g.sub(g.scale(&half, 2.0), once)
        }
        (_, true) => g.div(transform.apply(dy, false, false, g), &number),
        (true, false) => g.mul(transform.apply(&resized(dy, &count, axis, g), false, true, g), &number),
        (false, false) => g.mul(transform.apply(dy, false, true, g), &number),
    };
    let is_real = g.fact(x).dim(-1).and_then(Dim::known);
    let dx = match is_real {
        Some(1) => g.slice(dx, &[0], &[1], &[-1], &[1]),
        Some(_) => dx,
        None => {
            let parts = g.size_of(x, -1);
            g.node("Slice", &[&dx, &g.int64s(&[0]), &parts, &g.int64s(&[-1])], vec![], g.fact(x))
        }
    };
    let dx = resized(&dx, &size_at(x, axis, g), axis, g);
    Ok([g.reshape_like(dx, x)].into())
}

/// A node that transforms.
struct Transform<'o> {
    op: &'o Op,
    /// A vector of one element.
    axis: Value,
    inverts: bool,
    halves: bool,
}

impl<'o> Transform<'o> {
    fn of(op: &'o Op, g: &Builder<'_>) -> Result<Self> {
        let axis = match (op.optional(2), op.attribute("axis")) {
            (Some(axis), _) => g.reshape(axis, &[1]),
            (None, Some(axis)) => g.int64s(&[axis.i()]),
            // What is left out is axis 1 in operator sets before 20, and the last but one from then on.
            (None, None) if g.fact(op.input(0)?).rank() == Some(3) => g.int64s(&[1]),
            (None, None) => {
                return Err(op.refused("it does not name its axis, for which operator sets before 20 have another"));
            }
        };
        Ok(Self { op, axis, inverts: op.int("inverse", 0) != 0, halves: op.int("onesided", 0) != 0 })
    }

    /// A transform of all of `x` along the same axis. All frequencies come of complex numbers, half of them of real
    /// ones.
    fn apply(&self, x: &Value, halves: bool, inverts: bool, g: &Builder<'_>) -> Value {
        let mut attributes: Vec<AttributeProto> =
            self.op.attribute.iter().filter(|a| a.name() == "axis").cloned().collect();
        let flags = [("inverse", inverts), ("onesided", halves)];
        attributes.extend(flags.into_iter().filter(|(_, set)| *set).map(|(name, _)| AttributeProto::int(name, 1)));
        let left_out = Value::from("");
        let inputs: Vec<&Value> = match self.op.optional(2) {
            Some(axis) => vec![x, &left_out, axis],
            None => vec![x],
        };
        let fact = g.fact(x);
        g.node(
            "DFT",
            &inputs,
            attributes,
            Fact { element: fact.element, shape: fact.rank().map(|rank| vec![Dim::Unknown; rank]) },
        )
    }
}

/// Half of the frequencies of `count` samples.
struct Half<'v> {
    of: &'v Value,
    axis: &'v Value,
    count: &'v Value,
}

impl Half<'_> {
    /// Those that stand for themselves alone, zeros elsewhere: the first and, of an even number, the last.
    fn counted_once(&self, g: &Builder<'_>) -> Value {
        let (size, one) = (size_at(self.of, self.axis, g), g.int64s(&[1]));
        let (zero, before) = (g.int64s(&[0]), g.sub(&size, &one));
        let cut = |from: &Value, to: &Value| {
            let fact = Fact { element: g.fact(self.of).element, shape: None };
            g.node("Slice", &[self.of, from, to, self.axis], vec![], fact)
        };
        let first = padded(&cut(&zero, &one), &zero, &before, self.axis, g);
        let is_even = g.compare("Equal", g.binary("Mod", self.count, g.int64s(&[2])), &zero);
        let last = g.mul(cut(&before, &size), g.mask(is_even, self.of));
        g.add(first, padded(&last, &before, &zero, self.axis, g))
    }
}

/// `x` with zeros before and behind it.
fn padded(x: &Value, begin: &Value, end: &Value, axis: &Value, g: &Builder<'_>) -> Value {
    let pads = g.concat_ints(&[begin, end]);
    let fact = g.fact(x);
    let fact = Fact { element: fact.element, shape: fact.rank().map(|rank| vec![Dim::Unknown; rank]) };
    g.node("Pad", &[x, &pads, &Value::from(""), axis], vec![], fact)
}

/// `x` cut, or filled with zeros, to `size` along an axis.
fn resized(x: &Value, size: &Value, axis: &Value, g: &Builder<'_>) -> Value {
    let zero = g.int64s(&[0]);
    let own = size_at(x, axis, g);
    if let (Some(own), Some(size)) = (g.ints(&own), g.ints(size))
        && own == size
    {
        return x.clone();
    }
    let missing = g.binary("Max", g.sub(size, &own), &zero);
    let filled = padded(x, &zero, &missing, axis, g);
    let fact = Fact::clone(&g.fact(&filled));
    g.node("Slice", &[&filled, &zero, size, axis], vec![], fact)
}

/// The size of an axis, which is a vector of one element, as such a vector.
fn size_at(x: &Value, axis: &Value, g: &Builder<'_>) -> Value {
    match g.ints(axis).as_deref() {
        Some(&[axis]) => g.size_of(x, axis),
        _ => g.gather(g.shape_of(x), axis, 0),
    }
}

/// y = F (w ∘ a frame of x), for frames that begin `frame_step` apart
fn stft(op: &Op, g: &Builder<'_>) -> Result<Vec<Value>> {
    let (x, step, y) = (op.input(0)?, op.input(1)?, op.output(0)?);
    let whole = |value: &Value| g.reshape(g.cast(value, DataType::Int64), &[1]);
    let length = match (op.optional(3), op.optional(2)) {
        (Some(length), _) => match g.ints(length).as_deref() {
            Some(&[length]) => g.int64s(&[length]),
            _ => whole(length),
        },
        (None, Some(window)) => g.size_of(window, 0),
        (None, None) => return Err(op.error("it has neither a window nor a length of its frames")),
    };
    let (one, step) = (g.int64s(&[1]), whole(step));
    let frames = g.add(g.div(g.sub(g.size_of(x, 1), &length), &step), &one);
    let sample = count_to(&length, g);
    let places = g.add(g.unsqueeze(g.mul(count_to(&frames, g), &step), &[1]), &sample);
    let parts = match g.fact(x).rank() {
        Some(2) => Some(1),
        _ => g.fact(x).dim(2).and_then(Dim::known),
    };
    // Where it is not known whether there are imaginary parts, there are zeros in their place.
    let both = match parts {
        Some(_) => x.clone(),
        None => padded(x, &g.int64s(&[0]), &g.sub(g.int64s(&[2]), g.size_of(x, 2)), &g.int64s(&[2]), g),
    };
    let part = |index: i64| {
        let part = if g.fact(x).rank() == Some(2) { x.clone() } else { g.gather(&both, g.int64(index), 2) };
        let frames = g.gather(part, &places, 1);
        match op.optional(2) {
            Some(window) => g.mul(frames, window),
            None => frames,
        }
    };
    let frequencies = match op.int("onesided", 1) {
        0 => length.clone(),
        _ => g.add(g.div(&length, g.int64s(&[2])), &one),
    };
    // Whole turns are taken off before there are fractions.
    let turns = g.binary("Mod", g.mul(g.unsqueeze(&sample, &[1]), count_to(&frequencies, g)), &length);
    let angles = g.div(g.scale(g.cast_like(turns, x), TAU), g.cast_like(&length, x));
    let [cos, sin] = ["Cos", "Sin"].map(|function| g.unary(function, &angles));
    let real = part(0);
    let (mut re, mut im) = (g.matmul(&real, &cos), g.neg(g.matmul(&real, &sin)));
    if parts != Some(1) {
        let imaginary = part(1);
        re = g.add(re, g.matmul(&imaginary, &sin));
        im = g.add(im, g.matmul(&imaginary, &cos));
    }
    let [re, im] = [re, im].map(|part| g.unsqueeze(part, &[3]));
    Ok(vec![g.reshape_like(g.concat(&[&re, &im], 3), y)])
}
