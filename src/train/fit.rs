//! The training loop.

use super::checkpoint::{Fingerprint, Progress};
use super::data::{Batch, Data, Feed, Preparation, epoch_order};
use super::evaluate::{class_count, evaluate, loss_of};
use super::metrics::{EpochReport, Event, Measures, StepReport};
use super::run_folder::RunFolder;
use super::schedule::{LearningRate, Schedule};
use crate::contract::{GRAD_NORM, LOSS_PERTURBED};
use crate::engine::{Engine, Rates};
use crate::{Error, Result};
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
    /// The peak of the learning rate.
    pub learning_rate: f32,
    /// How the learning rate goes on after the warm-up.
    pub schedule: Schedule,
    /// The steps in which the learning rate rises to its peak.
    pub warmup: u64,
    /// Decides the order of the samples and the label noise.
    pub seed: u64,
    /// The perturbation's radius, for graphs with an input for it.
    pub r: Option<f32>,
    /// The mixing weight, for graphs with an input for it.
    pub alpha: Option<f32>,
    /// Other hyperparameters of a step model, by the names of its inputs.
    pub others: BTreeMap<String, f32>,
}

impl Config {
    /// What a run with these choices depends on. The number of epochs may change where the learning rate does not
    /// depend on it.
    pub fn fingerprint(&self) -> Fingerprint {
        let fingerprint = Fingerprint::default()
            .with("batch size", self.batch_size)
            .with("learning rate", self.learning_rate)
            .with("schedule", format!("{:?}", self.schedule).to_lowercase())
            .with("warm-up", self.warmup)
            .with("seed", self.seed)
            .with("r", self.r)
            .with("alpha", self.alpha);
        let fingerprint = self.others.iter().fold(fingerprint, |f, (name, &value)| f.with(name, value));
        match self.schedule {
            Schedule::Constant => fingerprint,
            Schedule::Cosine => fingerprint.with("epochs", self.epochs),
        }
    }

    fn rate(&self, steps_an_epoch: usize) -> Result<LearningRate> {
        let steps = self.epochs.saturating_mul(steps_an_epoch as u64);
        LearningRate::new(self.learning_rate, self.schedule, self.warmup, steps)
    }
}

/// One run: who trains what, how, and where to.
pub struct Run<'a> {
    /// Takes the steps.
    pub engine: &'a mut dyn Engine,
    /// The training set.
    pub train: &'a Feed<'a>,
    /// The test set, evaluated after each epoch.
    pub test: Option<&'a Feed<'a>>,
    /// The choices.
    pub config: &'a Config,
    /// Where metrics and checkpoints are written; nowhere if none.
    pub folder: Option<&'a mut RunFolder>,
    /// Told of everything that happens.
    pub observe: &'a mut dyn FnMut(&Event),
    /// Set by another thread to have the run stop after the step under way.
    pub stop: &'a AtomicBool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All epochs are over.
    Finished,
    /// It was told to stop; the last checkpoint is of this moment.
    Stopped,
}

/// Checks that configuration, data and graph fit, that the model can have every label, and redraws the fraction `label_noise` of the training labels.
/// Returns how many classes the model has, where that can be known.
///
/// # Errors
/// Where they do not fit, or a label is none of the model's.
pub fn prepare(
    engine: &mut dyn Engine,
    data: &mut Data,
    preparation: &Preparation,
    label_noise: f64,
    config: &Config,
) -> Result<Option<usize>> {
    let feed = Feed::new(&data.train, engine.batch_ports(), &preparation.plain())?;
    config.rate(feed.batch_count(config.batch_size)?)?;
    let classes = class_count(engine, &feed, config.batch_size)?;
    if let Some(classes) = classes {
        data.train.check_labels(classes).map_err(|error| error.in_file("training set"))?;
        if let Some(test) = &data.test {
            test.check_labels(classes).map_err(|error| error.in_file("test set"))?;
        }
    }
    let drawn_from = classes.unwrap_or_else(|| data.train.label_bound());
    data.train.redraw_labels(label_noise, drawn_from, config.seed)?;
    Ok(classes)
}

/// Trains from `progress` to the end of the last epoch. After each epoch the test set is evaluated and a checkpoint
/// written.
///
/// # Errors
/// Where the engine fails, a file cannot be written, or the loss is no longer finite; the last checkpoint is then still
/// there.
pub fn fit(mut run: Run<'_>, mut progress: Progress) -> Result<Ended> {
    let Config { epochs, batch_size, seed, .. } = *run.config;
    let samples = run.train.data().len();
    let rate = run.config.rate(run.train.batch_count(batch_size)?)?;

    while progress.epoch < epochs {
        let order = epoch_order(samples, seed, progress.epoch);
        let train = run.train;
        let ended = thread::scope(|scope| {
            for batch in train.load_epoch(scope, &order, batch_size, progress.epoch, progress.batch as usize)? {
                if run.stop.load(Ordering::Relaxed) {
                    return Ok(Ended::Stopped);
                }
                run.step(&batch?, rate.at(progress.step), &mut progress)?;
            }
            Ok::<_, Error>(Ended::Finished)
        })?;
        if ended == Ended::Stopped {
            return run.stopped(&progress);
        }
        let evaluation = match run.test {
            None => None,
            Some(test) => match evaluate(run.engine, test, batch_size, run.stop)? {
                None => return run.stopped(&progress),
                evaluation => evaluation,
            },
        };
        run.report(Event::Epoch(EpochReport {
            epoch: progress.epoch + 1,
            step: progress.step,
            measures: Measures {
                loss: progress.loss.value().unwrap_or(f64::NAN) as f32,
                learning_rate: rate.at(progress.step.saturating_sub(1)),
                ..Measures::default()
            },
            test_loss: evaluation.map(|evaluation| evaluation.loss),
            test_error: evaluation.and_then(|evaluation| evaluation.error),
            test_top5_error: evaluation.and_then(|evaluation| evaluation.top5_error),
            seconds: progress.seconds,
            data_seconds: 0.0,
            examples_per_second: progress.loss.samples() as f64 / progress.seconds,
        }))?;
        progress = Progress { epoch: progress.epoch + 1, step: progress.step, ..Progress::default() };
        if let Some(folder) = &mut run.folder {
            folder.save(run.engine, &progress)?;
        }
    }
    Ok(Ended::Finished)
}

impl Run<'_> {
    fn step(&mut self, batch: &Batch<'_>, learning_rate: f32, progress: &mut Progress) -> Result<()> {
        let began = Instant::now();
        let Config { r, alpha, ref others, .. } = *self.config;
        let rates = Rates { learning_rate, r, alpha, others: others.clone() };
        let outputs = self.engine.step(&batch.tensors, &rates)?;
        let data_seconds = batch.waited.as_secs_f64();
        let seconds = data_seconds + began.elapsed().as_secs_f64();

        let loss = loss_of(&outputs)?;
        progress.batch += 1;
        progress.step += 1;
        progress.loss.add(loss, batch.rows.len());
        progress.seconds += seconds;
        let metric = |name: &str| {
            let index = self.engine.step_outputs().iter().position(|output| output == name)?;
            outputs.get(index)?.to_scalar()
        };
        let report = StepReport {
            epoch: progress.epoch + 1,
            step: progress.step,
            measures: Measures {
                loss,
                learning_rate,
                grad_norm: metric(GRAD_NORM),
                loss_perturbed: metric(LOSS_PERTURBED),
                ..Measures::default()
            },
            seconds,
            data_seconds,
            examples_per_second: batch.rows.len() as f64 / seconds,
        };
        if !loss.is_finite() {
            return Err(self.diverged(&report));
        }
        self.report(Event::Step(report))
    }

    fn diverged(&self, report: &StepReport) -> Error {
        let StepReport { epoch, step, measures: Measures { loss, learning_rate, .. }, .. } = report;
        let error = Error::input(format!("the loss is {loss} at step {step} (epoch {epoch}): training has diverged"));
        let error = match &self.folder {
            Some(folder) => error.in_file(folder.root()),
            None => error,
        };
        error.help(format!("lower the learning rate (it was {learning_rate} here) or r, or warm it up for longer"))
    }

    fn report(&mut self, event: Event) -> Result<()> {
        if let Some(folder) = &mut self.folder {
            folder.log(&event)?;
        }
        (self.observe)(&event);
        Ok(())
    }

    fn stopped(&mut self, progress: &Progress) -> Result<Ended> {
        if let Some(folder) = &mut self.folder {
            folder.save(self.engine, progress)?;
        }
        Ok(Ended::Stopped)
    }
}
