//! From an experiment to its results.

use super::trainee::Trainee;
use super::{Existing, Experiment, Outcome};
use crate::{Checkpoint, Config, Ended, Progress, Run, RunFolder, fit, prepare, rehearse};
use gnp_base::contract::WRONG;
use gnp_base::{Error, Result, files};
use gnp_data::{Data, Dataset, Feed};
use gnp_gradient::lowering::Random;
use gnp_model::onnx::Copying;
use gnp_report as report;
use gnp_report::Event;
use gnp_report::{About, History, TensorBoard};
use gnp_step::penalty::Penalty;
use gnp_step::rewrite::{StepConfig, StepReport};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Something that a user may want to know before the training begins.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// A step model was made of an ordinary one.
    Made(&'a StepReport),
    /// A sentence.
    Info(&'a str),
    /// A sentence for those who want to know more.
    Detail(&'a str),
}

/// What a run is going to do.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Its epochs in all.
    pub epochs: u64,
    /// Its steps in all.
    pub steps: u64,
    /// The steps that are done already, where it goes on.
    pub done: u64,
    /// Whether there are test data that it is evaluated on.
    pub has_test: bool,
}

/// Told of what happens in a run.
pub trait Observer {
    /// Something to know before the training begins.
    fn notice(&mut self, notice: Notice<'_>) {
        let _ = notice;
    }

    /// The training begins.
    fn begin(&mut self, overview: &Overview) {
        let _ = overview;
    }

    /// A step or an epoch was done.
    fn event(&mut self, event: &Event) {
        let _ = event;
    }

    /// The model's external data is copied for the results.
    fn copying(&mut self, copying: &Copying<'_>) {
        let _ = copying;
    }
}

/// An observer that ignores everything.
#[derive(Clone, Copy, Debug)]
pub struct Quiet;

impl Observer for Quiet {}

/// Trains. Setting `stop` from another thread ends it after the step under way, with a checkpoint.
///
/// # Errors
/// Where a file is missing, damaged or cannot be written; where model, data and choices do not fit each other; where no
/// engine is there, or it refuses the model; where the loss is no longer finite. Checkpoints that were written are then
/// still there.
pub fn run(experiment: Experiment, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Outcome> {
    let (root, existing) = (&*experiment.folder, experiment.existing);
    check_files(&experiment)?;
    let trainee = Trainee::open(&experiment, observer)?;
    experiment.output.as_ref().map_or(Ok(()), |output| trainee.check_output(output))?;
    let config = trainee.complete(&experiment)?;
    let (checkpoint, passed_over) = if existing == Existing::Resume {
        RunFolder::checkpoint_to_resume(root)?
    } else {
        RunFolder::check_free(root, existing == Existing::Replace)?;
        (None, false)
    };
    for damage in checkpoint.iter().flat_map(Checkpoint::damaged) {
        observer.notice(Notice::Info(&format!("warning: {damage}; going on from the checkpoint before it")));
    }
    if passed_over {
        let instead =
            checkpoint.as_ref().map_or("beginning the run anew", |_| "going on from the checkpoint before it");
        observer.notice(Notice::Info(&format!("the weights of the last checkpoint have diverged: {instead}")));
    }
    let policy = &experiment.policy;
    let mut data = Data::load(&experiment.data)?;
    let (preparation, label_noise) = (&experiment.preparation, experiment.label_noise);
    let prepared = preparation.choices()?.into_iter();
    let fingerprint = prepared
        .fold(config.fingerprint(), |fingerprint, (name, value)| fingerprint.with(name, value))
        .with("training data", data.train.digest())
        .with("test data", data.test.as_ref().map(Dataset::digest))
        .with("label noise", label_noise)
        .with("training model", trainee.digest()?);
    let fingerprint = policy.add_to(fingerprint);

    let (step_config, over_samples) = (trainee.step_config(), trainee.over_samples()?);
    let method = method(&config, step_config.as_ref());
    let opens_with = trainee.opens_with();
    let mut loaded = trainee.load(&experiment, checkpoint.as_ref(), observer)?;
    let engine = loaded.engine();
    let in_model = |error: Error| error.in_file(&experiment.model);
    // What does not fit is told in the model's terms before anything else is looked at.
    let plain = preparation.plain();
    let as_they_are = Feed::new(&data.train, engine.batch_ports(), &plain).map_err(in_model)?;
    check_batch_size(&as_they_are, config.batch_size, opens_with).map_err(in_model)?;
    let classes = prepare(engine, &mut data, preparation, label_noise, &config)?;
    let train = Feed::new(&data.train, engine.batch_ports(), preparation).map_err(in_model)?;
    check_statistics(over_samples.as_deref(), &config, &train).map_err(in_model)?;
    let evaluates = !engine.evaluate_outputs().is_empty();
    let test = data.test.as_ref().filter(|_| evaluates);
    let test = test.map(|test| train.for_test(test).map_err(in_model)).transpose()?;
    let counting = Counting::of(step_config.as_ref(), engine.evaluate_outputs(), classes);
    policy.check(test.is_some(), counting.tells_error)?;
    // An engine that draws would draw something else after a rehearsal.
    let draws_by_engine = step_config.as_ref().is_some_and(|config| config.lowering.random == Random::Engine);
    if checkpoint.is_none() && !draws_by_engine {
        rehearse(engine, &train, test.as_ref(), &config).map_err(in_model)?;
    }
    let mut folder = match &checkpoint {
        Some(checkpoint) => RunFolder::resume(root, fingerprint, checkpoint)?,
        None => RunFolder::create(root, fingerprint, existing != Existing::Refuse)?,
    };
    write_configuration(&experiment, &config, root)?;
    let progress = checkpoint.map(|checkpoint| checkpoint.progress().clone()).unwrap_or_default();
    announce(&experiment, &data, &train, &counting, classes, &progress, observer);

    observer.begin(&Overview {
        epochs: config.epochs,
        steps: config.epochs * config.steps_per_epoch(&train)?,
        done: progress.step,
        has_test: test.is_some(),
    });
    let mut curves = Curves::begin(root, progress.step)?;
    let ended = fit(
        Run {
            engine,
            train: &train,
            test: test.as_ref(),
            config: &config,
            policy,
            folder: Some(&mut folder),
            observe: &mut |event| {
                curves.log(event);
                observer.event(event);
            },
            stop,
        },
        progress,
    )?;
    let result = match ended {
        Ended::Stopped => None,
        _ => {
            let best = if policy.best.is_some() { folder.best_checkpoint()? } else { None };
            let (output, external_data) = (experiment.output.as_deref(), experiment.external_data);
            let watch = &mut |copying: &Copying<'_>| observer.copying(copying);
            Some(loaded.write(&folder, best.as_ref(), output, external_data, watch)?)
        }
    };
    // A run that was stopped before its first step has nothing to show.
    let history = if curves.has_steps { History::read(root)? } else { History::default() };
    if curves.has_steps {
        report::write(root, &history, &about(&experiment, &loaded.name, method, counting.error))?;
    }
    let outcome = Outcome {
        ended,
        last: history.epochs.last().cloned(),
        best: history.best().cloned(),
        seconds: history.seconds().0,
        engine: loaded.name,
        input: train.normalization().clone(),
        classes: data.train.class_names().to_vec(),
        result,
        configuration: experiment.configuration.as_ref().map(ToString::to_string),
    };
    if ended != Ended::Stopped {
        outcome.write(&folder)?;
    }
    curves.finish()?;
    Ok(outcome)
}

/// Refuses inputs that are no files, and outputs that would replace them, or what no run has written.
fn check_files(experiment: &Experiment) -> Result<()> {
    let inputs = experiment.inputs();
    // That one is missing is told by who reads it.
    for input in inputs.iter().filter(|input| input.exists() && !input.is_dir()) {
        files::open(input).map_err(|error| Error::io("open the file", input, &error))?;
    }
    if let Some(output) = &experiment.output {
        files::ensure_free(output, experiment.existing != Existing::Refuse)?;
        files::ensure_no_input(output, &inputs)?;
    }
    RunFolder::check_no_result(&experiment.folder, &inputs)
}

/// Whether batches of `size` can be made; if the graph takes those of another size only, what opens it.
fn check_batch_size(train: &Feed<'_>, size: usize, opens_with: Option<&str>) -> Result<()> {
    let misfit = train.batch_count(size).err();
    let Some(error) = misfit else { return Ok(()) };
    Err(match train.fixed_batch() {
        Some(fixed) if fixed != size => {
            let open = match opens_with {
                Some(open) => format!("{open} --dim '{}[0]=batch'", train.sample_input()),
                None => "make the artifacts of a model whose batch is open".to_owned(),
            };
            error.help(format!("train with --batch-size {fixed}, or {open}"))
        }
        _ => error,
    })
}

/// TensorBoard's file of a run, which goes on without where it cannot be written, and says so at its end.
struct Curves {
    file: TensorBoard,
    failure: Option<Error>,
    has_steps: bool,
}

impl Curves {
    /// Those of a run that goes on after `done` steps.
    fn begin(root: &Path, done: u64) -> Result<Self> {
        let file = TensorBoard::create(root, (done > 0).then_some(done))?;
        Ok(Self { file, failure: None, has_steps: done > 0 })
    }

    fn log(&mut self, event: &Event) {
        self.has_steps = true;
        if self.failure.is_none() {
            self.failure = self.file.log(event).err();
        }
    }

    fn finish(mut self) -> Result<()> {
        self.failure.map_or_else(|| self.file.flush(), Err)
    }
}

/// Refuses batches of one sample where the BatchNormalization `over_samples` would take statistics of a single number,
/// as PyTorch does: all that it returned would be its bias, and the running variance would move towards 0.
fn check_statistics(over_samples: Option<&str>, config: &Config, train: &Feed<'_>) -> Result<()> {
    let (Some(node), 1) = (over_samples, config.last_batch(train)?) else { return Ok(()) };
    let (what, help) = if config.batch_size == 1 {
        ("batches have one sample".to_owned(), "choose a larger --batch-size")
    } else {
        let (samples, size) = (train.data().len(), config.batch_size);
        let what = format!("the last batch of an epoch has one sample ({samples} in batches of {size})");
        (what, "leave that batch out with --drop-last, or choose another --batch-size")
    };
    Err(Error::input(format!("{what}, and BatchNormalization takes statistics of one number a sample and channel"))
        .at_node(node, "BatchNormalization")
        .help(format!(
            "{help}; or keep the running statistics: --batch-norm frozen, given where the step model is made"
        )))
}

/// What counts as an error in a run.
struct Counting {
    /// In words, where the loss has right and wrong.
    error: Option<String>,
    /// Whether there is an evaluation.
    evaluates: bool,
    /// Whether an evaluation tells it.
    tells_error: bool,
    /// Whether an evaluation tells the loss and nothing else.
    tells_loss_alone: bool,
}

impl Counting {
    /// That of a model that was made as `step` says, is evaluated to `outputs`, and has `classes` classes.
    fn of(step: Option<&StepConfig>, outputs: &[String], classes: Option<usize>) -> Self {
        let is_counted = outputs.iter().any(|output| output == WRONG);
        let error = step.and_then(|step| step.loss.as_ref()?.error());
        let by_logits = classes.is_some() && outputs.len() > 1;
        Self {
            error,
            evaluates: !outputs.is_empty(),
            tells_error: is_counted || by_logits,
            tells_loss_alone: outputs.len() == 1,
        }
    }
}

/// What the report says that is not in the run's folder.
fn about(experiment: &Experiment, engine: &str, method: String, error: Option<String>) -> About {
    let name = experiment.model.file_name().unwrap_or(experiment.model.as_os_str());
    let command = experiment.configuration.as_ref().map(|_| {
        format!("gnp-run --config {} --out another-folder", experiment.folder.join(RunFolder::CONFIG).display())
    });
    About { model: name.to_string_lossy().into_owned(), engine: engine.to_owned(), method, error, command }
}

/// How it trains, in a few words: what is known of it, since artifacts may hold r and α as constants.
fn method(config: &Config, step: Option<&StepConfig>) -> String {
    let (Some(r), Some(alpha)) = (config.r, config.alpha) else { return "ONNX Runtime training artifacts".to_owned() };
    let penalty = Penalty { r, alpha, ..step.map(|step| step.penalty).unwrap_or_default() };
    let numbers = if penalty.is_plain() { String::new() } else { format!(" (r = {r}, α = {alpha})") };
    let optimizer = step.map(|step| format!(", {}", step.optimizer_name())).unwrap_or_default();
    format!("{}{numbers}{optimizer}", penalty.method())
}

/// Writes what the run was started with beside its results, with what was left to be inferred.
fn write_configuration(experiment: &Experiment, config: &Config, root: &Path) -> Result<()> {
    let Some(mut configuration) = experiment.configuration.clone() else { return Ok(()) };
    configuration.set("Optimization", "lr", shortest(config.learning_rate));
    for where_to in ["out", "output"] {
        configuration.remove(where_to);
    }
    let file = root.join(RunFolder::CONFIG);
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
    experiment: &Experiment,
    data: &Data,
    train: &Feed<'_>,
    counting: &Counting,
    classes: Option<usize>,
    progress: &Progress,
    observer: &mut dyn Observer,
) {
    let mut say = |text: &str| observer.notice(Notice::Info(text));
    if *progress != Progress::default() {
        say(&format!("going on after step {}", progress.step));
    } else if experiment.existing == Existing::Resume {
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
    if data.train.labels().classes().is_some() && counting.tells_loss_alone {
        say("the evaluation model returns the loss alone: the test error will be unknown");
    }
    if let Some(error) = &counting.error {
        say(&format!("the error is {error}"));
    }
    let classes = classes.map_or("an unknown number of".to_owned(), |classes| classes.to_string());
    let test = data.test.as_ref().map_or(0, |test| test.len());
    observer.notice(Notice::Detail(&format!(
        "{} training and {test} test samples of shape {:?}; {classes} classes",
        data.train.len(),
        train.sample_shape()
    )));
}
