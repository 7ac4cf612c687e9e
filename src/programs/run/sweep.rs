//! `gnp-run sweep`: one configuration with many values of r and α, and seeds; a table and a figure.

use super::interrupt::{STOP, stop_on_ctrl_c};
use super::train;
use crate::cli::arguments::bounded::{THREADS, at_most};
use crate::engine::EngineKind;
use crate::experiment::sweep::{self, Arm, ArmSummary, Estimate, Point, Summary, Sweep, SweepObserver, grid};
use crate::experiment::{EngineChoice, Kind, Overview, Run};
use crate::report::{Event, Unit, shown};
use crate::{Error, Result, cli, files};
use clap::{CommandFactory, Parser};
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};
use std::ffi::OsString;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

/// The level of the confidence intervals.
const LEVEL: f64 = 0.95;

const EXAMPLES: &str = "\
Examples:
  gnp-run sweep train.toml --alpha 0,0.2,0.4,0.6,0.8,1 --r 0.05,0.1 --seeds 5
      Every alpha with every radius, five times each
  gnp-run sweep train.toml --alpha 0,0.8,1 --seeds 5 \\
      --arm 'plain, twice the epochs = --alpha 0 --epochs 40' \\
      --arm 'plain, weight decay = --alpha 0 --weight-decay 1e-3'
      With other ways of training beside the grid
  gnp-run sweep train.toml --alpha 0,0.8,1 -- --epochs 5 --engine tract
      What follows -- takes precedence over the configuration, in every run
  gnp-run sweep --alpha 0,0.8,1 -- model.onnx --data mnist.npz --epochs 10 --loss cross-entropy
      Without a configuration";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// What every run has in common: a file as --config takes it; without one, all flags follow --
    #[arg(value_name = "CONFIG", required_unless_present = "more")]
    config: Option<PathBuf>,
    /// The weights of the perturbed gradient; 0 is plain training, 1 is SAM
    #[arg(long, value_name = "ALPHA,…", value_delimiter = ',', default_value = "0,0.2,0.4,0.6,0.8,1")]
    alpha: Vec<f32>,
    /// The radii of the perturbation [default: that of the configuration, else 0.1]
    #[arg(long, value_name = "R,…", value_delimiter = ',')]
    r: Vec<f32>,
    /// Another way of training to compare with: its name and the flags that it differs in; may be repeated
    #[arg(long, value_name = "NAME = FLAGS")]
    arm: Vec<String>,
    /// Runs of each arm; each seed has weights and an order of the samples of its own, the same for all arms
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Begin with the model's own weights with every seed, rather than with another draw of the same distributions
    #[arg(long)]
    keep_weights: bool,
    /// Runs at a time, with one thread each [default: one a core]
    #[arg(long, value_name = "N", value_parser = at_most::<NonZero<usize>, THREADS>)]
    jobs: Option<NonZero<usize>>,
    /// Folder for the runs, the table and the figure; a sweep that is there goes on [default: sweeps/ and the name of
    /// CONFIG, or of the model]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Flags of each run, in place of what the configuration says
    #[arg(last = true, value_name = "FLAGS")]
    more: Vec<OsString>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let line = SweepLine::of(arguments)?;
    stop_on_ctrl_c(false)?;
    let display = Display::new(&line)?;
    let summary = line.run(&display, &STOP);
    display.bar.finish_and_clear();
    let folder = &line.sweep.folder;
    match summary? {
        Some(summary) => cli::print(report(&summary, folder)),
        None => cli::print(format!(
            "stopped; what was done is in {}\nthe same command goes on from there\n",
            folder.display()
        )),
    }
}

/// The arguments of a sweep by themselves.
#[derive(Parser)]
#[command(name = "gnp-run sweep")]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

/// A sweep as the words of a command line ask for it.
pub struct SweepLine {
    /// What is compared.
    pub sweep: Sweep,
    /// The command lines of each arm's runs, but for their seeds.
    lines: Vec<Vec<OsString>>,
    keeps_weights: bool,
}

impl SweepLine {
    /// The arguments of a sweep, for who makes words of settings.
    pub fn command() -> clap::Command {
        Line::command()
    }

    /// The sweep of what follows `gnp-run sweep`.
    ///
    /// # Errors
    /// Where the words are no such command line, or what they ask for makes no sense.
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self> {
        let words = ["gnp-run sweep".into()].into_iter().chain(words);
        Self::of(&Line::try_parse_from(words).map_err(cli::usage)?.arguments)
    }

    fn of(arguments: &Arguments) -> Result<Self> {
        let shared = train::run_of(arguments.line(&[]))?;
        let is_artifact = Kind::of(&shared.model.path)? == Kind::Artifacts;
        let by_training_api = is_artifact || matches!(shared.engine.engine, EngineChoice::Of(EngineKind::OrtTraining));
        let radii = match (&*arguments.r, &shared.model.step) {
            ([], Some(step)) => vec![step.penalty.r],
            ([], None) => vec![shared.training.r.unwrap_or(0.1)],
            (given, _) => given.to_vec(),
        };
        let mut arms = grid(&radii, &arguments.alpha)?;
        let mut lines: Vec<_> = arms.iter().map(|arm| arguments.line(&of_point(arm))).collect();
        for text in &arguments.arm {
            let (name, flags) = named_arm(text)?;
            arms.push(Arm { name, point: None });
            lines.push(arguments.line(&flags));
        }
        // The training API draws from one generator a process: side by side runs would disturb each other.
        let cores = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        let jobs = if by_training_api { NonZero::<usize>::MIN } else { arguments.jobs.unwrap_or(cores) };
        let named_by = arguments.config.as_deref().unwrap_or(&shared.model.path);
        let folder = arguments.out.clone().unwrap_or_else(|| default_out(named_by));
        let sweep = Sweep { arms, seeds: (0..arguments.seeds).collect(), jobs, folder };
        sweep.validate()?;
        Ok(Self { sweep, lines, keeps_weights: arguments.keep_weights })
    }

    fn run_of(&self, arm: usize, seed: u64) -> Result<Run> {
        let mut line = self.lines[arm].clone();
        line.push(format!("--seed={seed}").into());
        if !self.keeps_weights {
            line.push("--init=shuffle".into());
        }
        let mut run = train::run_of(line)?;
        run.engine.threads.get_or_insert(NonZero::<u16>::MIN);
        Ok(run)
    }

    /// Runs what is not done yet, and writes what all of it comes to into the folder; none where `stop` was set
    /// meanwhile.
    ///
    /// # Errors
    /// Where a run fails otherwise than by diverging, or the folder cannot be written.
    pub fn run(&self, observer: &dyn SweepObserver, stop: &AtomicBool) -> Result<Option<Summary>> {
        let of = |arm: usize, seed: u64| self.run_of(arm, seed);
        let Some(results) = sweep::run(&self.sweep, &of, observer, stop)? else { return Ok(None) };
        let summary = Summary::of(&self.sweep, &results);
        write(&self.sweep.folder.join(SUMMARY), &json(&summary)?)?;
        if let Some(figure) = summary.figure() {
            write(&self.sweep.folder.join(FIGURE), figure.as_bytes())?;
        }
        Ok(Some(summary))
    }
}

const SUMMARY: &str = "summary.json";
const FIGURE: &str = "figure.svg";

impl Arguments {
    /// The command line of a run, with flags of its own, which take precedence.
    fn line(&self, flags: &[OsString]) -> Vec<OsString> {
        let config = self.config.iter().flat_map(|config| [OsString::from("--config"), config.clone().into()]);
        config.chain(self.more.iter().cloned()).chain(flags.iter().cloned()).collect()
    }
}

fn of_point(arm: &Arm) -> Vec<OsString> {
    let Point { r, alpha } = arm.point.unwrap_or(Point { r: 0.0, alpha: 0.0 });
    vec![format!("--r={r}").into(), format!("--alpha={alpha}").into()]
}

/// `NAME = FLAGS`, the flags separated by spaces.
fn named_arm(text: &str) -> Result<(String, Vec<OsString>)> {
    match text.split_once('=') {
        Some((name, flags)) if !name.trim().is_empty() && flags.trim().starts_with("--") => {
            Ok((name.trim().to_owned(), flags.split_whitespace().map(OsString::from).collect()))
        }
        _ => Err(Error::input(format!("--arm `{text}`: expected a name, `=` and flags"))
            .help("for example --arm 'plain, twice the epochs = --alpha 0 --epochs 40'")),
    }
}

/// `sweeps/` and the name of the configuration.
fn default_out(config: &Path) -> PathBuf {
    Path::new("sweeps").join(config.file_stem().unwrap_or("sweep".as_ref()))
}

/// One bar over the epochs of all runs.
struct Display {
    bar: ProgressBar,
    /// The runs that are under way.
    running: Mutex<Vec<String>>,
    epochs_of: Vec<(String, u64)>,
}

impl Display {
    fn new(line: &SweepLine) -> Result<Self> {
        let sweep = &line.sweep;
        let mut epochs_of = Vec::new();
        for (index, arm) in sweep.arms.iter().enumerate() {
            epochs_of.push((arm.name.clone(), line.run_of(index, 0)?.training.epochs));
        }
        let epochs = epochs_of.iter().map(|(_, epochs)| epochs).sum::<u64>() * sweep.seeds.len() as u64;
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} epochs  {eta} left\n{wide_msg}")
            .map_err(|error| Error::internal(format!("a faulty template: {error}")))?;
        cli::say(format!(
            "{} runs: {} arms with {} seeds, {} at a time, in {}",
            sweep.arms.len() * sweep.seeds.len(),
            sweep.arms.len(),
            sweep.seeds.len(),
            sweep.jobs,
            sweep.folder.display()
        ));
        Ok(Self { bar: ProgressBar::new(epochs).with_style(style), running: Mutex::default(), epochs_of })
    }

    fn show(&self, edit: impl FnOnce(&mut Vec<String>)) {
        let mut running = self.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        edit(&mut running);
        self.bar.set_message(running.join("  ·  "));
    }
}

fn label(arm: &Arm, seed: u64) -> String {
    format!("{}, seed {seed}", arm.name)
}

impl SweepObserver for Display {
    fn begin(&self, arm: &Arm, seed: u64, overview: &Overview) {
        let done = overview.done * overview.epochs / overview.steps.max(1);
        self.bar.inc(done);
        self.show(|running| running.push(label(arm, seed)));
    }

    fn event(&self, _: &Arm, _: u64, event: &Event) {
        if let Event::Epoch(_) = event {
            self.bar.inc(1);
        }
    }

    fn end(&self, arm: &Arm, seed: u64) {
        let name = label(arm, seed);
        let mut was_running = false;
        self.show(|running| {
            was_running = running.contains(&name);
            running.retain(|other| *other != name);
        });
        if !was_running {
            // It was over before.
            self.bar.inc(self.epochs_of.iter().find(|(other, _)| *other == arm.name).map_or(0, |(_, epochs)| *epochs));
            self.bar.reset_eta();
        }
    }
}

fn json(summary: &Summary) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(summary).map_err(|error| Error::internal(format!("cannot encode the summary: {error}")))
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    files::replace(file, true, bytes, "write the summary")
}

/// The table, and what is to be said of it.
fn report(summary: &Summary, folder: &Path) -> String {
    let mut text = format!("{}\n", table(summary));
    let seeds = summary.arms.iter().filter_map(|arm| arm.test_error).map(|error| error.count).max().unwrap_or(0);
    text += &format!(
        "\nMeans of the last epochs over {seeds} seeds ± standard error; differences to {} seed by seed, with their {:.0} %\n\
         confidence interval (Student's t). ‖∇L‖: the true gradient's norm, of a batch at θ.\n",
        summary.baseline,
        100.0 * LEVEL
    );
    for arm in &summary.arms {
        for (seed, message) in &arm.failed {
            text += &format!("\n{}, seed {seed}, failed: {message}\n", arm.name);
        }
    }
    let figure = if summary.figure().is_some() { format!(", {FIGURE}") } else { String::new() };
    text += &format!("\nruns/, {SUMMARY}{figure}: {}\n", folder.display());
    text
}

fn table(summary: &Summary) -> Table {
    let difference = format!("less {}", summary.baseline);
    let measures = shown(|measure| measure.sweep, |column| column.place);
    let heads = measures.iter().map(|(_, column)| column.name);
    let mut table = cli::table(["", "test error", &difference].into_iter().chain(heads).chain(["time"]));
    for arm in &summary.arms {
        let ArmSummary { test_error, difference, seconds, .. } = arm;
        let interval = |difference: &Estimate| {
            let margin = difference.margin(LEVEL).map(|m| format!(" ± {:.2}", 100.0 * m)).unwrap_or_default();
            format!("{:+.2}{margin}", 100.0 * difference.mean)
        };
        let first = [
            arm.name.clone(),
            written(test_error, Unit::Percent, true),
            difference.as_ref().map(interval).unwrap_or_default(),
        ];
        let of_arm = measures
            .iter()
            .map(|(measure, column)| written(&arm.measures.get(measure.name), measure.unit, column.with_error));
        let time = seconds.map(|estimate| format!("{:.1} s", estimate.mean)).unwrap_or_default();
        table.add_row(first.into_iter().chain(of_arm).chain([time]));
    }
    table
}

/// A mean, and its standard error where `with_error` says so; nothing where it is not known.
fn written(estimate: &Option<Estimate>, unit: Unit, with_error: bool) -> String {
    let Some(Estimate { mean, standard_error, .. }) = estimate else { return String::new() };
    let (number, end): (fn(f64) -> String, _) = match unit {
        Unit::Number => (|value| format!("{value:.4}"), ""),
        Unit::Percent => (|value| format!("{:.2}", 100.0 * value), " %"),
    };
    let error = standard_error.filter(|_| with_error).map(|error| format!(" ± {}", number(error))).unwrap_or_default();
    format!("{}{error}{end}", number(*mean))
}
