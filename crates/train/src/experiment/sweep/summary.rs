//! What the runs of a sweep come to.

use super::{Estimate, Point, RunResult, Sweep, paired_difference};
use gnp_report::{AlphaPoint, AlphaSeries, EpochReport, Measure, Reference, alpha_figure, shown};
use serde::{Serialize, Serializer};

/// The measure in the figure beside the test error.
const GRAD_NORM: &str = "grad_norm";

/// What one arm comes to, over its seeds. The numbers are those of the runs' last epochs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ArmSummary {
    /// The arm's name.
    pub name: String,
    /// r and α, where it is a point of the grid.
    pub point: Option<Point>,
    /// The fraction of the test set that is classified wrong.
    pub test_error: Option<Estimate>,
    /// That of the arm less that of the baseline, seed by seed; none for the baseline itself.
    pub difference: Option<Estimate>,
    /// The mean loss over the test set.
    pub test_loss: Option<Estimate>,
    /// The measures of the training steps that a sweep shows.
    #[serde(flatten)]
    pub measures: MeasureEstimates,
    /// The duration of a whole run's steps, in seconds.
    pub seconds: Option<Estimate>,
    /// The seeds whose runs failed, and why.
    pub failed: Vec<(u64, String)>,
}

/// What measures of the training steps come to: those that have a column in a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasureEstimates(Vec<(&'static str, Option<Estimate>)>);

impl MeasureEstimates {
    fn of(estimate: impl Fn(&Measure) -> Option<Estimate>) -> Self {
        let measures = shown(|measure| measure.row, |row| row.place).into_iter().map(|(measure, _)| measure);
        let of_sweeps = measures.filter(|measure| measure.sweep.is_some());
        Self(of_sweeps.map(|measure| (measure.name, estimate(measure))).collect())
    }

    /// What the measure `name` comes to, where that is known.
    pub fn get(&self, name: &str) -> Option<Estimate> {
        self.0.iter().find(|(of, _)| *of == name).and_then(|(_, estimate)| *estimate)
    }
}

/// An entry a measure, under its name.
impl Serialize for MeasureEstimates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// What a sweep comes to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The arm that the others are compared with.
    pub baseline: String,
    /// Each arm, in the sweep's order.
    pub arms: Vec<ArmSummary>,
}

impl Summary {
    /// What `results` come to.
    pub fn of(sweep: &Sweep, results: &[RunResult]) -> Self {
        let baseline = sweep.arms.iter().position(super::Arm::is_plain).unwrap_or(0);
        let errors = |arm| values(results, arm, |report| report.test_error);
        let summarise = |(index, arm): (usize, &super::Arm)| {
            let estimate = |measure: &dyn Fn(&EpochReport) -> Option<f64>| {
                let values: Vec<f64> = values(results, index, measure).into_iter().map(|(_, value)| value).collect();
                Estimate::of(&values)
            };
            let of_arm = results.iter().filter(|result| result.arm == index);
            let seconds: Vec<f64> = of_arm.clone().filter_map(|r| r.outcome.as_ref().ok()).map(|o| o.seconds).collect();
            ArmSummary {
                name: arm.name.clone(),
                point: arm.point,
                test_error: estimate(&|report| report.test_error),
                difference: if index == baseline { None } else { paired_difference(&errors(index), &errors(baseline)) },
                test_loss: estimate(&|report| report.test_loss),
                measures: MeasureEstimates::of(|measure| {
                    estimate(&|report| measure.logged(&report.measures).map(f64::from))
                }),
                seconds: Estimate::of(&seconds),
                failed: of_arm
                    .filter_map(|result| Some((result.seed, result.outcome.as_ref().err()?.clone())))
                    .collect(),
            }
        };
        Self {
            baseline: sweep.arms[baseline].name.clone(),
            arms: sweep.arms.iter().enumerate().map(summarise).collect(),
        }
    }
}

impl Summary {
    /// Test error and gradient norm against α, as an SVG file: a line for each radius, a level for each arm that is no
    /// point of the grid. None where the grid has fewer than two values of α, or errors are not known.
    pub fn figure(&self) -> Option<String> {
        let on_grid = |arm: &ArmSummary| {
            let (error, norm) = (arm.test_error?, arm.measures.get(GRAD_NORM)?);
            let pair = |estimate: Estimate| (estimate.mean, estimate.standard_error.unwrap_or(0.0));
            let Point { r, alpha } = arm.point?;
            Some((r, AlphaPoint { alpha: alpha.into(), error: pair(error), grad_norm: pair(norm) }))
        };
        let (plain, penalised): (Vec<_>, Vec<_>) = self.arms.iter().filter_map(on_grid).partition(|(r, _)| *r == 0.0);
        let mut series: Vec<AlphaSeries> = Vec::new();
        for (r, point) in penalised {
            match series.iter_mut().find(|series| series.r == r) {
                Some(series) => series.points.push(point),
                // Plain training is where every line begins.
                None => series.push(AlphaSeries { r, points: plain.iter().map(|(_, p)| *p).chain([point]).collect() }),
            }
        }
        for series in &mut series {
            series.points.sort_unstable_by(|a, b| a.alpha.total_cmp(&b.alpha));
        }
        let reference = |arm: &ArmSummary| {
            let grad_norm = arm.measures.get(GRAD_NORM).map(|norm| norm.mean);
            let error = arm.test_error.filter(|_| arm.point.is_none())?.mean;
            Some(Reference { label: arm.name.clone(), error, grad_norm })
        };
        let references: Vec<Reference> = self.arms.iter().filter_map(reference).collect();
        let is_a_line = series.iter().any(|series| series.points.len() > 1);
        is_a_line.then(|| alpha_figure(&series, &references))
    }
}

/// A measure of the last epoch of each run of an arm, by its seed.
fn values(results: &[RunResult], arm: usize, measure: impl Fn(&EpochReport) -> Option<f64>) -> Vec<(u64, f64)> {
    let of_arm = results.iter().filter(|result| result.arm == arm);
    of_arm.filter_map(|result| Some((result.seed, measure(result.outcome.as_ref().ok()?.last.as_ref()?)?))).collect()
}
