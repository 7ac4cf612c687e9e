//! Resize.
//!
//! Along each axis a resize is linear, y = W x, whatever its mode: a row of W says of which elements of x, with which weights, an element
//! of y is made. So x̄ = Wᵀ ȳ, axis by axis, with W computed here from the sizes; where each element is merely repeated, that is a sum
//! over the repetitions. Coordinates are those of ONNX Runtime, which takes sizes in whole elements where the reference
//! implementation of the standard takes scale · size.

use super::positions;
use super::{Cotangents, Entry, Op, Rule};
use crate::graph::{Dim, TypedBuilder, Value};
use crate::onnx::DataType;
use crate::onnx::proto::TensorProto;
use crate::{Error, Result};

pub(super) const RULES: &[Entry] = &[("", "Resize", Rule::Vjp(resize))];

/// y = W x along each axis  ⇒  x̄ = Wᵀ ȳ along each axis. Where sizes are not known before the graph runs, that is possible for the
/// mode `nearest` alone.
fn resize(op: &Op, dy: &Value, g: &mut TypedBuilder<'_>) -> Result<Cotangents> {
    let Some(axes) = resized_axes(op, g) else {
        if op.string("mode", "nearest") != "nearest" || (crops(op) && op.float("extrapolation_value", 0.0) != 0.0) {
            return Err(unknown_sizes(op, g));
        }
        let left_out = Value::from("");
        let others: Vec<&Value> = op.inputs().iter().skip(1).map(|i| i.as_ref().unwrap_or(&left_out)).collect();
        return Ok([positions::pull_back(op, &others, DataType::Int32, dy, g)?].into());
    };
    let mut repeated = Vec::new();
    let mut weighted = Vec::new();
    for axis in axes {
        let rows = axis.rows(op)?;
        match repetitions(&rows, axis.from) {
            Some(1) => {}
            Some(times) => repeated.push((axis, rows, times)),
            None => weighted.push((axis, rows)),
        }
    }
    let mut dx = dy.clone();
    match sum_repetitions(&dx, &repeated, g) {
        Some(sum) => dx = sum,
        None => weighted.extend(repeated.into_iter().map(|(axis, rows, _)| (axis, rows))),
    }
    for (axis, rows) in &weighted {
        dx = multiply(&dx, axis, rows, g)?;
    }
    Ok([dx].into())
}

fn unknown_sizes(op: &Op, g: &TypedBuilder<'_>) -> Error {
    let input = op.optional(0).map(|input| g.fact(input));
    let known = input.map_or_else(String::new, |fact| format!(": its input is {fact}"));
    let dims = input.and_then(|fact| fact.shape.as_ref()).into_iter().flatten();
    let flags: Vec<_> =
        dims.filter_map(|dim| if let Dim::Symbol(s) = dim { Some(format!("--dim {s}=SIZE")) } else { None }).collect();
    let bind = if flags.is_empty() { "--dim NAME=SIZE".to_owned() } else { flags.join(" ") };
    op.error(format!("its sizes are not known before the graph runs, and its gradient needs them{known}"))
        .help(format!("give the sizes ({bind}), and resize by scales or sizes that are constants"))
}

/// One axis that is resized.
struct Axis {
    axis: usize,
    rank: usize,
    /// Its size in x.
    from: i64,
    /// Its size in y.
    to: i64,
    scale: f64,
    /// The part of x that is resized, of `tf_crop_and_resize`.
    crop: (f64, f64),
}

/// Of which elements of x, with which weights, an element of y is made.
type Row = Vec<(usize, f64)>;

/// Whether a part of x is resized, beyond which there is a constant.
fn crops(op: &Op) -> bool {
    op.string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
}

/// The axes that may be resized; none where their sizes are not known.
fn resized_axes(op: &Op, g: &TypedBuilder<'_>) -> Option<Vec<Axis>> {
    let (x, y) = (g.fact(op.optional(0)?), g.fact(op.output(0).ok()?));
    let rank = x.rank()?;
    let axes: Vec<i64> = op.ints("axes").map_or_else(|| (0..rank as i64).collect(), <[i64]>::to_vec);
    let count = axes.len();
    let floats = |value: &Value| g.floats(value).filter(|floats| !floats.is_empty());
    let scales = match op.optional(2) {
        Some(scales) if op.optional(3).is_none() => Some(floats(scales).filter(|scales| scales.len() == count)?),
        _ => None,
    };
    let sizes = op.optional(3).and_then(|sizes| g.ints(sizes)).filter(|sizes| sizes.len() == count);
    let crops = crops(op);
    let roi = match op.optional(1) {
        Some(roi) if crops => Some(floats(roi).filter(|roi| roi.len() == 2 * count)?),
        _ => None,
    };
    let from: Vec<Option<i64>> = axes.iter().map(|&axis| x.dim(axis).and_then(Dim::known)).collect();
    let kept_ratio = match op.string("keep_aspect_ratio_policy", "stretch") {
        _ if scales.is_some() => None,
        "stretch" => None,
        policy => {
            let ratios = sizes?.iter().zip(&from).map(|(&to, &from)| Some(to as f64 / from? as f64));
            let ratios = ratios.collect::<Option<Vec<f64>>>()?.into_iter();
            Some(if policy == "not_larger" { ratios.fold(f64::MAX, f64::min) } else { ratios.fold(0.0, f64::max) })
        }
    };
    let mut resized = Vec::with_capacity(count);
    for (i, &axis) in axes.iter().enumerate() {
        if !crops && scales.as_ref().is_some_and(|scales| scales[i] == 1.0) {
            continue;
        }
        if !crops && from[i].is_none() && x.dim(axis)?.is(y.dim(axis)?) {
            continue;
        }
        let from = from[i]?;
        let to = match (y.dim(axis).and_then(Dim::known), &scales, kept_ratio, sizes) {
            (Some(to), ..) => to,
            (None, Some(scales), ..) => (from as f64 * scales[i]).floor() as i64,
            (None, None, Some(ratio), _) => (from as f64 * ratio).round() as i64,
            (None, None, None, Some(sizes)) => sizes[i],
            _ => return None,
        };
        let scale = scales.as_ref().map(|scales| scales[i]).or(kept_ratio).unwrap_or(to as f64 / from as f64);
        let crop = roi.as_ref().map_or((0.0, 1.0), |roi| (roi[i], roi[count + i]));
        let axis = usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok()?;
        resized.push(Axis { axis, rank, from, to, scale, crop });
    }
    Some(resized)
}

impl Axis {
    /// The rows of W.
    fn rows(&self, op: &Op) -> Result<Vec<Row>> {
        (0..self.to).map(|to| self.row(op, to)).collect()
    }

    fn row(&self, op: &Op, to: i64) -> Result<Row> {
        let mode = op.string("mode", "nearest");
        let crops = crops(op);
        let at = self.coordinate(op, to as f64, crops || mode == "nearest")?;
        let last = (self.from - 1) as f64;
        if crops && (at < 0.0 || at > last) {
            return Ok(Row::new());
        }
        let (reach, kernel): (f64, &dyn Fn(f64) -> f64) = match mode {
            "nearest" => return Ok(vec![(nearest(op, at)?.clamp(0.0, last) as usize, 1.0)]),
            "linear" => (1.0, &|t| (1.0 - t.abs()).max(0.0)),
            "cubic" => {
                let a = f64::from(op.float("cubic_coeff_a", -0.75));
                (2.0, &move |t| cubic(t.abs(), a))
            }
            mode => return Err(unsupported(op, "mode", mode)),
        };
        // To shrink without aliasing, the kernel is widened.
        let antialias = op.int("antialias", 0) != 0;
        let width = if antialias { self.scale.min(1.0) } else { 1.0 };
        let reach = (reach / width).ceil();
        let (first, end) = ((at.floor() - reach) as i64, (at.floor() + reach + 1.0) as i64);
        let exclude = op.int("exclude_outside", 0) != 0;
        let mut row = Row::new();
        for i in first..=end {
            let weight = kernel((i as f64 - at) * width);
            if weight != 0.0 && !(exclude && (i < 0 || i >= self.from)) {
                row.push((i.clamp(0, self.from - 1) as usize, weight));
            }
        }
        if antialias || exclude {
            let sum: f64 = row.iter().map(|(_, weight)| weight).sum();
            row.iter_mut().for_each(|(_, weight)| *weight /= sum);
        }
        Ok(row)
    }

    /// The place in x of element `to` of y; in single precision where which element is meant hangs on the last bit.
    fn coordinate(&self, op: &Op, to: f64, single: bool) -> Result<f64> {
        let round = |number: f64| if single { f64::from(number as f32) } else { number };
        let (n, m, scale) = (self.from as f64, self.to as f64, round(self.scale));
        let half_pixel = round(round((to + 0.5) / scale) - 0.5);
        Ok(match op.string("coordinate_transformation_mode", "half_pixel") {
            "half_pixel" => half_pixel,
            "pytorch_half_pixel" => {
                if m > 1.0 {
                    half_pixel
                } else {
                    0.0
                }
            }
            "half_pixel_symmetric" => {
                let adjustment = round(m / round(scale * n));
                // Rounded once, at the end.
                round(round(n / 2.0 * round(1.0 - adjustment)) + (to + 0.5) / scale - 0.5)
            }
            "align_corners" => {
                if m > 1.0 {
                    round(round(to * (n - 1.0)) / (m - 1.0))
                } else {
                    0.0
                }
            }
            "asymmetric" => round(to / scale),
            "tf_crop_and_resize" => {
                let (start, end) = self.crop;
                if m > 1.0 {
                    let along = round(round(round(to * round(end - start)) * (n - 1.0)) / (m - 1.0));
                    round(round(start * (n - 1.0)) + along)
                } else {
                    round(0.5 * (start + end) * (n - 1.0))
                }
            }
            mode => return Err(unsupported(op, "coordinate_transformation_mode", mode)),
        })
    }
}

/// The element that counts as nearest to a coordinate.
fn nearest(op: &Op, at: f64) -> Result<f64> {
    Ok(match op.string("nearest_mode", "round_prefer_floor") {
        "round_prefer_floor" => (at - 0.5).ceil(),
        "round_prefer_ceil" => (at + 0.5).floor(),
        "floor" => at.floor(),
        "ceil" => at.ceil(),
        mode => return Err(unsupported(op, "nearest_mode", mode)),
    })
}

/// Keys' cubic convolution kernel (doi:10.1109/TASSP.1981.1163711) at t ≥ 0.
fn cubic(t: f64, a: f64) -> f64 {
    match t {
        0.0..=1.0 => ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0,
        1.0..2.0 => ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a,
        _ => 0.0,
    }
}

fn unsupported(op: &Op, attribute: &str, value: &str) -> Error {
    op.error(format!("there is no gradient of its {attribute} `{value}`"))
}

/// How many times y has each of the `from` elements of x in a row, where it is no more than that.
fn repetitions(rows: &[Row], from: i64) -> Option<usize> {
    let times = rows.len().checked_div(from as usize)?;
    let repeats =
        |(i, row): (usize, &Row)| matches!(row.as_slice(), [(at, weight)] if *weight == 1.0 && *at == i / times);
    (times > 0 && rows.len() == times * from as usize && rows.iter().enumerate().all(repeats)).then_some(times)
}

/// `dy` summed over the repetitions along all of `axes`; none where that takes a shape that is not known.
fn sum_repetitions(dy: &Value, axes: &[(Axis, Vec<Row>, usize)], g: &mut TypedBuilder<'_>) -> Option<Value> {
    if axes.is_empty() {
        return Some(dy.clone());
    }
    let (mut dims, mut summed) = (Vec::new(), Vec::new());
    for (i, dim) in g.fact(dy).shape.clone()?.into_iter().enumerate() {
        match axes.iter().find(|(axis, ..)| axis.axis == i) {
            Some((axis, _, times)) => {
                dims.extend([Dim::Known(axis.from), Dim::Known(*times as i64)]);
                summed.push(dims.len() as i64 - 1);
            }
            None => dims.push(dim),
        }
    }
    let apart = g.reshape_dims(dy, dims)?;
    Some(g.reduce("ReduceSum", &apart, &summed, false))
}

/// Wᵀ `dy` along one axis.
fn multiply(dy: &Value, axis: &Axis, rows: &[Row], g: &mut TypedBuilder<'_>) -> Result<Value> {
    let (n, m) = (axis.from as usize, rows.len());
    let mut weights = vec![0.0; n * m];
    // The last axis but one is multiplied from the left, by Wᵀ.
    let left = axis.axis + 2 == axis.rank;
    for (to, row) in rows.iter().enumerate() {
        for &(from, weight) in row {
            weights[if left { from * m + to } else { to * n + from }] += weight;
        }
    }
    let shape = if left { [n as i64, m as i64] } else { [m as i64, n as i64] };
    let weights = matrix(&weights, &shape, dy, g);
    if left {
        return Ok(g.matmul(&weights, dy));
    }
    if axis.axis + 1 == axis.rank {
        return Ok(g.matmul(dy, &weights));
    }
    let mut order: Vec<i64> = (0..axis.rank as i64).collect();
    order.swap(axis.axis, axis.rank - 1);
    let turned = g.transpose(dy, &order);
    let product = g.matmul(&turned, &weights);
    Ok(g.transpose(&product, &order))
}

/// A constant matrix in the element type of `like`.
fn matrix(weights: &[f64], shape: &[i64], like: &Value, g: &mut TypedBuilder<'_>) -> Value {
    let element = g.fact(like).element;
    let (kind, bytes): (_, Vec<u8>) = match element {
        DataType::Double => (element, weights.iter().flat_map(|w| w.to_le_bytes()).collect()),
        _ => (DataType::Float, weights.iter().flat_map(|w| (*w as f32).to_le_bytes()).collect()),
    };
    let weights = g.constant(TensorProto::raw("", kind, shape, bytes.into()), "constant/weights");
    g.cast(&weights, element)
}
