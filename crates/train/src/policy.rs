//! When a run evaluates, saves, and ends before its last epoch.

use crate::{Fingerprint, Metric, Standing};
use gnp_base::Result;
use std::num::NonZero;

/// When a run evaluates, saves, and ends before its last epoch. None of it changes a step.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointPolicy {
    /// The epochs from one checkpoint to the next. One is written whenever the run stops or ends, too.
    pub checkpoint_every: NonZero<u64>,
    /// How many checkpoints are kept: the newest.
    pub keep: NonZero<usize>,
    /// What the best epoch is told by; its checkpoint is kept as well. Where none is given, the best epoch is told by
    /// the test error, else the test loss, and without test data the training loss, and its checkpoint goes like any
    /// other.
    pub best: Option<Metric>,
    /// The epochs without an improvement after which the run ends; where none is given, it never does.
    pub patience: Option<NonZero<u64>>,
    /// By how much the metric must fall to be an improvement, in its own unit.
    pub min_delta: f64,
    /// The epochs from one evaluation to the next. The last epoch is always evaluated.
    pub evaluate_every: NonZero<u64>,
}

impl Default for CheckpointPolicy {
    fn default() -> Self {
        Self {
            checkpoint_every: NonZero::<u64>::MIN,
            keep: NonZero::<usize>::MIN.saturating_add(1),
            best: None,
            patience: None,
            min_delta: 0.0,
            evaluate_every: NonZero::<u64>::MIN,
        }
    }
}

impl CheckpointPolicy {
    /// Checks that what the best epoch is told by will be known in a run with a test set that is evaluated, if
    /// `has_test`, and whose evaluation tells errors, if `tells_error`.
    ///
    /// # Errors
    /// Where it will not.
    pub fn check(&self, has_test: bool, tells_error: bool) -> Result<()> {
        match self.best {
            Some(metric) if metric != Metric::Loss && !has_test => Err(metric.unknown("no test data are evaluated")),
            Some(metric @ Metric::TestError) if !tells_error => {
                Err(metric.unknown("the loss has no right and wrong, or the model returns no logits"))
            }
            _ => Ok(()),
        }
    }

    /// Adds to a run's fingerprint what decides the lines of `metrics.jsonl` and which epoch is the best. What is kept
    /// and when the run ends may change from one resumption to the next.
    #[must_use]
    pub fn add_to(&self, fingerprint: Fingerprint) -> Fingerprint {
        fingerprint.with("evaluate every", self.evaluate_every.get()).with("best by", self.best.map(Metric::name))
    }

    /// Whether the test set is evaluated after `epoch` of `epochs`.
    pub(super) fn evaluates_after(&self, epoch: u64, epochs: u64) -> bool {
        epoch.is_multiple_of(self.evaluate_every.get()) || epoch == epochs
    }

    /// Whether a checkpoint is written after `epoch`, for itself or because it is the best.
    pub(super) fn saves_after(&self, epoch: u64, standing: &Standing) -> bool {
        epoch.is_multiple_of(self.checkpoint_every.get()) || self.best_kept(standing) == Some(epoch)
    }

    /// The epoch whose checkpoint is kept for being the best.
    pub(super) fn best_kept(&self, standing: &Standing) -> Option<u64> {
        standing.best.filter(|_| self.best.is_some()).map(|best| best.epoch)
    }

    /// Whether there was no improvement for too long.
    pub(super) fn is_out_of_patience(&self, standing: &Standing) -> bool {
        self.patience.is_some_and(|patience| standing.waited() >= patience.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_at_once_what_cannot_be_known() {
        let check = |best, has_test, tells| CheckpointPolicy { best, ..Default::default() }.check(has_test, tells);
        check(None, false, false).unwrap();
        check(Some(Metric::Loss), false, false).unwrap();
        check(Some(Metric::TestLoss), true, false).unwrap();
        check(Some(Metric::TestError), true, true).unwrap();
        assert!(check(Some(Metric::TestLoss), false, false).is_err());
        assert!(check(Some(Metric::TestError), false, true).is_err());
        assert!(check(Some(Metric::TestError), true, false).is_err());
    }

    #[test]
    fn the_last_epoch_is_always_evaluated() {
        let every = |n| CheckpointPolicy { evaluate_every: NonZero::new(n).unwrap(), ..Default::default() };
        let evaluated = |n| (1..=5).filter(|&epoch| every(n).evaluates_after(epoch, 5)).collect::<Vec<u64>>();
        assert_eq!(evaluated(1), [1, 2, 3, 4, 5]);
        assert_eq!(evaluated(2), [2, 4, 5]);
        assert_eq!(evaluated(9), [5]);
    }

    #[test]
    fn what_is_kept_may_change_in_a_resumed_run() {
        let fingerprint = |policy: CheckpointPolicy| policy.add_to(Fingerprint::default());
        let begun = fingerprint(CheckpointPolicy::default());
        let keep = NonZero::new(7).unwrap();
        fingerprint(CheckpointPolicy { keep, patience: NonZero::new(3), ..Default::default() })
            .check_continues(&begun, false)
            .unwrap();
        let error = fingerprint(CheckpointPolicy { best: Some(Metric::Loss), ..Default::default() })
            .check_continues(&begun, false)
            .unwrap_err();
        assert_eq!(error.to_string(), r#"the run was begun otherwise: best by was not given, is "loss""#);
    }
}
