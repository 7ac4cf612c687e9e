//! Pools over regions of images.

use super::sampling::{Beyond, Interpolation, Sampling, as_images, broadcast_to, count_to, size_as};
use super::{Entry, Op, Rule};
use gnp_base::Result;
use gnp_model::graph::{Builder, Dim, Fact, Value};
use gnp_model::onnx::DataType;

pub(super) const RULES: &[Entry] = &[("", "RoiAlign", Rule::Definition(roi_align))];

/// y = for each region, [left, top, right, bottom], and each of its bins, the mean of X at points in the bin (He et
/// al., [arXiv:1703.06870](https://arxiv.org/abs/1703.06870)); or, with `mode` max, the greatest term of the
/// interpolations there, as in ONNX Runtime.
///
/// There are as many points in a bin as `sampling_ratio` says along each axis, or one for each pixel, which depends on
/// the region.
fn roi_align(op: &Op, g: &Builder<'_>) -> Result<Vec<Value>> {
    let (x, regions, image, y) = (op.input(0)?, op.input(1)?, op.input(2)?, op.output(0)?);
    let is_shifted = op.string("coordinate_transformation_mode", "half_pixel") == "half_pixel";
    let bins = ["output_height", "output_width"].map(|name| op.int(name, 1).max(1));
    let axes = [0, 1].map(|axis| Bins::of(op, axis, bins[axis as usize], is_shifted, regions, g));
    let counts = [&axes[0].most, &axes[1].most];

    let shape = g.concat_ints(&[&g.size_of(regions, 0), &g.int64s(&bins), counts[0], counts[1]]);
    let points = [0, 1].map(|axis| {
        let size = size_as(x, axis as i64 + 2, regions, g);
        let apart = [[2, 4], [1, 3]][axis];
        let points = g.reshape_to(
            broadcast_to(&g.unsqueeze(&axes[axis].points, &apart), &shape, g),
            g.int64s(&[0, -1]),
            open(regions, 2, g),
        );
        let inside = g.binary("Min", g.binary("Max", &points, g.number(0.0, &points)), g.plus(&size, -1.0));
        let from = g.compare("GreaterOrEqual", &points, g.number(-1.0, &points));
        let is_near = g.compare("And", from, g.compare("LessOrEqual", &points, &size));
        (inside, g.mask(is_near, x))
    });
    let [(vertical, near), (horizontal, also_near)] = points;
    let near = g.unsqueeze(g.mul(near, also_near), &[2]);

    let image = g.unsqueeze(g.cast(image, DataType::Int64), &[1]);
    let sampling = Sampling { interpolation: Interpolation::Linear, beyond: Beyond::Border };
    let points = [vertical, horizontal];
    // Which of the points of a bin count.
    let there = g.mul(g.unsqueeze(&axes[0].there, &[2]), g.unsqueeze(&axes[1].there, &[1]));
    let there = g.reshape_to(there, g.int64s(&[0, 1, -1, 1]), open(x, 4, g));
    let all = bins[0] * bins[1];
    let by_bin = |values: Value| {
        let per_bin = g.concat_ints(&[&g.size_of(regions, 0), &g.int64s(&[all, -1]), &g.size_of(x, 1)]);
        g.reshape_to(values, per_bin, open(x, 4, g))
    };
    let pooled = match op.string("mode", "avg") {
        "avg" => {
            let samples = by_bin(g.mul(sampling.samples(x, &image, &points, g), near));
            let sum = g.reduce("ReduceSum", g.mul(samples, &there), &[2], false);
            let count = g.mul(&axes[0].count, &axes[1].count);
            g.div(sum, g.unsqueeze(g.binary("Max", count, g.number(1.0, x)), &[2]))
        }
        "max" => {
            let terms = g.mul(sampling.terms(x, &image, &points, g), g.unsqueeze(near, &[3]));
            let samples = by_bin(g.reduce("ReduceMax", terms, &[2], false));
            let is_there = g.compare("Greater", &there, g.number(0.0, x));
            let highest = g.select(&is_there, samples, g.number(f64::NEG_INFINITY, x));
            let highest = g.reduce("ReduceMax", highest, &[2], false);
            let is_empty = g.compare("Equal", &highest, g.number(f64::NEG_INFINITY, x));
            g.select(is_empty, g.number(0.0, x), &highest)
        }
        other => return Err(op.error(format!("its attribute `mode` is `{other}`, which is no such mode"))),
    };
    Ok(vec![as_images(&pooled, y, g)])
}

/// A tensor of the type of `like` and of so many axes, of which nothing is known.
fn open(like: &Value, rank: usize, g: &Builder<'_>) -> Fact {
    Fact { element: g.fact(like).element, shape: Some(vec![Dim::Unknown; rank]) }
}

/// The bins of regions along one axis, and the points in them.
struct Bins {
    /// Where the points are, [regions, bins, points].
    points: Value,
    /// How many points there are in a bin of each region, [regions, 1]; and at most, a vector of one int64.
    count: Value,
    most: Value,
    /// 1 for the points that a bin of a region has, 0 for those that another has more, [regions, points].
    there: Value,
}

impl Bins {
    /// Along the height, which is axis 0, or the width.
    fn of(op: &Op, axis: i64, bins: i64, is_shifted: bool, regions: &Value, g: &Builder<'_>) -> Self {
        let scale = f64::from(op.float("spatial_scale", 1.0));
        let shift = if is_shifted { -0.5 } else { 0.0 };
        let edge = |column: i64| g.plus(g.scale(g.gather(regions, g.int64s(&[column]), 1), scale), shift);
        let (begin, end) = (edge(1 - axis), edge(3 - axis));
        let length = g.sub(end, &begin);
        let length = if is_shifted { length } else { g.binary("Max", length, g.number(1.0, regions)) };
        let size = g.scale(&length, 1.0 / bins as f64);
        let (count, most) = match op.int("sampling_ratio", 0) {
            ratio @ 1.. => (g.reshape(g.number(ratio as f64, regions), &[1, 1]), g.int64s(&[ratio])),
            _ => {
                let count = g.unary("Ceil", &size);
                let most = g.binary("Max", g.reduce_all("ReduceMax", &count), g.number(1.0, regions));
                (count, g.reshape(g.cast(most, DataType::Int64), &[1]))
            }
        };
        let (bin, point) = (g.cast_like(count_to(&g.int64s(&[bins]), g), regions), count_to(&most, g));
        let point = g.cast_like(point, regions);
        let there = g.mask(g.compare("Less", &point, &count), regions);
        let (begin, size) = (g.unsqueeze(begin, &[2]), g.unsqueeze(size, &[2]));
        // A region without points divides by nothing that counts.
        let divisor = g.binary("Max", &count, g.number(1.0, regions));
        let within = g.div(g.plus(&point, 0.5), g.unsqueeze(divisor, &[2]));
        let place = g.add(g.unsqueeze(bin, &[1]), within);
        Self { points: g.add(begin, g.mul(place, size)), count, most, there }
    }
}
