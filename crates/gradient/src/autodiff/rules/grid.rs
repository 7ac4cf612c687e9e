//! Sampling an image at the points of a grid, and the grids of affine maps.

use super::sampling::{Beyond, Interpolation, Sampling, as_images, broadcast_to, count_to, size_as};
use super::{Entry, Op, Rule};
use gnp_base::Result;
use gnp_model::graph::{Builder, Dim, Fact, Value};
use gnp_model::onnx::proto::MICROSOFT;

pub(super) const RULES: &[Entry] = &[
    ("", "AffineGrid", Rule::Definition(affine_grid)),
    ("", "GridSample", Rule::Definition(grid_sample)),
    (MICROSOFT, "GridSample", Rule::Definition(grid_sample)),
];

/// y = X between its pixels, at the points of a grid: [images, points …, axes], of which the last of an axis is 1, the
/// first −1, and which has the last axis first.
fn grid_sample(op: &Op, g: &Builder<'_>) -> Result<Vec<Value>> {
    let (x, grid, y) = (op.input(0)?, op.input(1)?, op.output(0)?);
    let axes = g.fact(grid).dim(-1).and_then(Dim::known).or(g.fact(x).rank().map(|rank| rank as i64 - 2));
    let fits = |value: &Value, axes: i64| g.fact(value).rank().is_none_or(|rank| rank as i64 == axes + 2);
    let Some(axes) = axes.filter(|&axes| (1..=3).contains(&axes) && fits(x, axes) && fits(grid, axes)) else {
        return Err(op.unknown("the number of axes of its input, from 3 to 5,"));
    };
    let at_centres = op.int("align_corners", 0) != 0;
    let interpolation = match op.string("mode", "linear") {
        "nearest" => Interpolation::Nearest,
        "linear" | "bilinear" => Interpolation::Linear,
        "cubic" | "bicubic" => Interpolation::Cubic,
        other => return Err(op.error(format!("its attribute `mode` is `{other}`, which is no such mode"))),
    };
    let beyond = match op.string("padding_mode", "zeros") {
        "zeros" => Beyond::Zeros,
        "border" => Beyond::Border,
        "reflection" => Beyond::Mirror { at_centres },
        other => return Err(op.error(format!("its attribute `padding_mode` is `{other}`, which is no such mode"))),
    };
    let points: Vec<Value> = (0..axes)
        .map(|axis| {
            let along = g.gather(grid, g.int64(axes - 1 - axis), -1);
            let fact = g.fact(&along);
            let along =
                if fact.rank() == Some(2) { along } else { g.reshape_to(along, g.int64s(&[0, -1]), flat(&fact)) };
            let size = size_as(x, axis + 2, grid, g);
            // From −1 … 1 to 0 … size − 1, or to −½ … size − ½.
            if at_centres {
                g.mul(g.plus(along, 1.0), g.scale(g.plus(&size, -1.0), 0.5))
            } else {
                g.plus(g.mul(g.plus(along, 1.0), g.scale(&size, 0.5)), -0.5)
            }
        })
        .collect();
    let image = g.unsqueeze(count_to(&g.size_of(x, 0), g), &[1]);
    let samples = Sampling { interpolation, beyond }.samples(x, &image, &points, g);
    Ok(vec![as_images(&samples, y, g)])
}

/// [images, points …] with all points along one axis.
fn flat(fact: &Fact) -> Fact {
    let shape = fact.shape.as_ref().and_then(|shape| shape.split_first()).map(|(images, points)| {
        let points = points.iter().map(Dim::known).product::<Option<i64>>();
        vec![images.clone(), points.map_or(Dim::Unknown, Dim::Known)]
    });
    Fact { element: fact.element, shape: shape.or(Some(vec![Dim::Unknown; 2])) }
}

/// y = the points of a grid over an image, mapped by θ, [images, axes, axes + 1]
fn affine_grid(op: &Op, g: &Builder<'_>) -> Result<Vec<Value>> {
    let (theta, size, y) = (op.input(0)?, op.input(1)?, op.output(0)?);
    let known = |value: &Value, axis: i64| g.fact(value).dim(axis).and_then(Dim::known);
    let axes = known(theta, 1).or(known(size, 0).map(|size| size - 2)).or(known(y, -1));
    let Some(axes) = axes.filter(|axes| (1..=3).contains(axes)) else {
        return Err(op.unknown("the number of axes of its grid"));
    };
    let at_centres = op.int("align_corners", 0) != 0;
    let spatial = g.slice(size, &[2], &[i64::MAX], &[0], &[1]);
    let sizes: Vec<Value> = (0..axes).map(|axis| g.gather(&spatial, g.int64s(&[axis]), 0)).collect();
    let along = |axis: i64| {
        let count = &sizes[axis as usize];
        let places = g.cast_like(count_to(count, g), theta);
        let count = g.cast_like(count, theta);
        // From −1 to 1, or to where the edges of the pixels are −1 and 1.
        let points = if at_centres {
            g.plus(g.div(g.scale(&places, 2.0), g.plus(count, -1.0)), -1.0)
        } else {
            g.plus(g.div(g.plus(g.scale(&places, 2.0), 1.0), count), -1.0)
        };
        let others: Vec<i64> = (0..axes).filter(|other| *other != axis).collect();
        g.reshape(broadcast_to(&g.unsqueeze(points, &others), &spatial, g), &[-1, 1])
    };
    let points: Vec<Value> = (0..axes).rev().map(along).collect();
    let ones = g.filled(1.0, &points[0]);
    let points = g.concat(&points.iter().chain([&ones]).collect::<Vec<_>>(), 1);
    Ok(vec![g.reshape_like(g.matmul(points, g.transpose_last(theta)), y)])
}
