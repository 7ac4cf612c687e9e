//! Curves as SVG: in a page, or as a file of their own.

use super::axis::Axis;
use super::downsample::Bin;
use super::number::number;
use maud::{Markup, PreEscaped, html};
use std::fmt::Write as _;

/// The style sheet that all charts of a page share. A standalone file carries it.
pub const STYLE: &str = include_str!("chart.css");

/// Colours that can be told apart; series beyond are dashed in the same ones.
pub const COLOURS: usize = 7;

const LEGEND_LINE: f64 = 17.0;
const BOTTOM: f64 = 36.0;

/// With no more points than these each has a dot.
const MOST_DOTS: usize = 30;

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A line.
    Line,
    /// A thin line.
    Fine,
    /// A thin line within the band of its extremes: the ground that other lines stand on.
    Light,
    /// A line through dots with error bars.
    Errors,
}

/// A point of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    /// The ends of the band or the error bar.
    pub low: f64,
    pub high: f64,
}

impl From<Bin> for Point {
    fn from(bin: Bin) -> Self {
        Self { x: bin.x, y: bin.mean, low: bin.min, high: bin.max }
    }
}

/// One curve.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    /// The index of its colour; what shares one belongs together.
    pub colour: usize,
    pub mark: Mark,
    pub points: Vec<Point>,
}

/// What stands at the right end of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its last value.
    Value,
    /// Its name.
    Name,
}

/// A horizontal line to compare with.
#[derive(Clone, Debug)]
pub struct Level {
    pub label: String,
    pub y: f64,
}

/// A chart: one measure, or several in the same unit.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What is measured, with its unit.
    pub title: String,
    /// What the horizontal axis is.
    pub x: String,
    pub x_axis: Axis,
    pub series: Vec<Series>,
    pub levels: Vec<Level>,
    /// Whether the vertical axis may be logarithmic.
    pub may_be_log: bool,
    /// What stands at the ends of the curves. Unless that is their names, a legend has them, if there are several.
    pub end: End,
    pub width: f64,
    pub height: f64,
}

/// The rectangle of the curves, the space beside them in it, and the axes along it.
struct Frame<'c> {
    inset: f64,
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
    x_axis: &'c Axis,
    y_axis: Axis,
}

impl Frame<'_> {
    fn x(&self, value: f64) -> f64 {
        let (left, right) = (self.left + self.inset, self.right - self.inset);
        left + self.x_axis.position(value) * (right - left)
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom - self.y_axis.position(value) * (self.bottom - self.top)
    }
}

impl End {
    fn of(self, series: &Series) -> Option<String> {
        let last = series.points.last()?;
        Some(match self {
            Self::Value => number(last.y),
            Self::Name => series.name.clone(),
        })
    }
}

impl Chart {
    /// The chart as an element of a page that has [`STYLE`].
    pub fn svg(&self) -> Markup {
        html! {
            svg.chart xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {} {}", self.width, self.height)) role="img" aria-label=(self.title) {
                (self.contents())
            }
        }
    }

    /// What stands in the chart, in a system of coordinates from 0, 0 to its width and height.
    pub fn contents(&self) -> Markup {
        let lines = || self.series.iter().filter(|series| series.mark != Mark::Light);
        let has_legend = self.end != End::Name && self.series.len() > 1;
        let (legend, legend_height) = if has_legend { legend(&self.series, self.width) } else { (html! {}, 0.0) };
        let levels = self.levels.iter().map(|level| level.y);
        let values = self.series.iter().flat_map(|series| series.points.iter().flat_map(|p| [p.y, p.low, p.high]));
        let values = values.chain(levels);
        let y_axis = if self.may_be_log { Axis::fitting(values) } else { Axis::linear_fitting(values) };
        let widest = |texts: &mut dyn Iterator<Item = String>| texts.map(|text| width_of(&text)).fold(0.0, f64::max);
        let frame = Frame {
            inset: if lines().any(|series| series.mark == Mark::Errors) { 10.0 } else { 0.0 },
            left: widest(&mut y_axis.ticks.iter().map(|(_, label)| label.clone())) + 10.0,
            top: 30.0 + legend_height,
            right: self.width - widest(&mut lines().filter_map(|series| self.end.of(series))) - 12.0,
            bottom: self.height - BOTTOM,
            x_axis: &self.x_axis,
            y_axis,
        };
        html! {
            text.title x="0" y="14" { (self.title) }
            (legend)
            (grid(&frame, &self.x))
            // What is light is the ground of the rest.
            @for series in self.series.iter().filter(|series| series.mark == Mark::Light) { (curve(series, &frame)) }
            @for level in &self.levels { (reference(level, &frame)) }
            @for series in lines() { (curve(series, &frame)) }
            (level_labels(&self.levels, &self.series, &frame))
            (end_labels(lines(), self.end, &frame))
        }
    }
}

/// The names of `series` with their colours below the title, in as many lines as `width` asks for. Returns their
/// height, too.
fn legend(series: &[Series], width: f64) -> (Markup, f64) {
    let (mut x, mut y) = (0.0, 34.0);
    let mut places = Vec::new();
    for series in series {
        let wide = 24.0 + width_of(&series.name);
        if x > 0.0 && x + wide > width {
            (x, y) = (0.0, y + LEGEND_LINE);
        }
        places.push((series, x, y));
        x += wide + 12.0;
    }
    let markup = html! {
        @for (series, x, y) in places {
            g class=(class_of(series)) {
                path.curve d=(format!("M{x:.1} {:.1}h18", y - 4.0)) {}
                text.name x=(format!("{:.1}", x + 24.0)) y=(format!("{y:.1}")) { (series.name) }
            }
        }
    };
    (markup, y - 34.0 + LEGEND_LINE)
}

fn grid(frame: &Frame<'_>, x_label: &str) -> Markup {
    let Frame { left, right, bottom, .. } = *frame;
    html! {
        @for (value, label) in &frame.y_axis.ticks {
            @let y = format!("{:.1}", frame.y(*value));
            line.grid x1=(format!("{left:.1}")) x2=(format!("{right:.1}")) y1=(y) y2=(y) {}
            text.number x=(format!("{:.1}", left - 6.0)) y=(y) dy="0.35em" text-anchor="end" { (label) }
        }
        line.axis x1=(format!("{left:.1}")) x2=(format!("{right:.1}")) y1=(format!("{bottom:.1}")) y2=(format!("{bottom:.1}")) {}
        @for (value, label) in &frame.x_axis.ticks {
            @let x = format!("{:.1}", frame.x(*value));
            line.axis x1=(x) x2=(x) y1=(format!("{bottom:.1}")) y2=(format!("{:.1}", bottom + 4.0)) {}
            text.number x=(x) y=(format!("{:.1}", bottom + 16.0)) text-anchor="middle" { (label) }
        }
        text x=(format!("{:.1}", (left + right) / 2.0)) y=(format!("{:.1}", bottom + 31.0)) text-anchor="middle" { (x_label) }
    }
}

/// A series. Its points are in `data-points` as `x,y` in the chart's units, as they are in the geometry in pixels.
fn curve(series: &Series, frame: &Frame<'_>) -> Markup {
    let points = &series.points;
    let mut data = String::new();
    let mut path = String::new();
    for Point { x, y, .. } in points {
        let separator = if data.is_empty() { "" } else { " " };
        let _ = write!(data, "{separator}{},{}", *x as f32, *y as f32);
        let _ = write!(path, "{separator}{:.1},{:.1}", frame.x(*x), frame.y(*y));
    }
    let has_band = series.mark == Mark::Light && points.iter().any(|point| point.low < point.high);
    let has_dots = series.mark == Mark::Errors || (series.mark != Mark::Light && points.len() <= MOST_DOTS);
    let radius = if series.mark == Mark::Errors { "3.5" } else { "2.6" };
    html! {
        g class=(format!("series {}", class_of(series))) data-name=(series.name) data-points=(data) {
            @if has_band { polygon.band points=(outline(points, frame)) {} }
            polyline.curve points=(path) {}
            @if series.mark == Mark::Errors {
                @for point in points { path.whisker d=(whisker(point, frame)) {} }
            }
            @if has_dots {
                @for point in points {
                    circle.dot cx=(format!("{:.1}", frame.x(point.x))) cy=(format!("{:.1}", frame.y(point.y))) r=(radius) {}
                }
            }
        }
    }
}

/// The band between the extremes: forth along the upper, back along the lower.
fn outline(points: &[Point], frame: &Frame<'_>) -> String {
    let upper = points.iter().map(|point| (point.x, point.high));
    let lower = points.iter().rev().map(|point| (point.x, point.low));
    let mut text = String::new();
    for (x, y) in upper.chain(lower) {
        let _ = write!(text, "{:.1},{:.1} ", frame.x(x), frame.y(y));
    }
    text
}

fn whisker(point: &Point, frame: &Frame<'_>) -> String {
    let (x, low, high) = (frame.x(point.x), frame.y(point.low), frame.y(point.high));
    format!("M{:.1} {low:.1}h6m-3 0V{high:.1}m-3 0h6", x - 3.0)
}

fn reference(level: &Level, frame: &Frame<'_>) -> Markup {
    let y = format!("{:.1}", frame.y(level.y));
    html! {
        line.reference x1=(format!("{:.1}", frame.left)) x2=(format!("{:.1}", frame.right)) y1=(y) y2=(y) {}
    }
}

/// The labels of levels, each above or below its line where it is farthest from curves and from the labels before it.
fn level_labels(levels: &[Level], series: &[Series], frame: &Frame<'_>) -> Markup {
    let mut placed: Vec<(f64, f64, f64)> = Vec::new();
    for level in levels {
        let width = width_of(&level.label);
        let room = (frame.right - frame.left - width - 8.0).max(0.0);
        let places = (0..=16).flat_map(|part| [-9.0, 9.0].map(|above| (part, above)));
        let places = places.map(|(part, above)| {
            let (left, middle) = (frame.left + 4.0 + room * f64::from(part) / 16.0, frame.y(level.y) + above);
            let samples = (0..=16).map(|part| left + width * f64::from(part) / 16.0);
            let curves = samples.flat_map(|x| series.iter().filter_map(move |series| place_at(series, x, frame)));
            let lines = levels.iter().map(|level| frame.y(level.y));
            let labels = placed.iter().filter(|other| other.0 < left + width && left < other.0 + other.2);
            let others = curves.chain(lines).chain(labels.map(|other| other.1));
            let distance = others.map(|y| (y - middle).abs()).fold(f64::INFINITY, f64::min);
            (distance, left, middle)
        });
        // Room for the text is enough: of two places that have it the first is as good.
        let best = places.max_by(|a, b| a.0.min(14.0).total_cmp(&b.0.min(14.0)).then(b.1.total_cmp(&a.1)));
        placed.extend(best.map(|(_, left, middle)| (left, middle, width)));
    }
    html! {
        @for (level, (x, y, _)) in levels.iter().zip(&placed) {
            text.on-ground x=(format!("{x:.1}")) y=(format!("{y:.1}")) dy="0.35em" { (level.label) }
        }
    }
}

/// The height in pixels of a curve at `x` in pixels, where it is there.
fn place_at(series: &Series, x: f64, frame: &Frame<'_>) -> Option<f64> {
    let pair = series.points.windows(2).find(|pair| (frame.x(pair[0].x)..=frame.x(pair[1].x)).contains(&x))?;
    let [(from, low), (to, high)] = [pair[0], pair[1]].map(|point| (frame.x(point.x), frame.y(point.y)));
    Some(if to > from { low + (high - low) * (x - from) / (to - from) } else { low })
}

/// What stands at the ends of those curves that end at the right, moved apart where it would overlap.
fn end_labels<'s>(lines: impl Iterator<Item = &'s Series>, end: End, frame: &Frame<'_>) -> Markup {
    let is_right = |point: &Point| frame.right - frame.inset - frame.x(point.x) < 4.0;
    let labels = lines.filter_map(|line| Some((line, line.points.last().filter(|p| is_right(p))?, end.of(line)?)));
    let mut labels: Vec<_> = labels.collect();
    labels.sort_by(|a, b| frame.y(a.1.y).total_cmp(&frame.y(b.1.y)));
    let wanted: Vec<f64> = labels.iter().map(|(_, point, _)| frame.y(point.y)).collect();
    let places = spread(&wanted, 13.0, frame.top + 4.0, frame.bottom - 4.0);
    html! {
        @for ((series, point, text), y) in labels.iter().zip(places) {
            text class=(format!("number end {}", class_of(series))) x=(format!("{:.1}", frame.x(point.x) + frame.inset + 7.0)) y=(format!("{y:.1}")) dy="0.35em" {
                (text)
            }
        }
    }
}

/// Ascending places at least `gap` apart between `low` and `high`, as far as there is room, near to the ascending
/// `wanted` ones.
fn spread(wanted: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    let mut places: Vec<f64> = Vec::with_capacity(wanted.len());
    for &place in wanted {
        let free = places.last().map_or(low, |last| last + gap);
        places.push(place.max(free));
    }
    let mut limit = high;
    for place in places.iter_mut().rev() {
        *place = place.min(limit);
        limit = *place - gap;
    }
    places
}

fn class_of(series: &Series) -> String {
    let dashed = if series.colour >= COLOURS { " dashed" } else { "" };
    let mark = match series.mark {
        Mark::Line | Mark::Errors => "",
        Mark::Fine => " fine",
        Mark::Light => " light",
    };
    format!("c{}{dashed}{mark}", series.colour % COLOURS)
}

/// The width of a text of 11 pixels in a wide font; a little more in most.
fn width_of(text: &str) -> f64 {
    let width = |letter| match letter {
        ' ' | '.' | ',' | '\'' | 'i' | 'j' | 'l' | '|' | '·' => 3.6,
        'f' | 'r' | 't' | '(' | ')' | '-' => 4.5,
        'm' | 'w' | '%' => 10.0,
        letter if letter.is_uppercase() => 8.0,
        _ => 7.0,
    };
    text.chars().map(width).sum()
}

/// A file of its own, with its style sheet and an opaque ground.
pub fn standalone(width: f64, height: f64, title: &str, contents: &Markup) -> String {
    let svg = html! {
        svg.chart xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {width} {height}")) width=(width) height=(height) role="img" aria-label=(title) {
            title { (title) }
            style { (PreEscaped(STYLE)) }
            rect.ground width=(width) height=(height) rx="6" {}
            (contents)
        }
    };
    svg.into_string() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chart(series: Vec<Series>) -> Chart {
        let levels = vec![Level { label: "as <before>".into(), y: 2.0 }];
        let x_axis = Axis::exact(0.0, 2.0, true);
        let (title, x) = ("Loss & co".into(), "epoch".into());
        Chart { title, x, x_axis, series, levels, may_be_log: true, end: End::Value, width: 400.0, height: 300.0 }
    }

    fn series(name: &str, mark: Mark, ys: &[f64]) -> Series {
        let point = |(x, &y): (usize, &f64)| Point { x: x as f64, y, low: y - 0.5, high: y + 0.5 };
        Series { name: name.into(), colour: 0, mark, points: ys.iter().enumerate().map(point).collect() }
    }

    /// The values of an attribute of elements of a class.
    fn attributes<'s>(svg: &'s str, class: &str, name: &str) -> Vec<&'s str> {
        let elements = svg.split('<').filter(|element| element.contains(&format!("class=\"{class}")));
        elements.filter_map(|e| e.split_once(&format!(" {name}=\""))?.1.split('"').next()).collect()
    }

    #[test]
    fn points_stand_where_the_ticks_say() {
        let svg = chart(vec![series("a", Mark::Line, &[1.0, 2.0, 0.0])]).svg().into_string();
        assert_eq!(attributes(&svg, "series", "data-points"), ["0,1 1,2 2,0"]);
        let points: Vec<Vec<f64>> = attributes(&svg, "curve", "points")[0]
            .split(' ')
            .map(|pair| pair.split(',').map(|number| number.parse().unwrap()).collect())
            .collect();
        let lines: Vec<f64> = attributes(&svg, "grid", "y1").iter().map(|y| y.parse().unwrap()).collect();
        let tick = |label: &str| {
            let labels = svg.split("text-anchor=\"end\">").skip(1).map(|rest| rest.split('<').next().unwrap());
            lines[labels.into_iter().position(|found| found == label).unwrap()]
        };
        assert_eq!([points[0][1], points[1][1], points[2][1]], [tick("1.0"), tick("2.0"), tick("0")]);
        let ticks: Vec<f64> = attributes(&svg, "axis", "x1").iter().skip(1).map(|x| x.parse().unwrap()).collect();
        assert_eq!([points[0][0], points[1][0], points[2][0]], ticks[..]);
    }

    #[test]
    fn error_bars_and_bands_reach_to_the_extremes() {
        let bars = chart(vec![series("a", Mark::Errors, &[1.0, 2.0])]).svg().into_string();
        assert_eq!(attributes(&bars, "whisker", "d").len(), 2);
        let band = chart(vec![series("a", Mark::Light, &[1.0, 2.0])]).svg().into_string();
        assert_eq!(attributes(&band, "band", "points")[0].trim().split(' ').count(), 4);
    }

    #[test]
    fn what_users_write_is_escaped() {
        let svg = chart(vec![series("<b>\"", Mark::Line, &[1.0]), series("b", Mark::Fine, &[1.0])]).svg().into_string();
        assert!(!svg.contains("<b>") && !svg.contains("<before>"), "{svg}");
        assert!(svg.contains("&lt;b&gt;") && svg.contains("Loss &amp; co"), "{svg}");
    }

    #[test]
    fn a_chart_of_nothing_is_a_grid() {
        let svg = chart(vec![series("a", Mark::Line, &[])]).svg().into_string();
        assert!(svg.contains("data-points=\"\"") && !svg.contains("NaN"), "{svg}");
    }

    proptest! {
        #[test]
        fn labels_do_not_overlap(mut wanted in prop::collection::vec(0.0..100.0_f64, 0..7)) {
            wanted.sort_by(f64::total_cmp);
            let places = spread(&wanted, 13.0, 0.0, 100.0);
            prop_assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= 13.0 - 1e-9), "{places:?}");
            prop_assert!(places.iter().all(|place| (-1e-9..=100.0 + 1e-9).contains(place)), "{places:?}");
        }
    }
}
