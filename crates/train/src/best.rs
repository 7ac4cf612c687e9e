//! The best epoch of a run by a metric, and how long ago it was.

use gnp_base::{Error, Result};
use gnp_report::{EpochReport, Score};
use serde::{Deserialize, Serialize};
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// What tells a better epoch from a worse one; less is better where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The fraction of the labels of the test set that are wrong
    TestError,
    /// The mean loss over the test set
    TestLoss,
    /// The mean training loss over the epoch
    Loss,
    /// Macro F1 on the test set; more is better, as of the next two
    TestF1,
    /// The mean intersection over union on the test set
    TestMeanIou,
    /// R² on the test set
    TestR2,
    /// The mean absolute error on the test set
    TestMae,
}

impl Metric {
    /// Its name, as its flag takes it and `state.json` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TestError => "test-error",
            Self::TestLoss => "test-loss",
            Self::Loss => "loss",
            Self::TestF1 => "test-f1",
            Self::TestMeanIou => "test-mean-iou",
            Self::TestR2 => "test-r2",
            Self::TestMae => "test-mae",
        }
    }

    /// The score that it is, where it is one.
    fn score(self) -> Option<Score> {
        match self {
            Self::TestF1 => Some(Score::F1),
            Self::TestMeanIou => Some(Score::MeanIou),
            Self::TestR2 => Some(Score::R2),
            Self::TestMae => Some(Score::Mae),
            Self::TestError | Self::TestLoss | Self::Loss => None,
        }
    }

    /// A value of it as a number of which less is better.
    fn as_cost(self, value: f64) -> f64 {
        self.score().map_or(value, |score| score.as_cost(value))
    }

    /// Its value after an epoch; none where it was not measured.
    ///
    /// ```
    /// use gnp_report::EpochReport;
    /// use gnp_train::Metric;
    /// let report = EpochReport { test_error: Some(0.25), ..EpochReport::default() };
    /// assert_eq!(Metric::TestError.of(&report), Some(0.25));
    /// assert_eq!(Metric::TestLoss.of(&report), None);
    /// ```
    pub fn of(self, report: &EpochReport) -> Option<f64> {
        match self {
            Self::TestError => report.known_test_error(),
            Self::TestLoss => report.test_loss,
            Self::Loss => Some(report.measures.loss.into()),
            _ => self.score().and_then(|score| report.test_scores.get(&score).copied()),
        }
    }

    /// What a run is judged by where nothing was asked for: the test error, else the test loss, and without test data
    /// the training loss. None after an epoch that was not evaluated.
    fn by_default(report: &EpochReport, has_test: bool) -> Option<Self> {
        let measured = |metric: &Self| metric.of(report).is_some();
        if has_test { [Self::TestError, Self::TestLoss].into_iter().find(measured) } else { Some(Self::Loss) }
    }

    /// That it cannot be measured, and why.
    pub(super) fn unknown(self, why: &str) -> Error {
        Error::input(format!("the best epoch by {} cannot be told: {why}", self.name())).help(
            "--best test-loss needs test data and a model to evaluate, --best test-error labels that are classes or \
                 probabilities too, --best test-mae or test-r2 targets that are numbers, --best loss none of it",
        )
    }
}

/// An epoch and what it is worth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The epoch, from 1.
    pub epoch: u64,
    /// What it was judged by.
    pub metric: Metric,
    /// The metric's value.
    pub value: f64,
}

impl Best {
    /// Whether it is better than `other` by more than `margin`. What is not a number is better than nothing.
    fn beats(&self, other: Option<&Self>, margin: f64) -> bool {
        let cost = |best: &Self| best.metric.as_cost(best.value);
        self.value.is_finite() && other.is_none_or(|other| cost(self) < cost(other) - margin)
    }
}

/// How the epochs of a run so far compare.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The best epoch; of equal ones the first.
    pub best: Option<Best>,
    /// The last epoch that was better than the last one of these by more than the margin.
    improved: Option<Best>,
    /// The last epoch that was judged.
    judged: u64,
}

impl Standing {
    /// The epochs up to the last one judged that have brought no improvement.
    pub fn waited(&self) -> u64 {
        self.judged.saturating_sub(self.improved.map_or(0, |improved| improved.epoch))
    }

    /// Compares an epoch with those before by `wanted`, or else by what there is; `margin` is what counts as an
    /// improvement. An epoch that was not evaluated is not judged by what it lacks. A run that is suddenly judged by
    /// something else begins anew.
    ///
    /// # Errors
    /// Where the epoch was evaluated and `wanted` was not measured.
    pub(super) fn judge(
        &mut self,
        report: &EpochReport,
        wanted: Option<Metric>,
        has_test: bool,
        margin: f64,
    ) -> Result<()> {
        let Some(metric) = wanted.or(Metric::by_default(report, has_test)) else { return Ok(()) };
        let Some(value) = metric.of(report) else {
            let was_evaluated = report.test_loss.is_some();
            return if was_evaluated { Err(metric.unknown("the evaluation does not tell it")) } else { Ok(()) };
        };
        if self.best.is_some_and(|best| best.metric != metric) {
            *self = Self::default();
        }
        let now = Best { epoch: report.epoch, metric, value };
        if now.beats(self.best.as_ref(), 0.0) {
            self.best = Some(now);
        }
        if now.beats(self.improved.as_ref(), margin) {
            self.improved = Some(now);
        }
        self.judged = report.epoch;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_report::Measures;
    use proptest::prelude::*;

    fn report(epoch: u64, loss: f32, test_loss: Option<f64>, test_error: Option<f64>) -> EpochReport {
        EpochReport {
            epoch,
            measures: Measures { loss, ..Measures::default() },
            test_loss,
            test_error,
            ..EpochReport::default()
        }
    }

    fn judged(errors: &[f64], margin: f64) -> Standing {
        let mut standing = Standing::default();
        for (epoch, &error) in (1..).zip(errors) {
            standing.judge(&report(epoch, 0.0, Some(0.0), Some(error)), None, true, margin).unwrap();
        }
        standing
    }

    #[test]
    fn judges_by_what_there_is() {
        let metric = |test_loss, test_error, has_test| {
            let mut standing = Standing::default();
            standing.judge(&report(1, 3.0, test_loss, test_error), None, has_test, 0.0).unwrap();
            standing.best.map(|best| (best.metric, best.value))
        };
        assert_eq!(metric(Some(2.0), Some(1.0), true), Some((Metric::TestError, 1.0)));
        assert_eq!(metric(Some(2.0), None, true), Some((Metric::TestLoss, 2.0)));
        assert_eq!(metric(None, None, true), None);
        assert_eq!(metric(None, None, false), Some((Metric::Loss, 3.0)));
    }

    #[test]
    fn what_was_asked_for_must_be_measured() {
        let mut standing = Standing::default();
        let mut judge =
            |test_loss| standing.judge(&report(1, 1.0, test_loss, None), Some(Metric::TestError), true, 0.0);
        judge(None).unwrap();
        let error = judge(Some(1.0)).unwrap_err();
        assert!(error.to_string().starts_with("the best epoch by test-error cannot be told"), "{error}");
    }

    #[test]
    fn only_what_exceeds_the_margin_is_an_improvement() {
        let standing = judged(&[0.5, 0.45, 0.41, 0.41], 0.1);
        assert_eq!(standing.best.map(|best| (best.epoch, best.value)), Some((3, 0.41)));
        assert_eq!(standing.waited(), 3);
        assert_eq!(judged(&[0.5, 0.45, 0.39], 0.1).waited(), 0);
    }

    #[test]
    fn epochs_that_are_not_evaluated_count_once_one_is() {
        let mut standing = judged(&[0.5], 0.0);
        standing.judge(&report(2, 0.0, None, None), None, true, 0.0).unwrap();
        assert_eq!(standing.waited(), 0);
        standing.judge(&report(3, 0.0, Some(0.0), Some(0.6)), None, true, 0.0).unwrap();
        assert_eq!(standing.waited(), 2);
    }

    #[test]
    fn what_is_no_number_is_no_improvement() {
        let standing = judged(&[f64::NAN, f64::INFINITY], 0.0);
        assert_eq!((standing.best, standing.waited()), (None, 2));
        assert_eq!(judged(&[0.5, f64::NAN], 0.0).best.map(|best| best.epoch), Some(1));
    }

    proptest! {
        #[test]
        fn the_best_is_the_first_of_the_smallest(errors in prop::collection::vec(0u8..10, 1..30)) {
            let errors: Vec<f64> = errors.into_iter().map(f64::from).collect();
            let smallest = errors.iter().copied().fold(f64::INFINITY, f64::min);
            let first = 1 + errors.iter().position(|&error| error == smallest).unwrap() as u64;
            let standing = judged(&errors, 0.0);
            prop_assert_eq!(standing.best.map(|best| (best.epoch, best.value)), Some((first, smallest)));
            prop_assert_eq!(standing.waited(), errors.len() as u64 - first);
        }
    }
}
