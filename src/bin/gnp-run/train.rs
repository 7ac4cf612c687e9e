//! Trains artifacts: the arguments of a run, and how it goes.

use crate::progress::Display;
use clap::{Args, ValueEnum, value_parser};
use gnp::engine::ort_training::{Artifacts, Options};
use gnp::engine::{Device, Engine, OrtTraining, runtime};
use gnp::train::data::{Data, Feed};
use gnp::train::{
    Checkpoint, Config, Ended, Progress, Run, RunFolder, Schedule, exposed_numbers, find_artifacts, fit, prepare,
};
use gnp::{Error, Result, cli};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Args)]
pub struct Arguments {
    /// Folder with training_model.onnx, eval_model.onnx, optimizer_model.onnx and checkpoint
    artifacts: PathBuf,

    /// Training data: an .npz file, a folder of IDX files named like MNIST's, or an IDX file of images
    #[arg(long, value_name = "PATH", help_heading = "Data")]
    data: PathBuf,
    /// Test data, where the training data come without or others are wanted
    #[arg(long, value_name = "PATH", help_heading = "Data")]
    test_data: Option<PathBuf>,
    /// Divide the samples by N [default: 255 for bytes, 1 for all else]
    #[arg(long, allow_negative_numbers = true, value_name = "N", help_heading = "Data")]
    divisor: Option<f32>,
    /// Redraw the fraction P (0 to 1) of the training labels at random, to see what training makes of it
    #[arg(
        long,
        allow_negative_numbers = true,
        value_name = "P",
        default_value_t = 0.0,
        hide_default_value = true,
        help_heading = "Data"
    )]
    label_noise: f64,

    /// Times that the training data are gone through
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..), help_heading = "Optimization")]
    epochs: u64,
    /// Samples a step
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Optimization")]
    batch_size: usize,
    /// Learning rate at its peak
    #[arg(
        long,
        allow_negative_numbers = true,
        value_name = "RATE",
        default_value_t = 1e-3,
        help_heading = "Optimization"
    )]
    lr: f32,
    /// How the learning rate goes on after the warm-up
    #[arg(long, value_enum, default_value_t = ScheduleName::Constant, help_heading = "Optimization")]
    schedule: ScheduleName,
    /// Steps in which the learning rate rises to its peak
    #[arg(long, value_name = "STEPS", default_value_t = 0, help_heading = "Optimization")]
    warmup: u64,
    /// Decides everything random: runs with the same seed are equal
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Optimization")]
    seed: u32,

    /// Radius of the perturbation, for artifacts rewritten with --expose r [default: what they were rewritten with]
    #[arg(long, allow_negative_numbers = true, value_name = "R", help_heading = "Gradient Norm Penalty")]
    r: Option<f32>,
    /// Weight of the perturbed gradient, for artifacts rewritten with --expose alpha [default: as for r]
    #[arg(long, allow_negative_numbers = true, value_name = "ALPHA", help_heading = "Gradient Norm Penalty")]
    alpha: Option<f32>,

    /// Folder for metrics.jsonl, checkpoints/ and model.onnx [default: runs/ and the name of ARTIFACTS]
    #[arg(short, long, value_name = "FOLDER", help_heading = "Output")]
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
    quiet: bool,
    /// Say what is used: runtime, data, model
    #[arg(short, long, conflicts_with = "quiet", help_heading = "Output")]
    verbose: bool,

    /// Where to compute: cpu, cuda or cuda:N, the Nth device from 0
    #[arg(long, default_value = "cpu", help_heading = "Engine")]
    device: Device,
    /// ONNX Runtime library to use, rather than the first that can train of those listed by `gnp-run engines`
    #[arg(long, value_name = "PATH", help_heading = "Engine")]
    ort_lib: Option<PathBuf>,
    /// Threads that one operator may use [default: one a core]
    #[arg(long, value_name = "N", help_heading = "Engine")]
    threads: Option<NonZero<u16>>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScheduleName {
    /// At its peak to the end
    Constant,
    /// Down to 0 along half a cosine
    Cosine,
}

/// Set by Ctrl-C.
static STOP: AtomicBool = AtomicBool::new(false);

pub fn run(arguments: &Arguments) -> Result<()> {
    let artifacts = find_artifacts(&arguments.artifacts)?;
    let (r, alpha) = exposed_numbers(&artifacts.training_model, arguments.r, arguments.alpha)?;
    let root = arguments.out.clone().unwrap_or_else(|| default_out(&arguments.artifacts));
    let checkpoint = if arguments.resume {
        RunFolder::newest_checkpoint(&root)?
    } else {
        RunFolder::check_free(&root, arguments.force)?;
        None
    };
    let mut data = Data::load(&arguments.data, arguments.test_data.as_deref())?;
    let config = Config { r, alpha, ..arguments.config() };
    let fingerprint = config
        .fingerprint()
        .with("training data", data.train.digest())
        .with("divisor", arguments.divisor)
        .with("label noise", arguments.label_noise)
        .with("training model", digest(&artifacts.training_model)?);

    let mut engine = arguments.load(artifacts, checkpoint.as_ref())?;
    let classes = prepare(&mut engine, &mut data, arguments.divisor, arguments.label_noise, &config)?;
    let train = Feed::new(&data.train, engine.batch_ports(), arguments.divisor)?;
    let test = data.test.as_ref().map(|test| Feed::new(test, engine.batch_ports(), arguments.divisor)).transpose()?;
    let mut folder = match &checkpoint {
        Some(checkpoint) => RunFolder::resume(&root, fingerprint, checkpoint)?,
        None => RunFolder::create(&root, fingerprint, arguments.force || arguments.resume)?,
    };
    let progress = checkpoint.map(|checkpoint| checkpoint.progress().clone()).unwrap_or_default();
    arguments.announce(&data, classes, &progress);
    if let Some(batch) = train.fixed_batch().filter(|_| !arguments.quiet) {
        eprintln!("the graph takes batches of {batch} only: samples that do not fill one are left out");
    }

    stop_on_ctrl_c(arguments.quiet)?;
    let steps = config.epochs * train.batch_count(config.batch_size)? as u64;
    let mut display = Display::new(config.epochs, steps, progress.step, test.is_some(), arguments.quiet)?;
    let ended = fit(
        Run {
            engine: &mut engine,
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
    match ended? {
        _ if arguments.quiet => Ok(()),
        Ended::Finished => cli::print(display.summary(&folder.model_file())),
        Ended::Stopped => cli::print(format!(
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
            learning_rate: self.lr,
            schedule: match self.schedule {
                ScheduleName::Constant => Schedule::Constant,
                ScheduleName::Cosine => Schedule::Cosine,
            },
            warmup: self.warmup,
            seed: self.seed.into(),
            r: self.r,
            alpha: self.alpha,
            others: BTreeMap::new(),
        }
    }

    fn load(&self, mut artifacts: Artifacts, checkpoint: Option<&Checkpoint>) -> Result<OrtTraining> {
        let runtime = runtime::for_training(self.ort_lib.as_deref())?;
        if self.verbose {
            eprintln!("ONNX Runtime {} on {}: {}", runtime.version, self.device, runtime.library.display());
        }
        if let Some(checkpoint) = checkpoint {
            artifacts.checkpoint = checkpoint.engine_file();
        }
        let options = Options { device: self.device, seed: self.seed.into(), threads: self.threads };
        OrtTraining::load(&runtime, &artifacts, &options)
    }

    /// Says what the run is about to do, as far as it was asked to.
    fn announce(&self, data: &Data, classes: Option<usize>, progress: &Progress) {
        if self.quiet {
            return;
        }
        if *progress != Progress::default() {
            eprintln!("going on after step {}", progress.step);
        } else if self.resume {
            eprintln!("the run has no checkpoint yet: beginning it anew");
        }
        if data.test.is_none() {
            eprintln!("no test data: the accuracy will be unknown (--test-data names some)");
        }
        if self.verbose {
            let classes = classes.map_or("an unknown number of".to_owned(), |classes| classes.to_string());
            let test = data.test.as_ref().map_or(0, |test| test.len());
            eprintln!(
                "{} training and {test} test samples of shape {:?}; {classes} classes",
                data.train.len(),
                data.train.sample_shape()
            );
        }
    }
}

/// `runs/` and the name of the artifacts' folder.
fn default_out(artifacts: &Path) -> PathBuf {
    let full = artifacts.canonicalize().unwrap_or_else(|_| artifacts.to_owned());
    Path::new("runs").join(full.file_name().unwrap_or("run".as_ref()))
}

/// The SHA-256 of a file, in hexadecimal.
fn digest(file: &Path) -> Result<String> {
    let bytes = std::fs::read(file).map_err(|error| Error::io("read the file", file, &error))?;
    Ok(Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect())
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
