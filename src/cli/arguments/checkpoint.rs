//! When a run evaluates, saves, and ends before its last epoch.

use super::bounded::{MANY, at_most};
use super::named::named;
use crate::train::{CheckpointPolicy, Metric};
use clap::Args;
use std::num::NonZero;

/// When a run evaluates, saves, and ends before its last epoch.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Checkpoints")]
pub struct CheckpointArguments {
    /// Epochs from one checkpoint to the next; one is written too when the run is stopped, and when it ends
    #[arg(long, value_name = "EPOCHS", default_value = "1", value_parser = at_most::<NonZero<u64>, MANY>)]
    checkpoint_every: NonZero<u64>,
    /// Checkpoints that are kept, the newest
    #[arg(long, value_name = "N", default_value = "2", value_parser = at_most::<NonZero<usize>, MANY>)]
    keep: NonZero<usize>,
    /// Keep the checkpoint of the best epoch as well, and tell it by this
    #[arg(long, value_parser = named::<Metric>(), value_name = "METRIC")]
    best: Option<Metric>,
    /// End the run after so many epochs without an improvement of the metric [default: never]
    ///
    /// The metric is that of --best; where none is given, the test error, else the test loss, and without test data the
    /// training loss.
    #[arg(long, value_name = "EPOCHS", value_parser = at_most::<NonZero<u64>, MANY>)]
    patience: Option<NonZero<u64>>,
    /// What the metric must fall by to be an improvement, for --patience; a test error is from 0 to 1
    #[arg(long, value_name = "DELTA", default_value = "0", value_parser = delta, allow_negative_numbers = true)]
    min_delta: f64,
    /// Epochs from one evaluation on the test data to the next; the last epoch is always evaluated
    #[arg(long, value_name = "EPOCHS", default_value = "1", value_parser = at_most::<NonZero<u64>, MANY>)]
    evaluate_every: NonZero<u64>,
}

fn delta(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(delta) if f64::is_finite(delta) && delta >= 0.0 => Ok(delta),
        _ => Err("expected a number from 0 on".to_owned()),
    }
}

impl CheckpointArguments {
    /// The policy that is asked for.
    pub fn policy(&self) -> CheckpointPolicy {
        let Self { checkpoint_every, keep, best, patience, min_delta, evaluate_every } = *self;
        CheckpointPolicy { checkpoint_every, keep, best, patience, min_delta, evaluate_every }
    }
}

impl Default for CheckpointArguments {
    fn default() -> Self {
        let CheckpointPolicy { checkpoint_every, keep, best, patience, min_delta, evaluate_every } =
            CheckpointPolicy::default();
        Self { checkpoint_every, keep, best, patience, min_delta, evaluate_every }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        checkpoint: CheckpointArguments,
    }

    fn policy(arguments: &str) -> Result<CheckpointPolicy, clap::Error> {
        Line::try_parse_from(format!("run {arguments}").split_whitespace()).map(|line| line.checkpoint.policy())
    }

    #[test]
    fn nothing_said_is_the_default() {
        assert_eq!(policy("").unwrap(), CheckpointPolicy::default());
        assert_eq!(CheckpointArguments::default().policy(), CheckpointPolicy::default());
    }

    #[test]
    fn everything_said() {
        let expected = CheckpointPolicy {
            checkpoint_every: NonZero::new(5).unwrap(),
            keep: NonZero::new(3).unwrap(),
            best: Some(Metric::TestLoss),
            patience: NonZero::new(10),
            min_delta: 0.01,
            evaluate_every: NonZero::new(2).unwrap(),
        };
        let said = "--checkpoint-every 5 --keep 3 --best test-loss --patience 10 --min-delta 0.01 --evaluate-every 2";
        assert_eq!(policy(said).unwrap(), expected);
    }

    #[test]
    fn refuses_what_says_nothing() {
        for said in ["--keep 0", "--checkpoint-every 0", "--evaluate-every 0", "--patience 0", "--best accuracy"] {
            assert!(policy(said).is_err(), "{said}");
        }
        for delta in ["-1", "NaN", "inf"] {
            assert!(policy(&format!("--patience 1 --min-delta {delta}")).is_err(), "{delta}");
        }
    }
}
