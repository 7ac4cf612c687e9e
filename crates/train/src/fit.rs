//! The training loop.

use crate::counts::{count, only_labels};
use crate::divergence::{Divergence, diverged};
use crate::measure::measure;
use crate::plan::{Plan, Planned};
use crate::{Checkpoint, Progress, RunFolder, TrainingSettings, class_count, evaluate};
use gnp_base::{Error, Result};
use gnp_data::{Batch, Data, Feed, Preparation};
use gnp_engine::Engine;
use gnp_report::{EpochReport, Event, StepReport};
use gnp_tensor::Port;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

/// Who trains what, how, and where to.
pub struct Fit<'a> {
    /// Takes the steps.
    pub engine: &'a mut dyn Engine,
    /// The training set.
    pub train: &'a Feed<'a>,
    /// The test set, evaluated as the plan says.
    pub test: Option<&'a Feed<'a>>,
    /// The choices.
    pub plan: &'a Plan,
    /// Where metrics and checkpoints are written; nowhere if none.
    pub folder: Option<&'a mut RunFolder>,
    /// Told of everything that happens.
    pub observe: &'a mut dyn FnMut(&Event),
    /// Set by another thread to have the run stop after the step under way.
    pub stop: &'a AtomicBool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// All epochs are over.
    Finished,
    /// It was told to stop; the last checkpoint is of this moment.
    Stopped,
    /// The metric has not improved for as many epochs as the plan waits; the last checkpoint is of this moment.
    StoppedEarly,
}

/// Checks that plan, data and graph fit and that the graph has a meaning for all labels and indices, and
/// redraws the fraction `label_noise` of the training labels. Returns how many classes the model has, where that can be
/// known.
///
/// # Errors
/// Where they do not fit, or a number of the data is out of its range.
pub fn prepare(
    engine: &mut dyn Engine,
    data: &mut Data,
    preparation: &Preparation,
    label_noise: f64,
    plan: &Plan,
) -> Result<Option<usize>> {
    let feed = Feed::new(&data.train, engine.batch_ports(), &preparation.plain(), plan.seed())?;
    plan.steps(plan.steps_per_epoch(&feed)?)?;
    feed.check_samples("training")?;
    let classes = class_count(engine, &feed, plan.training().batch_size)?;
    feed.check_labels("training", classes)?;
    if let Some(test) = data.test.as_ref().filter(|_| !engine.evaluate_outputs().is_empty()) {
        let test = feed.for_test(test)?;
        test.check_samples("test")?;
        test.check_labels("test", classes)?;
    }
    let ignored = only_labels(&[], engine.batch_ports()).1.and_then(Port::ignored);
    let drawn_from = classes.unwrap_or_else(|| data.train.label_bound());
    data.train.redraw_labels(label_noise, drawn_from, ignored, plan.seed())?;
    Ok(classes)
}

/// Trains from `progress` to the end of the last epoch, or of the one that the plan's patience ends with. Evaluates
/// and writes checkpoints as the plan says, a last one whenever it ends.
///
/// A run that goes on from a checkpoint takes the steps and writes the numbers that one which was never interrupted
/// would have: what a step depends on is in the engine's file, the progress and the plan.
///
/// # Errors
/// Where the engine fails, a file cannot be written, or the metric of the best epoch is not measured; the last
/// checkpoint is then still there. Where a number of a step, or of the state that it would leave, is NaN or infinite:
/// the step is not taken, and the last good state is kept as a checkpoint.
pub fn fit(mut run: Fit<'_>, mut progress: Progress) -> Result<Ended> {
    let TrainingSettings { epochs, batch_size, drop_last, ref checkpoints, .. } = *run.plan.training();
    let samples = run.train.data().len();
    let steps = run.plan.steps(run.plan.steps_per_epoch(run.train)?)?;

    while progress.epoch < epochs {
        if progress.batch == 0 && checkpoints.is_out_of_patience(&progress.standing) {
            run.save(&progress)?;
            return Ok(Ended::StoppedEarly);
        }
        let mut order = run.train.epoch_order(run.plan.seed(), progress.epoch, batch_size);
        if drop_last {
            order.truncate(samples - samples % batch_size);
        }
        let train = run.train;
        let ended = thread::scope(|scope| {
            for batch in train.load_epoch(scope, &order, batch_size, progress.epoch, progress.batch as usize)? {
                if run.stop.load(Ordering::Relaxed) {
                    return Ok(Ended::Stopped);
                }
                run.step(&batch?, &steps.at(progress.step), &mut progress)?;
            }
            Ok::<_, Error>(Ended::Finished)
        })?;
        if ended == Ended::Stopped {
            return run.stopped(&progress);
        }
        let evaluation = match run.test.filter(|_| checkpoints.evaluates_after(progress.epoch + 1, epochs)) {
            None => None,
            Some(test) => match evaluate(run.engine, test, batch_size, run.stop)? {
                None => return run.stopped(&progress),
                evaluation => evaluation,
            },
        };
        let report = EpochReport {
            epoch: progress.epoch + 1,
            step: progress.step,
            measures: progress.means.measures(),
            test_loss: evaluation.as_ref().map(|evaluation| evaluation.loss),
            test_error: evaluation.as_ref().and_then(|evaluation| evaluation.error),
            test_top5_error: evaluation.as_ref().and_then(|evaluation| evaluation.top5_error),
            test_scores: evaluation.map(|evaluation| evaluation.scores).unwrap_or_default(),
            seconds: progress.seconds,
            data_seconds: progress.data_seconds,
            examples_per_second: progress.means.samples() as f64 / progress.seconds,
        };
        progress = progress.next_epoch();
        progress.standing.judge(&report, checkpoints.best, run.test.is_some(), checkpoints.min_delta)?;
        run.report(Event::Epoch(report))?;
        if checkpoints.saves_after(progress.epoch, &progress.standing) || progress.epoch >= epochs {
            run.save(&progress)?;
        }
    }
    Ok(Ended::Finished)
}

impl Fit<'_> {
    fn step(&mut self, batch: &Batch<'_>, planned: &Planned, progress: &mut Progress) -> Result<()> {
        let began = Instant::now();
        let outputs = self.engine.step(&batch.tensors, &planned.rates)?;
        let data_seconds = batch.waited.as_secs_f64();
        let seconds = data_seconds + began.elapsed().as_secs_f64();

        let names = self.engine.step_outputs();
        let (labels, port) = only_labels(&batch.tensors, self.engine.batch_ports());
        let counts = count(&outputs, names, labels, port, batch.rows.len())?;
        let measures = measure(&outputs, names, &counts, planned)?;
        let report = StepReport {
            epoch: progress.epoch + 1,
            step: progress.step + 1,
            measures,
            seconds,
            data_seconds,
            examples_per_second: batch.rows.len() as f64 / seconds,
            counts,
        };
        if let Some(found) = self.engine.not_finite() {
            let divergence = diverged(found, self.engine.step_outputs(), &report, batch, self.train);
            return self.end_before(report, progress, divergence);
        }
        progress.batch += 1;
        progress.step += 1;
        progress.add(&report);
        self.report(Event::Step(report))
    }

    /// Ends the run as it was before the step of `report`, which was not taken: with a checkpoint where its weights are
    /// good, and in any case such that it can be gone on with at other rates. The line that shows the numbers goes when
    /// it is.
    fn end_before(&mut self, report: StepReport, progress: &Progress, divergence: Divergence) -> Result<()> {
        let Divergence { mut error, weights_are_good } = divergence;
        let step = report.step;
        if let Some(folder) = &mut self.folder {
            let kept = match weights_are_good && progress.step > 0 {
                true => folder.save_diverged(self.engine, progress, &self.plan.training().checkpoints),
                false => folder.note_diverged(progress),
            };
            // Whatever could not be written is no more important than why.
            let checkpoint = kept.and_then(|()| RunFolder::checkpoint_to_resume(folder.root())).ok();
            error = error.in_file(folder.root());
            if let Some((checkpoint, _)) = checkpoint.filter(|_| step > 1) {
                let from = match checkpoint.as_ref().map(Checkpoint::progress) {
                    None | Some(Progress { step: 0, .. }) => "begins anew".to_owned(),
                    Some(Progress { epoch, batch: 0, .. }) => format!("goes on from the end of epoch {epoch}"),
                    Some(Progress { step, .. }) => format!("goes on from step {step}"),
                };
                error = error.more_help(&format!("with --resume the run {from}"));
            }
        }
        self.report(Event::Step(report))?;
        Err(error)
    }

    fn report(&mut self, event: Event) -> Result<()> {
        if let Some(folder) = &mut self.folder {
            folder.log(&event)?;
        }
        (self.observe)(&event);
        Ok(())
    }

    fn save(&mut self, progress: &Progress) -> Result<()> {
        match &mut self.folder {
            Some(folder) => folder.save(self.engine, progress, &self.plan.training().checkpoints),
            None => Ok(()),
        }
    }

    fn stopped(&mut self, progress: &Progress) -> Result<Ended> {
        self.save(progress)?;
        Ok(Ended::Stopped)
    }
}
