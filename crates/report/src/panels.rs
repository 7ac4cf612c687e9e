//! Which curves a report shows, in which chart.

use super::axis::Axis;
use super::chart::{Chart, End, Mark, Point, Series};
use super::downsample::bins;
use super::history::History;
use crate::EpochReport;
use crate::measures::{Average, Curve, Measure, Measures, Unit, shown};

const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 270.0;

/// The points of one curve, at most, so that a report of a run of a million steps stays small.
const MOST_POINTS: usize = 400;

/// The points of one measure's curves of all runs in a comparison.
const MOST_TOGETHER: usize = 1600;

/// A curve of a report.
struct Drawn {
    /// What it is called beside others in its chart.
    name: &'static str,
    /// The title of the chart that it has for itself in a comparison.
    alone: &'static str,
    points: Source,
}

/// Where the points of a curve come from.
#[derive(Clone, Copy)]
enum Source {
    /// A measure of the steps.
    Measure(&'static Measure),
    /// What was evaluated after an epoch.
    Test(fn(&EpochReport) -> Option<f64>),
}

/// A chart of a report: its title and its curves.
struct Panel {
    title: &'static str,
    curves: Vec<Drawn>,
}

impl Drawn {
    /// A choice that is warmed up begins near 0, however far that is in decades.
    fn may_be_log(&self) -> bool {
        !matches!(self.points, Source::Measure(Measure { average: Average::Last, .. }))
    }
}

/// The curves of evaluations, and the charts that they are in beside measures.
const TESTS: [(&str, Drawn); 3] = [
    ("Loss", Drawn { name: "test", alone: "Test loss", points: Source::Test(|epoch| epoch.test_loss) }),
    (
        "Error (%)",
        Drawn {
            name: "test",
            alone: "Test error (%)",
            points: Source::Test(|epoch| epoch.test_error.map(|error| 100.0 * error)),
        },
    ),
    (
        "Error (%)",
        Drawn {
            name: "test, top 5",
            alone: "Test error, top 5 (%)",
            points: Source::Test(|epoch| epoch.test_top5_error.map(|error| 100.0 * error)),
        },
    ),
];

/// The charts of a report: measures in the order of their places, evaluations behind them.
fn panels() -> Vec<Panel> {
    let mut panels: Vec<Panel> = Vec::new();
    let measures = shown(|measure| measure.curve, |curve| curve.place).into_iter().map(|(measure, curve)| {
        let Curve { chart, name, alone, .. } = curve;
        (chart, Drawn { name, alone, points: Source::Measure(measure) })
    });
    for (title, curve) in measures.chain(TESTS) {
        match panels.iter_mut().find(|panel| panel.title == title) {
            Some(panel) => panel.curves.push(curve),
            None => panels.push(Panel { title, curves: vec![curve] }),
        }
    }
    panels
}

/// The charts of one run: light the steps, in full the epochs, related measures in one chart. What is not known is left
/// out.
pub fn of_run(run: &History) -> Vec<Chart> {
    let time = Time::of(&[run]);
    let charts = panels().into_iter().map(|panel| {
        let curves = panel.curves.iter().enumerate();
        let series = curves.flat_map(|(colour, curve)| time.both(run, curve, colour)).collect();
        time.chart(panel.title, series, panel.curves.iter().all(Drawn::may_be_log))
    });
    charts.filter(|chart| !chart.series.is_empty()).collect()
}

/// The charts of several runs, named: one measure each, one colour a run; epochs where they are known, otherwise steps.
pub fn of_runs(runs: &[(String, History)]) -> Vec<Chart> {
    let time = Time::of(&runs.iter().map(|(_, run)| run).collect::<Vec<_>>());
    let charts = panels().into_iter().flat_map(|panel| panel.curves).map(|curve| {
        let series = runs.iter().enumerate().filter_map(|(colour, (name, run))| {
            let series = time.both(run, &curve, colour).pop()?;
            Some(Series { name: name.clone(), ..series })
        });
        time.chart(curve.alone, series.collect(), curve.may_be_log())
    });
    charts.filter(|chart| !chart.series.is_empty()).collect()
}

/// A value of a measure as it is drawn.
fn drawn(measure: &Measure, measures: &Measures) -> Option<f64> {
    let value = measure.of(measures)?;
    Some(f64::from(match measure.unit {
        Unit::Number => value,
        Unit::Percent => 100.0 * value,
    }))
}

/// The horizontal axis of all charts of a report.
struct Time {
    axis: Axis,
    is_epochs: bool,
    limit: usize,
}

impl Time {
    /// Epochs where each of `runs` has one; otherwise steps.
    fn of(runs: &[&History]) -> Self {
        let is_epochs = runs.iter().all(|run| run.steps_an_epoch().is_some());
        let limit = (MOST_TOGETHER / runs.len().max(1)).clamp(40, MOST_POINTS);
        let mut time = Self { axis: Axis::exact(0.0, 1.0, true), is_epochs, limit };
        let ends = runs.iter().filter_map(|run| Some(time.at(run, run.steps.last()?.step)));
        time.axis = Axis::exact(0.0, ends.fold(1.0, f64::max), true);
        time
    }

    /// Where a step of `run` stands.
    fn at(&self, run: &History, step: u64) -> f64 {
        match run.steps_an_epoch() {
            Some(steps) if self.is_epochs => step as f64 / steps,
            _ => step as f64,
        }
    }

    /// A measure by step and by epoch, as far as it is known; the line in full is the last.
    fn both(&self, run: &History, curve: &Drawn, colour: usize) -> Vec<Series> {
        let by_epoch = |value: &dyn Fn(&EpochReport) -> Option<f64>| {
            self.points(run.epochs.iter().filter_map(|epoch| Some((self.at(run, epoch.step), value(epoch)?))))
        };
        let (steps, epochs) = match curve.points {
            Source::Test(value) => (Vec::new(), by_epoch(&value)),
            Source::Measure(measure) => {
                let known = run.steps.iter().filter_map(|s| Some((self.at(run, s.step), drawn(measure, &s.measures)?)));
                let means_alone = measure.curve.is_some_and(|curve| curve.means_alone);
                let steps = if means_alone { Vec::new() } else { self.points(known) };
                let is_choice = measure.average == Average::Last;
                let means = |epoch: &EpochReport| drawn(measure, &epoch.measures).filter(|_| !is_choice);
                (steps, by_epoch(&means))
            }
        };
        let series = |name: String, mark, points| Series { name, colour, mark, points };
        let mut both = if epochs.is_empty() {
            vec![series(curve.name.into(), Mark::Fine, steps)]
        } else {
            vec![
                series(format!("{}, steps", curve.name), Mark::Light, steps),
                series(curve.name.into(), Mark::Line, epochs),
            ]
        };
        both.retain(|series| !series.points.is_empty());
        both
    }

    fn points(&self, points: impl Iterator<Item = (f64, f64)>) -> Vec<Point> {
        bins(points, self.limit).into_iter().map(Point::from).collect()
    }

    fn chart(&self, title: &str, series: Vec<Series>, may_be_log: bool) -> Chart {
        Chart {
            title: title.into(),
            x: if self.is_epochs { "epoch" } else { "step" }.into(),
            x_axis: self.axis.clone(),
            series,
            levels: Vec::new(),
            may_be_log,
            end: End::Value,
            width: WIDTH,
            height: HEIGHT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StepReport;

    /// A run of `epochs` epochs of two steps.
    fn run(epochs: u64) -> History {
        let measures = |step: u64| Measures { loss: step as f32, learning_rate: 0.1, ..Measures::default() };
        let step = |step: u64| StepReport { step, measures: measures(step), ..StepReport::default() };
        let epoch = |epoch: u64| EpochReport {
            epoch,
            step: 2 * epoch,
            measures: measures(2 * epoch),
            test_error: Some(0.5),
            ..EpochReport::default()
        };
        History { steps: (1..=2 * epochs).map(step).collect(), epochs: (1..=epochs).map(epoch).collect() }
    }

    fn titles(charts: &[Chart]) -> Vec<&str> {
        charts.iter().map(|chart| chart.title.as_str()).collect()
    }

    fn points(series: &Series) -> Vec<(f64, f64)> {
        series.points.iter().map(|point| (point.x, point.y)).collect()
    }

    #[test]
    fn only_what_is_known_has_a_chart() {
        let charts = of_run(&run(2));
        assert_eq!(titles(&charts), ["Loss", "Error (%)", "Learning rate"]);
        let loss = &charts[0].series;
        assert_eq!(loss.iter().map(|series| series.name.as_str()).collect::<Vec<_>>(), ["train, steps", "train"]);
        assert_eq!(points(&loss[0]), [(0.5, 1.0), (1.0, 2.0), (1.5, 3.0), (2.0, 4.0)]);
        assert_eq!(points(&loss[1]), [(1.0, 2.0), (2.0, 4.0)]);
        assert_eq!(points(&charts[1].series[0]), [(1.0, 50.0), (2.0, 50.0)]);
    }

    #[test]
    fn before_the_first_epoch_ends_there_are_steps() {
        let charts = of_run(&History { epochs: Vec::new(), ..run(2) });
        assert_eq!((charts[0].x.as_str(), charts[0].series.len()), ("step", 1));
        assert_eq!(points(&charts[0].series[0])[3], (4.0, 4.0));
    }

    #[test]
    fn in_a_comparison_each_measure_has_a_chart_and_each_run_a_colour() {
        let charts = of_runs(&[("a".into(), run(1)), ("b".into(), run(3))]);
        assert_eq!(titles(&charts), ["Training loss", "Test error (%)", "Learning rate"]);
        let keys: Vec<_> = charts[0].series.iter().map(|series| (series.name.as_str(), series.colour)).collect();
        assert_eq!(keys, [("a", 0), ("b", 1)]);
        assert!(charts.iter().all(|chart| (chart.x_axis.position(3.0) - 1.0).abs() < 1e-12));
    }

    #[test]
    fn long_runs_have_few_points() {
        let charts = of_run(&run(5000));
        assert!(charts.iter().flat_map(|chart| &chart.series).all(|series| series.points.len() <= MOST_POINTS));
    }
}
