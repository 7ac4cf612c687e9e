//! The fourth stage of a run: all steps are taken.

use super::counting::Counting;
use super::curves::Curves;
use super::rehearsed::Rehearsed;
use super::setup::Setup;
use super::trainee::InEngine;
use super::{Existing, Notice, Observer, Overview, Run};
use crate::{Ended, Fit, Plan, Progress, RunFolder, fit};
use gnp_base::contract::GRAD_NORM;
use gnp_base::{Result, files};
use gnp_data::Feed;
use gnp_engine::Engine;
use gnp_report::Event;
use std::sync::atomic::AtomicBool;

/// A run that has ended, in its engine: metrics and checkpoints are written, models and report are not.
pub struct Trained<'a> {
    pub(super) setup: &'a Setup,
    pub(super) engine: &'a mut InEngine,
    pub(super) train: Feed<'a>,
    pub(super) counting: Counting,
    pub(super) folder: RunFolder,
    pub(super) curves: Curves,
    pub(super) ended: Ended,
}

impl<'a> Trained<'a> {
    /// Trains, from the beginning or from the checkpoint. Setting `stop` from another thread ends it after the step
    /// under way, with a checkpoint.
    ///
    /// # Errors
    /// Where the folder cannot be written, the engine fails, or the loss is no longer finite. Checkpoints that were
    /// written are then still there.
    pub fn new(rehearsed: Rehearsed<'a>, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Self> {
        let Rehearsed { setup, engine, train, test, counting } = rehearsed;
        let Setup { run, plan, checkpoint, fingerprint, .. } = setup;
        let root = &*run.output.folder;
        let mut folder = match checkpoint {
            Some(checkpoint) => RunFolder::resume(root, fingerprint.clone(), checkpoint)?,
            None => RunFolder::create(root, fingerprint.clone(), run.output.existing != Existing::Refuse)?,
        };
        write_configuration(run, plan)?;
        let progress = checkpoint.as_ref().map(|checkpoint| checkpoint.progress().clone()).unwrap_or_default();
        let measures = engine.engine().step_outputs().iter().any(|name| name == GRAD_NORM);
        engine.news().iter().for_each(|remark| observer.notice(Notice::Info(remark)));
        announce(setup, &train, &counting, measures, &progress, observer);
        observer.begin(&Overview {
            epochs: run.training.epochs,
            steps: run.training.epochs * plan.steps_per_epoch(&train)?,
            done: progress.step,
            has_test: test.is_some(),
        });
        let mut curves = Curves::begin(root, progress.step)?;
        let observe = &mut |event: &Event| {
            curves.log(event);
            observer.event(event);
        };
        let trainer = engine.engine();
        let fitted =
            Fit { engine: trainer, train: &train, test: test.as_ref(), plan, folder: Some(&mut folder), observe, stop };
        let ended = fit(fitted, progress)?;
        Ok(Self { setup, engine, train, counting, folder, curves, ended })
    }

    /// How it ended.
    pub fn ended(&self) -> Ended {
        self.ended
    }

    /// The engine that trained, and the training set as it was fed.
    pub fn parts(&mut self) -> (&mut dyn Engine, &Feed<'_>) {
        (self.engine.engine(), &self.train)
    }
}

/// Writes what the run was started with beside its results, with what was left to be inferred.
fn write_configuration(run: &Run, plan: &Plan) -> Result<()> {
    let Some(mut configuration) = run.output.configuration.clone() else { return Ok(()) };
    configuration.set("Optimization", "lr", shortest(plan.learning_rate()));
    for where_to in ["out", "output"] {
        configuration.remove(where_to);
    }
    let file = run.output.folder.join(RunFolder::CONFIG);
    let (version, name) = (env!("CARGO_PKG_VERSION"), RunFolder::CONFIG);
    let text = format!("# gnp {version}: `gnp-run --config {name}` runs this again.\n\n{configuration}");
    if files::read_to_string(&file).is_ok_and(|before| before == text) {
        return Ok(());
    }
    files::replace(&file, true, text, "write the configuration")
}

/// The number of 64 bits that is written with the same digits.
fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

/// Says what the run is about to do.
fn announce(
    setup: &Setup,
    train: &Feed<'_>,
    counting: &Counting,
    measures: bool,
    progress: &Progress,
    observer: &mut dyn Observer,
) {
    let Setup { run, data, classes, .. } = setup;
    let mut say = |text: &str| observer.notice(Notice::Info(text));
    if *progress != Progress::default() {
        say(&format!("going on after step {}", progress.step));
    } else if run.output.existing == Existing::Resume {
        say("the run has no checkpoint to go on from: beginning it anew");
    }
    if data.test.is_none() {
        say("no test data: the test error will be unknown (--test-data names some)");
    } else if !counting.evaluates {
        say("no evaluation model: the test data will not be looked at (--forward names the model to evaluate)");
    }
    if let Some(batch) = train.fixed_batch() {
        say(&format!("the graph takes batches of {batch} only: samples that do not fill one are left out"));
    }
    for (input, what) in train.derived() {
        say(&format!("there are no data for input `{input}`: it is fed {what}"));
    }
    if !measures {
        say("the training model returns no norms: ‖∇L‖ and sharpness will be unknown (gnp-rewrite --metrics)");
    }
    if data.train.labels().classes().is_some() && counting.tells_loss_alone {
        say(
            "the evaluation model returns the loss alone: the test error will be unknown, and no model for inference is written",
        );
    }
    if let Some(error) = &counting.error {
        say(&format!("the error is {error}"));
    }
    let classes = classes.map_or("an unknown number of".to_owned(), |classes| classes.to_string());
    let test = data.test.as_ref().map_or(0, |test| test.len());
    observer.notice(Notice::Detail(&format!(
        "{} training and {test} test samples of shape {}; {classes} classes",
        data.train.len(),
        train.describe_samples()
    )));
}
