//! What each step of a run is taken with: the learning rate, and which steps have the penalty.

use super::bounded;
use super::named::named;
use crate::train::{Schedule, Span};
use crate::{Error, Result};
use clap::Args;
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// How a run goes from step to step.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Optimization")]
pub struct ScheduleArguments {
    /// Learning rate at its peak [default: the step model's own, 0.001 for artifacts]
    #[arg(long, allow_negative_numbers = true, value_name = "RATE")]
    lr: Option<f32>,
    /// How the learning rate goes on after the warm-up [default: constant]
    #[arg(long, value_parser = named::<ScheduleName>())]
    schedule: Option<ScheduleName>,
    /// The epochs at whose end a stepped schedule multiplies the learning rate by --gamma: 60,120,160
    #[arg(long, value_name = "EPOCHS", value_delimiter = ',')]
    milestones: Vec<f64>,
    /// The factor of a stepped schedule [default: 0.1]
    #[arg(long, allow_negative_numbers = true, value_name = "FACTOR")]
    gamma: Option<f64>,
    /// Where the learning rate ends, as a share of its peak [default: 0; 0.012 with exponential]
    #[arg(long, allow_negative_numbers = true, value_name = "SHARE")]
    final_lr: Option<f64>,
    /// How long the learning rate rises to its peak: a number of steps, or of epochs as in 5ep [default: 0]
    #[arg(long, value_name = "SPAN", value_parser = bounded::span)]
    warmup: Option<Span>,

    /// Take each step with the penalty with this probability, else plainly
    #[arg(long, allow_negative_numbers = true, value_name = "P", help_heading = "Penalty")]
    hybrid: Option<f64>,
    /// The length of the penalty's warm-up in epochs, in place of --gr-warmup-steps
    #[arg(
        long,
        allow_negative_numbers = true,
        value_name = "EPOCHS",
        conflicts_with = "gr_warmup_steps",
        help_heading = "Penalty"
    )]
    gr_warmup_epochs: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, VariantArray, IntoStaticStr, EnumMessage)]
#[strum(serialize_all = "kebab-case")]
enum ScheduleName {
    /// At its peak to the end
    #[default]
    Constant,
    /// Times --gamma at each of --milestones
    Stepped,
    /// Down along half a cosine
    Cosine,
    /// Down by the same factor with each step
    Exponential,
    /// Down by the same amount with each step
    Linear,
}

impl ScheduleArguments {
    /// The peak of the learning rate, where it is given.
    pub fn lr(&self) -> Option<f32> {
        self.lr
    }

    /// The schedule that is asked for.
    ///
    /// # Errors
    /// Where a number is given that the schedule has no use for, or a stepped one has no milestones.
    pub fn schedule(&self) -> Result<Schedule> {
        let name = self.schedule.unwrap_or_default();
        let is_stepped = name == ScheduleName::Stepped;
        let vain = [
            ("--milestones", !self.milestones.is_empty() && !is_stepped, "--schedule stepped"),
            ("--gamma", self.gamma.is_some() && !is_stepped, "--schedule stepped"),
            (
                "--final-lr",
                self.final_lr.is_some() && (is_stepped || name == ScheduleName::Constant),
                "--schedule cosine, exponential or linear",
            ),
        ];
        if let Some((flag, _, others)) = vain.into_iter().find(|(_, is_vain, _)| *is_vain) {
            let name = crate::cli::describe::value_name(name);
            return Err(Error::input(format!("{flag} is of no use: the schedule is {name}"))
                .help(format!("leave it out, or use it with {others}")));
        }
        let final_share = self.final_lr.unwrap_or(0.0);
        Ok(match name {
            ScheduleName::Constant => Schedule::Constant,
            ScheduleName::Stepped if self.milestones.is_empty() => {
                return Err(Error::input("a stepped schedule needs the epochs of its steps")
                    .help("give them with --milestones, as in --milestones 60,120,160"));
            }
            ScheduleName::Stepped => {
                Schedule::Stepped { milestones: self.milestones.clone(), gamma: self.gamma.unwrap_or(Schedule::GAMMA) }
            }
            ScheduleName::Cosine => Schedule::Cosine { final_share },
            ScheduleName::Exponential => {
                Schedule::Exponential { final_share: self.final_lr.unwrap_or(Schedule::EXPONENTIAL_FINAL_SHARE) }
            }
            ScheduleName::Linear => Schedule::Linear { final_share },
        })
    }

    /// How long the learning rate rises to its peak.
    pub fn warmup(&self) -> Span {
        self.warmup.unwrap_or_default()
    }

    /// The probability of a step with the penalty, where it is given.
    pub fn hybrid(&self) -> Option<f64> {
        self.hybrid
    }

    /// The length of the penalty's warm-up, where it is given in epochs.
    ///
    /// # Errors
    /// Where it is no number above 0.
    pub fn gr_warmup_length(&self) -> Result<Option<Span>> {
        match self.gr_warmup_epochs {
            Some(epochs) if !(epochs.is_finite() && epochs > 0.0) => {
                Err(Error::input(format!("--gr-warmup-epochs must be a number above 0, not {epochs}")))
            }
            epochs => Ok(epochs.map(Span::Epochs)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        schedule: ScheduleArguments,
        #[arg(long)]
        gr_warmup_steps: Option<u32>,
    }

    fn parsed(arguments: &str) -> ScheduleArguments {
        Line::parse_from(["gnp-run"].into_iter().chain(arguments.split_whitespace())).schedule
    }

    #[test]
    fn schedules_have_the_defaults_that_are_told() {
        let schedule = |arguments: &str| parsed(arguments).schedule().unwrap();
        assert_eq!(schedule(""), Schedule::Constant);
        assert_eq!(schedule("--schedule cosine"), Schedule::Cosine { final_share: 0.0 });
        assert_eq!(schedule("--schedule linear --final-lr 0.1"), Schedule::Linear { final_share: 0.1 });
        assert_eq!(schedule("--schedule exponential"), Schedule::Exponential { final_share: 0.012 });
        let milestones = vec![60.0, 120.0, 160.5];
        let stepped = "--schedule stepped --milestones 60,120,160.5";
        assert_eq!(schedule(stepped), Schedule::Stepped { milestones: milestones.clone(), gamma: 0.1 });
        assert_eq!(schedule(&format!("{stepped} --gamma 0.2")), Schedule::Stepped { milestones, gamma: 0.2 });
    }

    #[test]
    fn lengths_are_steps_or_epochs() {
        assert_eq!(parsed("").warmup(), Span::Steps(0));
        assert_eq!(parsed("--warmup 500").warmup(), Span::Steps(500));
        assert_eq!(parsed("--warmup 2.5ep").warmup(), Span::Epochs(2.5));
        assert_eq!(parsed("--gr-warmup-epochs 3").gr_warmup_length().unwrap(), Some(Span::Epochs(3.0)));
        assert!(parsed("--gr-warmup-epochs 0").gr_warmup_length().is_err());
        assert!(Line::try_parse_from(["gnp-run", "--gr-warmup-epochs", "3", "--gr-warmup-steps", "5"]).is_err());
    }

    #[test]
    fn what_a_schedule_has_no_use_for_is_refused() {
        for (arguments, says) in [
            ("--milestones 3", "--milestones is of no use: the schedule is constant"),
            ("--schedule cosine --gamma 0.2", "--gamma is of no use: the schedule is cosine"),
            ("--schedule stepped --milestones 3 --final-lr 0.1", "--final-lr is of no use: the schedule is stepped"),
            ("--schedule stepped", "a stepped schedule needs the epochs of its steps"),
        ] {
            let error = parsed(arguments).schedule().unwrap_err();
            assert_eq!(error.to_string(), says);
            assert!(error.help_text().is_some());
        }
    }
}
