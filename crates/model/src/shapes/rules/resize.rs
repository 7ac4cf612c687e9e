//! Images of other sizes.

use super::super::known::{Known, Sizes};
use super::super::size::Size;
use super::{Operation, Rule, open, places};

pub(super) fn rule(operator: &str) -> Option<Rule> {
    matches!(operator, "Resize" | "Upsample").then_some(resize)
}

/// The sizes that are given, or those that the scales make: all of them, or those of `axes`.
fn resize(op: &Operation<'_>) -> Option<Vec<Known>> {
    let made = Known::of(op.element(0));
    let Some(sizes) = op.sizes(0) else { return Some(vec![made]) };
    let axes = match op.node.ints("axes") {
        Some(axes) => places(axes, sizes.len())?,
        None => (0..sizes.len()).collect(),
    };
    // Before operator set 11 the scales are the second input, or an attribute.
    let scales = if op.node.input.len() <= 2 { op.input(1) } else { op.input(2) };
    let attribute = op.node.attribute("scales").map(|scales| scales.floats.iter().copied().map(f64::from).collect());
    let scales: Option<Vec<f64>> = attribute.or_else(|| scales.floats().map(<[f64]>::to_vec));
    let mut to = sizes.clone();
    if let Some(given) = op.input(3).whole().filter(|given| given.len() == axes.len() && !given.is_empty()) {
        let kept = op.node.string("keep_aspect_ratio_policy", "stretch") != "stretch";
        let scale = if kept { Some(common_scale(op, sizes, &axes, given)) } else { None };
        for (&axis, size) in axes.iter().zip(given) {
            to[axis] = match scale {
                None => Some(size.clone()),
                Some(scale) => scale
                    .zip(sizes[axis].as_ref())
                    .and_then(|(scale, size)| Some(Size::number((scale * size.known()? as f32).round() as i64))),
            };
        }
    } else if let Some(scales) = scales.filter(|scales| scales.len() == axes.len() && !op.has(3)) {
        for (&axis, &scale) in axes.iter().zip(&scales) {
            to[axis] = to[axis].as_ref().and_then(|size| scaled(size, scale));
        }
    } else {
        to = open(sizes.len())?;
    }
    Some(vec![made.with(to)])
}

/// The one scale with which no size is more, or less, than is given.
fn common_scale(op: &Operation<'_>, sizes: &Sizes, axes: &[usize], given: &[Size]) -> Option<f32> {
    let scale = |(axis, given): (&usize, &Size)| Some(given.known()? as f32 / sizes[*axis].as_ref()?.known()? as f32);
    let all = axes.iter().zip(given).map(scale).collect::<Option<Vec<_>>>()?;
    match op.node.string("keep_aspect_ratio_policy", "stretch") {
        "not_larger" => all.into_iter().reduce(f32::min),
        "not_smaller" => all.into_iter().reduce(f32::max),
        _ => None,
    }
}

/// The size times the scale, rounded down, as engines compute it: in float32.
fn scaled(size: &Size, scale: f64) -> Option<Size> {
    if !(0.0..1e9).contains(&scale) {
        return None;
    }
    if let Some(size) = size.known() {
        return Some(Size::number((size as f32 * scale as f32) as i64));
    }
    // A whole number of some 2ⁿ-th parts.
    let parts = [1i64, 2, 4, 8, 16, 32].into_iter().find(|&parts| (scale * parts as f64).fract() == 0.0)?;
    size.times_number((scale * parts as f64) as i64)?.over(parts)
}
