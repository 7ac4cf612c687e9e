//! One training run: its arguments, and what is said of it.

use super::interrupt::{STOP, stop_on_ctrl_c};
use super::progress::Display;
use crate::cli::arguments::bounded::{LARGE, MANY, at_most};
use crate::cli::arguments::named::named;
use crate::cli::arguments::{
    CheckpointArguments, DataArguments, EngineArguments, Given, InvocationArguments, MemoryArguments, PenaltyArguments,
    ScheduleArguments, StepArguments,
};
use crate::cli::{CopyingBar, config_file, describe};
use crate::contract::artifacts::FileNames;
use crate::engine::Profile;
use crate::experiment::{
    Configuration, Existing, Init, Kind, ModelSettings, Notice, Observer, Outcome, OutputSettings, Overview, Run,
    run as run_one,
};
use crate::named::Named as _;
use crate::onnx::{Copying, ExternalData};
use crate::penalty::Warmup;
use crate::report::Event;
use crate::train::{Ended, Span, TrainingSettings};
use crate::{Error, Result, cli, escaped, files};
use clap::{Args, CommandFactory, FromArgMatches, Parser, value_parser};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Arguments {
    // Required, unless there is a subcommand: then the field is empty.
    /// An ONNX model, which is made a step model as gnp-rewrite does; a step model; or a folder of training artifacts
    #[arg(required = true)]
    model: Option<PathBuf>,
    /// The model that a step model was made of, to evaluate and to put the trained weights into [default: the file of
    /// its name beside the step model]
    #[arg(long, value_name = "MODEL")]
    forward: Option<PathBuf>,
    /// What the names of the files in a folder of artifacts begin with
    #[arg(long, value_name = "PREFIX")]
    artifact_prefix: Option<String>,
    /// Take arguments from this TOML file, by their long names; the command line takes precedence
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    data: DataArguments,

    /// Times that the training data are gone through
    #[arg(long, value_name = "N", required = true, value_parser = value_parser!(u64).range(1..=MANY), help_heading = "Optimization")]
    epochs: Option<u64>,
    /// Samples a step
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_most::<usize, LARGE>, help_heading = "Optimization")]
    batch_size: usize,
    /// Leave out an epoch's last batch where it is not whole
    #[arg(long, help_heading = "Optimization")]
    drop_last: bool,
    /// Set another hyperparameter of a step model, by the name of its input; may be repeated
    #[arg(long, value_name = "NAME=NUMBER", value_parser = assignment, help_heading = "Optimization")]
    set: Vec<(String, f32)>,
    /// The weights to begin with
    #[arg(long, value_parser = named::<Init>(), default_value = Init::Keep.name(), help_heading = "Optimization")]
    init: Init,
    /// Decides everything random: runs with the same seed are equal
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Optimization")]
    seed: u32,

    #[command(flatten)]
    schedule: ScheduleArguments,
    #[command(flatten)]
    penalty: Given<PenaltyArguments>,
    #[command(flatten)]
    step: Given<StepArguments>,
    #[command(flatten)]
    memory: MemoryArguments,
    #[command(flatten)]
    checkpoint: CheckpointArguments,

    /// Write the trained model there: the model that was given, with trained weights
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: Option<PathBuf>,
    /// What becomes of the model's external data when the result is in another folder
    #[arg(long, value_parser = named::<ExternalData>(), default_value = ExternalData::default().name(), help_heading = "Output")]
    external_data: ExternalData,
    /// Folder for metrics, checkpoints, the report and the result [default: runs/ and the name of MODEL]
    #[arg(long, value_name = "FOLDER", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Tell at the end which operators take the time of a step (ONNX Runtime, on the processor); the record of each is
    /// profile.json in the run's folder, which ui.perfetto.dev shows
    #[arg(long, help_heading = "Output")]
    profile: bool,
    #[command(flatten)]
    invocation: InvocationArguments,

    #[command(flatten)]
    engine: EngineArguments,
}

/// `NAME=NUMBER`.
fn assignment(text: &str) -> Result<(String, f32), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=NUMBER")?;
    let value = value.parse().map_err(|_| format!("`{value}` is no number"))?;
    Ok((name.to_owned(), value))
}

pub fn run(arguments: &Arguments, configuration: Configuration) -> Result<()> {
    let settings = arguments.settings(configuration)?;
    if let Some(output) = &arguments.output {
        let others = [arguments.config.as_deref(), arguments.step.class_weights_file()];
        files::ensure_no_input(output, others.into_iter().flatten())?;
    }
    let folder = settings.output.folder.clone();
    stop_on_ctrl_c(arguments.invocation.quiet)?;
    let (quiet, verbose) = (arguments.invocation.quiet, arguments.invocation.verbose);
    if verbose {
        cli::name_libraries();
    }
    let mut console = Console { quiet, verbose, display: None, copying: CopyingBar::new(quiet) };
    let outcome = run_one(settings, &mut console, &STOP);
    if let Some(display) = &console.display {
        display.finish();
    }
    console.conclude(&outcome?, &folder)
}

/// The arguments of one run by themselves: what a configuration file and a sweep are read as.
#[derive(Parser)]
#[command(name = "gnp-run", args_override_self = true)]
struct RunLine {
    #[command(flatten)]
    arguments: Arguments,
}

/// The arguments of one run, for who makes words of settings.
pub fn run_command() -> clap::Command {
    RunLine::command()
}

/// The run that the words of a command line ask for, without the program's name; they may have a `--config`.
///
/// # Errors
/// Where they are no command line of `gnp-run`, or what they ask for makes no sense.
pub fn run_of(line: impl IntoIterator<Item = OsString>) -> Result<Run> {
    let command = RunLine::command();
    let line = config_file::expand(&command, std::iter::once("gnp-run".into()).chain(line).collect())?;
    let matches = command.clone().try_get_matches_from(line).map_err(cli::usage)?;
    let arguments = RunLine::from_arg_matches(&matches).map_err(cli::usage)?.arguments;
    arguments.settings(config_file::resolved(&command, &matches))
}

impl Arguments {
    /// The run that is asked for.
    fn settings(&self, configuration: Configuration) -> Result<Run> {
        let missing =
            || Error::input("nothing to train").help("name a model or a folder of artifacts, --data and --epochs");
        let path = self.model.clone().ok_or_else(missing)?;
        let kind = Kind::of(&path)?;
        if let Some(flag) = self.first_of_no_use(kind) {
            return Err(Error::input(format!("{flag} is of no use: the training is in the model already"))
                .in_file(path)
                .help("give it to gnp-rewrite, or to gnp-run with the ordinary model"));
        }
        let step = match kind {
            Kind::Forward => {
                let parts = self.memory.parts(self.batch_size);
                Some(self.step.options_in(self.penalty.penalty()?, self.schedule.lr(), parts)?)
            }
            Kind::Step | Kind::Artifacts => None,
        };
        Ok(Run {
            data: self.data.settings()?,
            training: self.training(kind, self.epochs.ok_or_else(missing)?)?,
            engine: self.engine.settings(),
            output: OutputSettings {
                folder: self.out.clone().unwrap_or_else(|| default_out(&path)),
                existing: match (self.invocation.resume, self.invocation.force) {
                    (true, _) => Existing::Resume,
                    (_, true) => Existing::Replace,
                    _ => Existing::Refuse,
                },
                file: self.output.clone(),
                external_data: self.external_data,
                profile: self.profile,
                configuration: Some(configuration),
            },
            model: ModelSettings {
                path,
                forward: self.forward.clone(),
                step,
                fit_memory: self.memory.fit()?,
                init: self.init,
                names: FileNames::new(self.artifact_prefix.as_deref().unwrap_or_default())?,
            },
            seed: self.seed.into(),
        })
    }

    /// The first flag that is given and means nothing for what is rewritten already.
    fn first_of_no_use(&self, kind: Kind) -> Option<&str> {
        // r and α are fed; the penalty of artifacts with an input for it can be warmed up by what it is fed.
        let fed: &[&str] = match kind {
            Kind::Forward => return None,
            Kind::Step => &["--r", "--alpha"],
            Kind::Artifacts => &["--r", "--alpha", "--gr-warmup", "--gr-warmup-steps"],
        };
        self.step.flags().chain(self.memory.flag()).chain(self.penalty.flags()).find(|flag| !fed.contains(flag))
    }

    /// How the model is trained. A step model that is made for the run has its rates in it.
    fn training(&self, kind: Kind, epochs: u64) -> Result<TrainingSettings> {
        let is_made = kind == Kind::Forward;
        Ok(TrainingSettings {
            epochs,
            batch_size: self.batch_size,
            drop_last: self.drop_last,
            learning_rate: self.schedule.lr().filter(|_| !is_made),
            schedule: self.schedule.schedule()?,
            warmup: self.schedule.warmup(),
            r: self.penalty.r().filter(|_| !is_made),
            alpha: self.penalty.alpha().filter(|_| !is_made),
            hybrid: self.schedule.hybrid(),
            penalty_warmup: if is_made { Warmup::None } else { self.step.gr_warmup() },
            penalty_warmup_length: match self.schedule.gr_warmup_length()? {
                None => self.step.gr_warmup_steps().map(|steps| Span::Steps(steps.into())),
                length => length,
            },
            others: self.set.iter().cloned().collect(),
            checkpoints: self.checkpoint.policy(),
        })
    }
}

/// What a user sees of a run.
struct Console {
    quiet: bool,
    verbose: bool,
    /// From when the training begins.
    display: Option<Display>,
    copying: CopyingBar,
}

impl Observer for Console {
    fn notice(&mut self, notice: Notice<'_>) {
        match notice {
            _ if self.quiet => {}
            Notice::Made(report) => cli::say(describe::step(report).trim_end_matches('\n')),
            Notice::Info(text) => cli::say(escaped::line(text)),
            Notice::Detail(text) if self.verbose => cli::say(escaped::line(text)),
            _ => {}
        }
    }

    fn begin(&mut self, overview: &Overview) {
        let Overview { epochs, steps, done, has_test, .. } = *overview;
        // A faulty template is no reason not to train.
        self.display = Display::new(epochs, steps, done, has_test, self.quiet).ok();
    }

    fn event(&mut self, event: &Event) {
        if let Some(display) = &mut self.display {
            display.show(event);
        }
    }

    fn profile(&mut self, profile: &Profile, trace: &Path) {
        if let Some(display) = &self.display {
            display.finish();
        }
        if !self.quiet {
            cli::say(describe::profile(profile, trace).trim_end_matches('\n'));
        }
    }

    fn copying(&mut self, copying: &Copying<'_>) {
        if let Some(display) = &self.display {
            display.finish();
        }
        self.copying.show(copying);
    }
}

impl Console {
    /// Says the outcome of the run.
    fn conclude(&self, outcome: &Outcome, folder: &Path) -> Result<()> {
        if outcome.ended == Ended::StoppedEarly && !self.quiet {
            cli::say("stopped early: no improvement for as many epochs as --patience says");
        }
        match (&outcome.result, &self.display) {
            _ if self.quiet => Ok(()),
            (Some((what, file)), Some(display)) => cli::print(display.summary(what, file)),
            _ if outcome.ended == Ended::Stopped => cli::print(format!(
                "stopped; the checkpoint is in {}\nthe same command with --resume goes on from there\n",
                folder.display()
            )),
            _ => Ok(()),
        }
    }
}

/// `runs/` and the name of the artifacts' folder or the step model.
fn default_out(model: &Path) -> PathBuf {
    let full = model.canonicalize().unwrap_or_else(|_| model.to_owned());
    let name = if full.is_dir() { full.file_name() } else { full.file_stem() };
    Path::new("runs").join(name.unwrap_or("run".as_ref()))
}
