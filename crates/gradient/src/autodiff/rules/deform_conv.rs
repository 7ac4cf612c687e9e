//! Convolutions that read their input at offsets of their own.

use super::sampling::{Beyond, Interpolation, Sampling, count_to};
use super::window::Window;
use super::{Entry, Op, Rule};
use gnp_base::Result;
use gnp_model::graph::{Builder, Dim, Fact, Value};

pub(super) const RULES: &[Entry] = &[("", "DeformConv", Rule::Definition(deform_conv))];

/// Y = W · (m ∘ X at the places of the window, each moved by an offset) + B (Dai et al.,
/// [arXiv:1703.06211](https://arxiv.org/abs/1703.06211), and Zhu et al.,
/// [arXiv:1811.11168](https://arxiv.org/abs/1811.11168)). Offsets and m are given for each place of the output, place
/// of the window and group of channels.
fn deform_conv(op: &Op, g: &Builder<'_>) -> Result<Vec<Value>> {
    let (x, weight, offset, y) = (op.input(0)?, op.input(1)?, op.input(2)?, op.output(0)?);
    let Some(&[outputs, per_group, height, width]) = g.fact(weight).sizes().as_deref() else {
        return Err(op.unknown("the shape of its weights, of four axes,"));
    };
    let kernel = vec![height, width];
    let window = Window::with_pads(op, kernel.clone())?;
    let (groups, offset_groups) = (op.int("group", 1).max(1), op.int("offset_group", 1).max(1));
    let fits = op.ints("kernel_shape").is_none_or(|shape| *shape == kernel) && outputs % groups == 0;
    if !fits || per_group * groups % offset_groups != 0 {
        return Err(op.error("its kernel, its groups and the shape of its weights do not go together"));
    }
    let (channels, taps) = (per_group * groups, window.size());
    let element = g.fact(x).element;

    // The groups of offsets of all images one behind the other: [groups, taps, axes, rows, columns].
    let fact = g.fact(offset);
    let [rows, columns] = [2, 3].map(|axis| fact.dim(axis).cloned().unwrap_or(Dim::Unknown));
    let area = [g.size_of(offset, 2), g.size_of(offset, 3)];
    let shape = g.concat_ints(&[&g.int64s(&[-1, taps, 2]), &area[0], &area[1]]);
    let groups_of = |x: &Value| g.fact(x).dim(0).and_then(Dim::known).map(|images| images * offset_groups);
    let count = groups_of(offset).map_or(Dim::Unknown, Dim::Known);
    let dims = vec![count.clone(), Dim::Known(taps), Dim::Known(2), rows.clone(), columns.clone()];
    let offsets = g.reshape_to(offset, shape, Fact { element, shape: Some(dims) });
    let points: Vec<Value> = (0..2)
        .map(|axis| {
            let own = g.gather(&offsets, g.int64(axis as i64), 2);
            let place = places(&window, axis, &area[axis], &own, g);
            let shape = Some(vec![count.clone(), points_of(taps, &rows, &columns)]);
            g.reshape_to(g.add(own, place), g.int64s(&[0, -1]), Fact { element, shape })
        })
        .collect();

    let shape = g.concat_ints(&[&g.int64s(&[-1, channels / offset_groups]), &g.size_of(x, 2), &g.size_of(x, 3)]);
    let dim = |axis: i64| g.fact(x).dim(axis).cloned().unwrap_or(Dim::Unknown);
    let dims = vec![count.clone(), Dim::Known(channels / offset_groups), dim(2), dim(3)];
    let images = g.reshape_to(x, shape, Fact { element, shape: Some(dims) });
    let image = g.unsqueeze(count_to(&g.size_of(&images, 0), g), &[1]);
    let sampling = Sampling { interpolation: Interpolation::Linear, beyond: Beyond::Zeros };
    let mut samples = sampling.samples(&images, &image, &points, g);
    if let Some(mask) = op.optional(4) {
        let shape = g.concat_ints(&[&g.size_of(&images, 0), &g.int64s(&[-1, 1])]);
        let dims = vec![count.clone(), points_of(taps, &rows, &columns), Dim::Known(1)];
        samples = g.mul(&samples, g.reshape_to(mask, shape, Fact { element, shape: Some(dims) }));
    }

    // [groups, points, channels] as [images, groups of weights, channels · taps, rows · columns]
    let by_channel = g.transpose(&samples, &[0, 2, 1]);
    let area = points_of(1, &rows, &columns);
    let shape = g.concat_ints(&[&g.size_of(x, 0), &g.int64s(&[groups, per_group * taps, -1])]);
    let dims = vec![dim(0), Dim::Known(groups), Dim::Known(per_group * taps), area];
    let read = g.reshape_to(by_channel, shape, Fact { element, shape: Some(dims) });
    let weights = g.reshape(weight, &[groups, outputs / groups, per_group * taps]);
    let convolved = g.reshape_like(g.matmul(weights, read), y);
    Ok(vec![match op.optional(3) {
        Some(bias) => g.add(convolved, g.unsqueeze(bias, &[1, 2])),
        None => convolved,
    }])
}

/// How many points there are, where that is known.
fn points_of(taps: i64, rows: &Dim, columns: &Dim) -> Dim {
    rows.known().zip(columns.known()).map_or(Dim::Unknown, |(rows, columns)| Dim::Known(taps * rows * columns))
}

/// Where an axis of the window reads without offsets: for each tap and place of the output, in a shape that broadcasts
/// to [groups, taps, rows, columns].
fn places(window: &Window, axis: usize, size: &Value, like: &Value, g: &Builder<'_>) -> Value {
    let (width, numbers) = (g.int64s(&[window.kernel[1]]), count_to(&g.int64s(&[window.size()]), g));
    let taps = if axis == 0 { g.div(numbers, width) } else { g.binary("Mod", numbers, width) };
    let taps = g.sub(g.mul(taps, g.int64s(&[window.dilations[axis]])), g.int64s(&[window.begin[axis]]));
    let taps = g.unsqueeze(taps, &[1, 2]);
    let outputs = g.mul(count_to(size, g), g.int64s(&[window.strides[axis]]));
    let outputs = if axis == 0 { g.unsqueeze(outputs, &[1]) } else { outputs };
    g.cast_like(g.add(taps, outputs), like)
}
