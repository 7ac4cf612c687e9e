//! The last stage of a run: models and report are written, which makes it an outcome.

use super::setup::Setup;
use super::trained::Trained;
use super::{Notice, Observer, Outcome, Run};
use crate::{Ended, Plan, RunFolder};
use gnp_base::{Error, Result};
use gnp_model::onnx::Copying;
use gnp_report::{self as report, About, History};
use gnp_step::penalty::Penalty;
use gnp_step::rewrite::StepConfig;
use std::fs;
use std::path::Path;

impl Trained<'_> {
    /// Writes the trained model and the report.
    ///
    /// # Errors
    /// Where a file cannot be written, or the weights are no numbers.
    pub fn write(self, observer: &mut dyn Observer) -> Result<Outcome> {
        let Self { setup, engine, train, counting, folder, curves, ended } = self;
        let Setup { run, plan, step_config, data, .. } = setup;
        let root = &*run.output.folder;
        engine.news().iter().for_each(|remark| observer.notice(Notice::Info(remark)));
        let result = match ended {
            Ended::Stopped => None,
            _ => {
                let keeps_best = run.training.checkpoints.best.is_some();
                let best = if keeps_best { folder.best_checkpoint()? } else { None };
                let watch = &mut |copying: &Copying<'_>| observer.copying(copying);
                Some(engine.write(&folder, best.as_ref(), &run.output, watch)?)
            }
        };
        // A run that was stopped before its first step has nothing to show.
        let history = if curves.has_steps { History::read(root)? } else { History::default() };
        if curves.has_steps {
            let method = method(plan, step_config.as_ref());
            report::write(root, &history, &about(run, &engine.description(), method, counting.error))?;
        }
        let outcome = Outcome {
            ended,
            last: history.epochs.last().cloned(),
            best: history.best().cloned(),
            seconds: history.seconds().0,
            engine: engine.description(),
            input: train.normalization(),
            classes: data.train.class_names().to_vec(),
            result,
            configuration: run.output.configuration.as_ref().map(ToString::to_string),
        };
        if ended != Ended::Stopped {
            outcome.write(&folder)?;
        }
        curves.finish()?;
        // What was trained is written: a profile that cannot be read takes none of it away.
        if let Some(profile) = engine.profile()? {
            let copied = folder.write_result(RunFolder::PROFILE, |file| copy(&profile.trace, file))?;
            observer.profile(&profile, &copied);
        }
        Ok(outcome)
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).map_err(|e| Error::io("write the profile", to, &e))
}

/// What the report says that is not in the run's folder.
fn about(run: &Run, engine: &str, method: String, error: Option<String>) -> About {
    let name = run.model.path.file_name().unwrap_or(run.model.path.as_os_str());
    let command = run.output.configuration.as_ref().map(|_| {
        format!("gnp-run --config {} --out another-folder", run.output.folder.join(RunFolder::CONFIG).display())
    });
    About { model: name.to_string_lossy().into_owned(), engine: engine.to_owned(), method, error, command }
}

/// How it trains, in a few words: what is known of it, since artifacts may hold r and α as constants.
fn method(plan: &Plan, step: Option<&StepConfig>) -> String {
    let Some((r, alpha)) = plan.penalty() else { return "ONNX Runtime training artifacts".to_owned() };
    let penalty = Penalty { r, alpha, ..step.map(|step| step.penalty).unwrap_or_default() };
    let numbers = if penalty.is_plain() { String::new() } else { format!(" (r = {r}, α = {alpha})") };
    let optimizer = step.map(|step| format!(", {}", step.optimizer_name())).unwrap_or_default();
    format!("{}{numbers}{optimizer}", penalty.method())
}
