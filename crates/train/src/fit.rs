//! The training loop.

use super::checkpoint::{Checkpoint, Fingerprint, Progress};
use super::divergence::{Divergence, diverged};
use super::evaluate::{class_count, evaluate};
use super::measure::measure;
use super::plan::{GrWarmup, Plan, Planned};
use super::policy::CheckpointPolicy;
use super::run_folder::RunFolder;
use super::schedule::Schedule;
use super::span::Span;
use gnp_base::{Error, Result};
use gnp_data::{Batch, Data, Feed, Preparation, epoch_order};
use gnp_engine::Engine;
use gnp_report::{EpochReport, Event, StepReport};
use gnp_tensor::Port;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

/// The choices of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How often the training set is gone through.
    pub epochs: u64,
    /// Samples a step; an epoch's last batch has what is left.
    pub batch_size: usize,
    /// Leave out a last batch that is not whole.
    pub drop_last: bool,
    /// The peak of the learning rate.
    pub learning_rate: f32,
    /// How the learning rate goes on after the warm-up.
    pub schedule: Schedule,
    /// How long the learning rate rises to its peak.
    pub warmup: Span,
    /// Decides the order of the samples and the label noise.
    pub seed: u64,
    /// The perturbation's radius, for graphs with an input for it.
    pub r: Option<f32>,
    /// The mixing weight, for graphs with an input for it.
    pub alpha: Option<f32>,
    /// The probability of a step with the penalty; the others are plain, with r = 0.
    pub hybrid: Option<f64>,
    /// The warm-up of the penalty.
    pub gr_warmup: Option<GrWarmup>,
    /// Other hyperparameters of a step model, by the names of its inputs.
    pub others: BTreeMap<String, f32>,
}

impl Default for Config {
    /// One epoch in batches of 64.
    fn default() -> Self {
        Self {
            epochs: 1,
            batch_size: 64,
            drop_last: false,
            learning_rate: 0.0,
            schedule: Schedule::Constant,
            warmup: Span::default(),
            seed: 0,
            r: None,
            alpha: None,
            hybrid: None,
            gr_warmup: None,
            others: BTreeMap::new(),
        }
    }
}

impl Config {
    /// What a run with these choices depends on. The number of epochs may change where the learning rate does not
    /// depend on it, and rates where the run has diverged.
    pub fn fingerprint(&self) -> Fingerprint {
        let fingerprint = Fingerprint::default()
            .with("batch size", self.batch_size)
            .with("seed", self.seed)
            .with_rate("learning rate", self.learning_rate)
            .with_rate("schedule", serde_json::json!(self.schedule))
            .with_rate("warm-up", self.warmup.to_string())
            .with_rate("r", self.r)
            .with_rate("alpha", self.alpha)
            .with_rate("hybrid", self.hybrid)
            .with_rate("warm-up of the penalty", serde_json::json!(self.gr_warmup));
        let fingerprint = if self.drop_last { fingerprint.with("drop last", true) } else { fingerprint };
        let fingerprint = self.others.iter().fold(fingerprint, |f, (name, &value)| f.with_rate(name, value));
        if self.schedule.depends_on_length() { fingerprint.with_rate("epochs", self.epochs) } else { fingerprint }
    }

    /// How many steps an epoch of the training data has.
    ///
    /// # Errors
    /// Where the batch size does not fit the graph, or there is no whole batch and none other is taken.
    pub fn steps_per_epoch(&self, train: &Feed<'_>) -> Result<u64> {
        let (count, samples) = (train.batch_count(self.batch_size)?, train.data().len());
        if self.drop_last && samples < self.batch_size {
            return Err(Error::input(format!(
                "there are {samples} training samples, fewer than a batch of {}, and one that is not whole is left out",
                self.batch_size
            ))
            .help("choose a smaller --batch-size, or leave --drop-last out"));
        }
        Ok(if self.drop_last { samples / self.batch_size } else { count } as u64)
    }

    /// How many samples an epoch's last batch has.
    ///
    /// # Errors
    /// As [`Config::steps_per_epoch`].
    pub fn last_batch(&self, train: &Feed<'_>) -> Result<usize> {
        let before = (self.steps_per_epoch(train)? as usize).saturating_sub(1) * self.batch_size;
        Ok((train.data().len() - before).min(self.batch_size))
    }
}

/// One run: who trains what, how, and where to.
pub struct Run<'a> {
    /// Takes the steps.
    pub engine: &'a mut dyn Engine,
    /// The training set.
    pub train: &'a Feed<'a>,
    /// The test set, evaluated as the policy says.
    pub test: Option<&'a Feed<'a>>,
    /// The choices.
    pub config: &'a Config,
    /// When it evaluates, saves, and ends before its last epoch.
    pub policy: &'a CheckpointPolicy,
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
    /// The metric has not improved for as many epochs as the policy waits; the last checkpoint is of this moment.
    StoppedEarly,
}

/// Checks that configuration, data and graph fit and that the graph has a meaning for all labels and indices, and
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
    config: &Config,
) -> Result<Option<usize>> {
    let feed = Feed::new(&data.train, engine.batch_ports(), &preparation.plain())?;
    Plan::new(config, config.steps_per_epoch(&feed)?)?;
    feed.check_samples("training")?;
    let classes = class_count(engine, &feed, config.batch_size)?;
    feed.check_labels("training", classes)?;
    if let Some(test) = data.test.as_ref().filter(|_| !engine.evaluate_outputs().is_empty()) {
        let test = feed.for_test(test)?;
        test.check_samples("test")?;
        test.check_labels("test", classes)?;
    }
    let ignored = engine.batch_ports().last().and_then(Port::ignored);
    let drawn_from = classes.unwrap_or_else(|| data.train.label_bound());
    data.train.redraw_labels(label_noise, drawn_from, ignored, config.seed)?;
    Ok(classes)
}

/// Trains from `progress` to the end of the last epoch, or of the one that the policy's patience ends with. Evaluates
/// and writes checkpoints as the policy says, a last one whenever it ends.
///
/// A run that goes on from a checkpoint takes the steps and writes the numbers that one which was never interrupted
/// would have: what a step depends on is in the engine's file, the progress and the configuration.
///
/// # Errors
/// Where the engine fails, a file cannot be written, or the metric of the best epoch is not measured; the last
/// checkpoint is then still there. Where a number of a step, or of the state that it would leave, is NaN or infinite:
/// the step is not taken, and the last good state is kept as a checkpoint.
pub fn fit(mut run: Run<'_>, mut progress: Progress) -> Result<Ended> {
    let Config { epochs, batch_size, seed, .. } = *run.config;
    let samples = run.train.data().len();
    let plan = Plan::new(run.config, run.config.steps_per_epoch(run.train)?)?;

    while progress.epoch < epochs {
        if progress.batch == 0 && run.policy.is_out_of_patience(&progress.standing) {
            run.save(&progress)?;
            return Ok(Ended::StoppedEarly);
        }
        let mut order = epoch_order(samples, seed, progress.epoch);
        if run.config.drop_last {
            order.truncate(samples - samples % batch_size);
        }
        let train = run.train;
        let ended = thread::scope(|scope| {
            for batch in train.load_epoch(scope, &order, batch_size, progress.epoch, progress.batch as usize)? {
                if run.stop.load(Ordering::Relaxed) {
                    return Ok(Ended::Stopped);
                }
                run.step(&batch?, &plan.at(progress.step), &mut progress)?;
            }
            Ok::<_, Error>(Ended::Finished)
        })?;
        if ended == Ended::Stopped {
            return run.stopped(&progress);
        }
        let evaluation = match run.test.filter(|_| run.policy.evaluates_after(progress.epoch + 1, epochs)) {
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
            test_loss: evaluation.map(|evaluation| evaluation.loss),
            test_error: evaluation.and_then(|evaluation| evaluation.error),
            test_top5_error: evaluation.and_then(|evaluation| evaluation.top5_error),
            seconds: progress.seconds,
            data_seconds: progress.data_seconds,
            examples_per_second: progress.means.samples() as f64 / progress.seconds,
        };
        progress = progress.next_epoch();
        progress.standing.judge(&report, run.policy.best, run.test.is_some(), run.policy.min_delta)?;
        run.report(Event::Epoch(report))?;
        if run.policy.saves_after(progress.epoch, &progress.standing) || progress.epoch >= epochs {
            run.save(&progress)?;
        }
    }
    Ok(Ended::Finished)
}

impl Run<'_> {
    fn step(&mut self, batch: &Batch<'_>, planned: &Planned, progress: &mut Progress) -> Result<()> {
        let began = Instant::now();
        let outputs = self.engine.step(&batch.tensors, &planned.rates)?;
        let data_seconds = batch.waited.as_secs_f64();
        let seconds = data_seconds + began.elapsed().as_secs_f64();

        let names = self.engine.step_outputs();
        // Of a batch the labels are last.
        let (labels, port) = (batch.tensors.last(), self.engine.batch_ports().last());
        let counts = crate::counts::count(&outputs, names, labels, port, batch.rows.len())?;
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
                true => folder.save_diverged(self.engine, progress, self.policy),
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
            Some(folder) => folder.save(self.engine, progress, self.policy),
            None => Ok(()),
        }
    }

    fn stopped(&mut self, progress: &Progress) -> Result<Ended> {
        self.save(progress)?;
        Ok(Ended::Stopped)
    }
}
