//! Trains artifacts and step models: the arguments of a run, and how it goes.

use crate::progress::Display;
use crate::trainee::Trainee;
use clap::{Args, ValueEnum, value_parser};
use gnp::cli::arguments::{DataArguments, PenaltyArguments, StepArguments};
use gnp::engine::Device;
use gnp::onnx::ensure_free;
use gnp::train::data::{Data, Feed};
use gnp::train::{Config, Ended, Progress, Run, RunFolder, Schedule, fit, prepare};
use gnp::{Error, Result, cli};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Args)]
pub struct Arguments {
    /// An ONNX model, which is made a step model as gnp-rewrite does; a step model; or a folder of training artifacts
    pub model: PathBuf,
    /// The model that a step model was made of, to evaluate and to put the trained weights into [default: the file of its
    /// name beside the step model]
    #[arg(long, value_name = "MODEL")]
    pub forward: Option<PathBuf>,

    /// Times that the training data are gone through
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..), help_heading = "Optimization")]
    epochs: u64,
    /// Samples a step
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Optimization")]
    batch_size: usize,
    /// Learning rate at its peak [default: the step model's own, 0.001 for artifacts]
    #[arg(long, allow_negative_numbers = true, value_name = "RATE", help_heading = "Optimization")]
    pub lr: Option<f32>,
    /// How the learning rate goes on after the warm-up
    #[arg(long, value_enum, default_value_t = ScheduleName::Constant, help_heading = "Optimization")]
    schedule: ScheduleName,
    /// Steps in which the learning rate rises to its peak
    #[arg(long, value_name = "STEPS", default_value_t = 0, help_heading = "Optimization")]
    warmup: u64,
    /// Set another hyperparameter of a step model, by the name of its input; may be repeated
    #[arg(long, value_name = "NAME=NUMBER", value_parser = assignment, help_heading = "Optimization")]
    set: Vec<(String, f32)>,
    /// Decides everything random: runs with the same seed are equal
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Optimization")]
    pub seed: u32,

    // Arguments of the command line itself: a group that may be missing, as this one, can hold no others.
    #[arg(skip)]
    pub data: DataArguments,
    #[arg(skip)]
    pub penalty: PenaltyArguments,
    #[arg(skip)]
    pub step: StepArguments,

    /// Write the trained model there: the model that was given, with trained weights
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: Option<PathBuf>,
    /// Folder for metrics.jsonl, checkpoints/ and the result [default: runs/ and the name of MODEL]
    #[arg(long, value_name = "FOLDER", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Go on with the run in the output folder, at the very batch where it was stopped
    ///
    /// The other options must be as they were; --epochs may change where the schedule is constant. The result is that
    /// of a run that was never stopped, to the bit on one machine; random draws (Dropout) go on where they were.
    #[arg(long, help_heading = "Output")]
    resume: bool,
    /// Replace the run in the output folder
    #[arg(long, conflicts_with = "resume", help_heading = "Output")]
    force: bool,
    /// Print nothing but errors
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
    /// Say what is used: runtime, data, model
    #[arg(short, long, conflicts_with = "quiet", help_heading = "Output")]
    pub verbose: bool,

    /// What to train with
    #[arg(long, value_enum, default_value_t = EngineName::Auto, help_heading = "Engine")]
    pub engine: EngineName,
    /// Where to compute: cpu, cuda or cuda:N, the Nth device from 0
    #[arg(long, default_value = "cpu", help_heading = "Engine")]
    pub device: Device,
    /// ONNX Runtime library to use, rather than the first that will do of those listed by `gnp-run engines`
    #[arg(long, value_name = "PATH", help_heading = "Engine")]
    pub ort_lib: Option<PathBuf>,
    /// Threads that one operator may use [default: one a core]
    #[arg(long, value_name = "N", help_heading = "Engine")]
    pub threads: Option<NonZero<u16>>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScheduleName {
    /// At its peak to the end
    Constant,
    /// Down to 0 along half a cosine
    Cosine,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum EngineName {
    /// The best that is there for what is trained; says which, and why
    Auto,
    /// ONNX Runtime, any build of it: for step models
    Onnxruntime,
    /// The engine within this program: for step models
    Tract,
    /// ONNX Runtime's training API: for artifacts
    OrtTraining,
}

/// `NAME=NUMBER`.
fn assignment(text: &str) -> Result<(String, f32), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=NUMBER")?;
    let value = value.parse().map_err(|_| format!("`{value}` is no number"))?;
    Ok((name.to_owned(), value))
}

/// Set by Ctrl-C.
static STOP: AtomicBool = AtomicBool::new(false);

pub fn run(arguments: &Arguments) -> Result<()> {
    let root = arguments.out.clone().unwrap_or_else(|| default_out(&arguments.model));
    if let Some(output) = &arguments.output {
        ensure_free(output, arguments.force || arguments.resume)?;
    }
    let trainee = Trainee::open(arguments, &root)?;
    let config = trainee.complete(arguments.config(), arguments.lr)?;
    let checkpoint = if arguments.resume {
        RunFolder::newest_checkpoint(&root)?
    } else {
        RunFolder::check_free(&root, arguments.force)?;
        None
    };
    let seed = arguments.seed.into();
    let mut data = Data::load(&arguments.data.options(seed))?;
    let preparation = arguments.data.preparation(seed);
    let label_noise = arguments.data.label_noise();
    let fingerprint = preparation
        .fingerprint(config.fingerprint())?
        .with("training data", data.train.digest())
        .with("label noise", label_noise)
        .with("training model", trainee.digest()?);

    let mut loaded = trainee.load(arguments, checkpoint.as_ref())?;
    let engine = loaded.engine();
    let in_model = |error: Error| error.in_file(&arguments.model);
    Feed::new(&data.train, engine.batch_ports(), &preparation.plain()).map_err(in_model)?;
    let classes = prepare(engine, &mut data, &preparation, label_noise, &config)?;
    let train = Feed::new(&data.train, engine.batch_ports(), &preparation).map_err(in_model)?;
    let evaluates = !engine.evaluate_outputs().is_empty();
    let test = data.test.as_ref().filter(|_| evaluates);
    let test = test.map(|test| train.for_test(test).map_err(in_model)).transpose()?;
    let mut folder = match &checkpoint {
        Some(checkpoint) => RunFolder::resume(&root, fingerprint, checkpoint)?,
        None => RunFolder::create(&root, fingerprint, arguments.force || arguments.resume)?,
    };
    let progress = checkpoint.map(|checkpoint| checkpoint.progress().clone()).unwrap_or_default();
    arguments.announce(&data, train.sample_shape(), evaluates, classes, &progress);
    if let Some(batch) = train.fixed_batch().filter(|_| !arguments.quiet) {
        eprintln!("the graph takes batches of {batch} only: samples that do not fill one are left out");
    }

    stop_on_ctrl_c(arguments.quiet)?;
    let steps = config.epochs * train.batch_count(config.batch_size)? as u64;
    let mut display = Display::new(config.epochs, steps, progress.step, test.is_some(), arguments.quiet)?;
    let ended = fit(
        Run {
            engine,
            train: &train,
            test: test.as_ref(),
            config: &config,
            folder: Some(&mut folder),
            observe: &mut |event| display.show(event),
            stop: &STOP,
        },
        progress,
    );
    display.finish();
    let ended = ended?;
    let result =
        if ended == Ended::Finished { Some(loaded.write(&folder, arguments.output.as_deref())?) } else { None };
    match result {
        _ if arguments.quiet => Ok(()),
        Some((what, file)) => cli::print(display.summary(what, &file)),
        None => cli::print(format!(
            "stopped; the checkpoint is in {}\nthe same command with --resume goes on from there\n",
            root.display()
        )),
    }
}

impl Arguments {
    fn config(&self) -> Config {
        Config {
            epochs: self.epochs,
            batch_size: self.batch_size,
            // Of what is trained, where none is given.
            learning_rate: self.lr.unwrap_or_default(),
            schedule: match self.schedule {
                ScheduleName::Constant => Schedule::Constant,
                ScheduleName::Cosine => Schedule::Cosine,
            },
            warmup: self.warmup,
            seed: self.seed.into(),
            r: self.penalty.r(),
            alpha: self.penalty.alpha(),
            others: self.set.iter().cloned().collect(),
        }
    }

    /// Says what the run is about to do, as far as it was asked to.
    fn announce(&self, data: &Data, shape: &[usize], evaluates: bool, classes: Option<usize>, progress: &Progress) {
        if self.quiet {
            return;
        }
        if *progress != Progress::default() {
            eprintln!("going on after step {}", progress.step);
        } else if self.resume {
            eprintln!("the run has no checkpoint yet: beginning it anew");
        }
        if data.test.is_none() {
            eprintln!("no test data: the test error will be unknown (--test-data names some)");
        } else if !evaluates {
            eprintln!(
                "no evaluation model: the test data will not be looked at (--forward names the model to evaluate)"
            );
        }
        if self.verbose {
            let classes = classes.map_or("an unknown number of".to_owned(), |classes| classes.to_string());
            let test = data.test.as_ref().map_or(0, |test| test.len());
            eprintln!("{} training and {test} test samples of shape {shape:?}; {classes} classes", data.train.len(),);
        }
    }
}

/// `runs/` and the name of the artifacts' folder or the step model.
fn default_out(model: &Path) -> PathBuf {
    let full = model.canonicalize().unwrap_or_else(|_| model.to_owned());
    let name = if full.is_dir() { full.file_name() } else { full.file_stem() };
    Path::new("runs").join(name.unwrap_or("run".as_ref()))
}

/// The first Ctrl-C lets the step under way finish and a checkpoint be written, the second ends the program.
fn stop_on_ctrl_c(quiet: bool) -> Result<()> {
    ctrlc::set_handler(move || {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        if !quiet {
            eprintln!("\nsaving a checkpoint; Ctrl-C again ends at once");
        }
    })
    .map_err(|error| Error::internal(format!("cannot listen for Ctrl-C: {error}")))
}
