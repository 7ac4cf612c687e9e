//! Choices in words, for the messages of both binaries.

mod profile;
mod weights;

pub use profile::profile;
pub use weights::weights;

use crate::escaped;
use crate::named::Named;
use crate::rewrite::{ArtifactsReport, StepReport};
use crate::transform::{FusedOptimizer, Scale};
use indicatif::HumanCount;
use std::fmt::Write as _;

/// A value as one gives it to its flag.
pub fn value_name(value: impl Named) -> String {
    value.name().to_owned()
}

/// What a step model trains with and is fed; what of it was inferred, and which flags say otherwise; warnings. Lines of
/// text.
pub fn step(report: &StepReport) -> String {
    let mut text = String::new();
    for (what, choice) in choices(report).into_iter().filter(|(_, choice)| !choice.is_empty()) {
        let _ = writeln!(text, "{what:<12}{}", escaped::line(&choice));
    }
    if !report.choices.is_empty() {
        let choices: Vec<_> = report.choices.iter().map(|c| (escaped::line(&c.what), escaped::line(&c.flag))).collect();
        let width = choices.iter().map(|(what, _)| what.chars().count()).max().unwrap_or(0);
        text += "\nInferred, and the flags that say otherwise:\n";
        for (what, flag) in choices {
            let _ = writeln!(text, "  {what:width$}   {flag}");
        }
    }
    for warning in &report.warnings {
        let _ = writeln!(text, "\nwarning: {}", escaped::line(warning));
    }
    text
}

fn choices(report: &StepReport) -> [(&'static str, String); 6] {
    let config = &report.config;
    let loss = config.describe_loss();
    let penalty = config.penalty;
    let penalty = format!(
        "{}: r = {}, alpha = {}, mix {}, perturbation {}, warm-up {}",
        penalty.method(),
        penalty.r,
        penalty.alpha,
        value_name(penalty.mix),
        value_name(penalty.perturb),
        value_name(config.warmup)
    );
    let numbers: Vec<_> = report.hyperparameters.iter().map(|h| format!("{} = {}", h.name, h.default)).collect();
    [
        ("loss", loss),
        ("penalty", penalty),
        ("optimizer", optimizer(report)),
        ("trains", trains(report)),
        ("batch", report.batch.join("; ")),
        ("may be fed", numbers.join(", ")),
    ]
}

/// How much of the model trains.
fn trains(report: &StepReport) -> String {
    let of = share(report.parameters.len(), report.constants.len());
    format!("{of}, {}", count(report.numbers, "number"))
}

/// So many of the constants: all where they are all.
fn share(part: usize, all: usize) -> String {
    let of = if part == all { "all".to_owned() } else { format!("{} of", HumanCount(part as u64)) };
    format!("{of} {}", count(all, "float constant"))
}

/// Its name, and the factors of some parameters.
fn optimizer(report: &StepReport) -> String {
    let config = &report.config;
    let optimizer = &config.optimizer;
    let of = |what: &str, scales: &[Scale]| {
        scales.iter().map(|scale| format!("; {what} of {} times {}", scale.glob, scale.factor)).collect::<String>()
    };
    let scales = of("learning rate", &optimizer.lr_scale) + &of("decay", &optimizer.decay_scale);
    config.optimizer_name() + &scales + &report.artifacts.as_ref().map(where_it_is).unwrap_or_default()
}

/// In which of the artifacts the optimizer is.
fn where_it_is(artifacts: &ArtifactsReport) -> String {
    match (artifacts.fused, artifacts.kept.len()) {
        (FusedOptimizer::AdamW { .. }, _) => ", the runtime's own".to_owned(),
        (FusedOptimizer::Sgd, 0) => String::new(),
        (FusedOptimizer::Sgd, _) => ", in the training model; SGDOptimizerV2 takes its step".to_owned(),
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{} {what}{}", HumanCount(number as u64), if number == 1 { "" } else { "s" })
}
