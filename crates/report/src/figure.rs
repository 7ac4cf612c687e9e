//! A sweep over α as a figure: Figure 3 of the GNP paper (Zhao, Zhang, Hu, ICML 2022), test error and gradient norm
//! against α.

use super::axis::Axis;
use super::chart::{Chart, End, Level, Mark, Point, Series, standalone};
use maud::html;

const PANEL: f64 = 410.0;
const GAP: f64 = 24.0;
const MARGIN: f64 = 18.0;
const HEIGHT: f64 = 320.0;

/// The runs of a sweep that have the same r.
#[derive(Clone, Debug, PartialEq)]
pub struct AlphaSeries {
    /// The radius of the perturbation.
    pub r: f32,
    /// One point for each α, in ascending order.
    pub points: Vec<AlphaPoint>,
}

/// The runs of a sweep that have the same r and the same α: means over their seeds with the means' standard errors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlphaPoint {
    /// The weight of the perturbed gradient, from 0 to 1.
    pub alpha: f64,
    /// The test error as a fraction from 0 to 1: mean and standard error.
    pub error: (f64, f64),
    /// The norm of the true gradient: mean and standard error.
    pub grad_norm: (f64, f64),
}

/// Something to compare a sweep with, which does not depend on α: a horizontal line with a label.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// What it is: "plain, 2× epochs".
    pub label: String,
    /// The test error as a fraction from 0 to 1.
    pub error: f64,
    /// The norm of the true gradient, where it is known.
    pub grad_norm: Option<f64>,
}

/// The figure as a standalone SVG file, for light and dark grounds: α from 0 to 1 against the test error in percent,
/// and against the gradient norm; a line for each r, with error bars of one standard error; a dashed line for each
/// reference.
pub fn alpha_figure(series: &[AlphaSeries], references: &[Reference]) -> String {
    let panel = |title: &str, value: fn(&AlphaPoint) -> (f64, f64), levels: Vec<Level>| Chart {
        title: title.into(),
        x: "α".into(),
        x_axis: Axis::exact(0.0, 1.0, false),
        series: series.iter().enumerate().map(|(index, series)| line(index, series, value)).collect(),
        levels,
        may_be_log: true,
        end: End::Name,
        width: PANEL,
        height: HEIGHT,
    };
    let errors = references.iter().map(|r| Level { label: r.label.clone(), y: 100.0 * r.error });
    let norms = references.iter().filter_map(|r| Some(Level { label: r.label.clone(), y: r.grad_norm? }));
    let percent = |point: &AlphaPoint| (100.0 * point.error.0, 100.0 * point.error.1);
    let error = panel("Test error (%)", percent, errors.collect());
    let norm = panel("Gradient norm ‖∇L(θ)‖", |point| point.grad_norm, norms.collect());
    let width = 2.0 * (MARGIN + PANEL) + GAP;
    let contents = html! {
        g transform=(format!("translate({MARGIN} {MARGIN})")) { (error.contents()) }
        g transform=(format!("translate({} {MARGIN})", MARGIN + PANEL + GAP)) { (norm.contents()) }
    };
    standalone(width, HEIGHT + 1.5 * MARGIN, "Test error and gradient norm against α", &contents)
}

fn line(index: usize, series: &AlphaSeries, value: fn(&AlphaPoint) -> (f64, f64)) -> Series {
    let points = series.points.iter().map(|point| {
        let (y, error) = value(point);
        Point { x: point.alpha, y, low: y - error, high: y + error }
    });
    let points = points.filter(|point| point.low.is_finite() && point.high.is_finite()).collect();
    Series { name: format!("r = {}", series.r), colour: index, mark: Mark::Errors, points }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_panels_have_every_line_and_reference() {
        let point =
            |alpha: f64| AlphaPoint { alpha, error: (0.05 - 0.01 * alpha, 0.002), grad_norm: (1.0 - 0.5 * alpha, 0.1) };
        let series = [0.05, 0.1].map(|r| AlphaSeries { r, points: [0.0, 0.5, 1.0].map(point).to_vec() });
        let references = [
            Reference { label: "plain, <2×> epochs".into(), error: 0.048, grad_norm: Some(0.9) },
            Reference { label: "plain, tuned weight decay".into(), error: 0.047, grad_norm: None },
        ];
        let svg = alpha_figure(&series, &references);
        assert_eq!(svg.matches("data-points=\"0,5 0.5,4.5 1,4\"").count(), 2, "{svg}");
        assert_eq!(svg.matches("data-points=\"0,1 0.5,0.75 1,0.5\"").count(), 2);
        assert_eq!(svg.matches("class=\"whisker\"").count(), 12);
        assert_eq!(svg.matches("class=\"reference\"").count(), 3);
        assert!(svg.contains("r = 0.05") && svg.contains("plain, &lt;2×&gt; epochs"));
        assert!(!svg.contains("href") && !svg.contains("url("));
    }
}
