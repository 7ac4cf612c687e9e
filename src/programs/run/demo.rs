//! `gnp-run demo`: what the penalty does, in under a minute.

use super::lab::Lab;
use crate::cli::arguments::named::named;
use crate::engine::EngineKind;
use crate::experiment::sweep::{self, Estimate};
use crate::experiment::{Loaded, Observer, Opened, Rehearsed, Run, Trained};
use crate::named::Named as _;
use crate::penalty::Penalty;
use crate::report::Event;
use crate::train::{Schedule, evaluate};
use crate::{Error, Result, cli};
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

const RADIUS: f32 = 1.0;
const ALPHA: f32 = 0.8;
const LABEL_NOISE: f64 = 0.4;
const CLASSES: f64 = 10.0;
const EPOCHS: u64 = 60;
const LEARNING_RATE: f32 = 1e-3;
const BATCH_SIZE: usize = 64;
/// The digits' values go up to 16.
const DIVISOR: f32 = 16.0;
static NEVER: AtomicBool = AtomicBool::new(false);

#[derive(clap::Args)]
pub struct Arguments {
    /// Runs of each kind that are averaged
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
    /// What to train with
    #[arg(long, value_parser = named::<EngineKind>(), default_value = EngineKind::Tract.name())]
    engine: EngineKind,
    /// ONNX Runtime library to use
    #[arg(long, value_name = "PATH")]
    ort_lib: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir().map_err(|error| Error::io("make a folder", std::env::temp_dir(), &error))?;
    let digits = folder.path().join("digits.npz");
    fs::write(&digits, include_bytes!("../../../models/digits.npz"))
        .map_err(|error| Error::io("unpack the demo", &digits, &error))?;
    let lab = Lab::new(arguments.engine, arguments.ort_lib.as_deref(), folder.path())?;
    let arms = [
        ("plain", Penalty { r: 0.0, alpha: 0.0, ..Penalty::default() }),
        ("SAM", Penalty { r: RADIUS, alpha: 1.0, ..Penalty::default() }),
        ("GNP", Penalty { r: RADIUS, alpha: ALPHA, ..Penalty::default() }),
    ];
    cli::print(format!(
        "A small network (64-256-256-10) learns handwritten digits from 1,000 samples, {:.0} % of whose labels are redrawn\n\
         at random: plainly, as SAM (r = {RADIUS}, α = 1) and with the Gradient Norm Penalty (r = {RADIUS}, α = {ALPHA}). Engine: {}.\n\n",
        100.0 * LABEL_NOISE,
        lab.name()
    ))?;
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} epochs  {eta} left")
        .map_err(|error| Error::internal(format!("a faulty template: {error}")))?;
    let bar = ProgressBar::new(arguments.seeds * arms.len() as u64 * EPOCHS).with_style(style);
    let one = |arm: usize, seed: u64| {
        let (name, penalty) = &arms[arm];
        bar.set_prefix(format!("{name:<5} seed {seed}"));
        let out = folder.path().join(format!("{name}-seed{seed}"));
        let found = train(&lab, penalty, seed, &digits, &out, &bar)?;
        Ok(Some((arm, found)))
    };
    let seeds: Vec<u64> = (0..arguments.seeds).collect();
    let found = sweep::each(arms.len(), &seeds, NonZero::<usize>::MIN, &one, &NEVER)?.unwrap_or_default();
    bar.finish_and_clear();
    let methods = [0, 1, 2].map(|arm| {
        let of_arm = found.iter().filter(|(of, _)| *of == arm).map(|(_, found)| found);
        Method::of(arms[arm].0, of_arm)
    });
    cli::print(format!("{}\n\n{}\n", table(&methods), conclusion(&methods)))
}

/// The outcome of one run.
struct Found {
    accuracy: Option<f64>,
    /// The fraction of the training labels, the redrawn ones among them, that is learnt.
    fit: Option<f64>,
    gradient_norm: f64,
    step_seconds: f64,
}

/// A way of training, and its outcome with each seed.
struct Method {
    name: &'static str,
    accuracies: Vec<f64>,
    fits: Vec<f64>,
    gradient_norms: Vec<f64>,
    step_seconds: Vec<f64>,
}

/// Trains the network of `lab` on `digits`, in the folder `out`.
fn train(lab: &Lab, penalty: &Penalty, seed: u64, digits: &Path, out: &Path, bar: &ProgressBar) -> Result<Found> {
    let mut run = Run::new("", digits, out);
    lab.equip(&mut run, penalty)?;
    run.data.preparation.divisor = Some(DIVISOR);
    run.data.label_noise = LABEL_NOISE;
    run.training.epochs = EPOCHS;
    run.training.batch_size = BATCH_SIZE;
    run.training.learning_rate = Some(LEARNING_RATE);
    run.training.schedule = Schedule::Cosine { final_share: 0.0 };
    run.training.checkpoints.evaluate_every = NonZero::new(EPOCHS).unwrap_or(NonZero::<u64>::MIN);
    run.training.checkpoints.checkpoint_every = NonZero::new(EPOCHS).unwrap_or(NonZero::<u64>::MIN);
    run.engine.threads = NonZero::new(1);
    run.seed = seed;
    let mut watch = Watch { bar, seconds: Vec::new(), error: None };
    let opened = Opened::new(run, &mut watch)?;
    let mut loaded = Loaded::new(opened, &mut watch)?;
    let mut trained = Trained::new(Rehearsed::new(&mut loaded)?, &mut watch, &NEVER)?;
    let (engine, train) = trained.parts();
    let fit = evaluate(engine, train, BATCH_SIZE, &NEVER)?.and_then(|evaluation| Some(1.0 - evaluation.error?));
    Ok(Found {
        accuracy: watch.error.map(|error| 1.0 - error),
        fit,
        gradient_norm: lab.gradient_norm(&mut trained, out)?,
        step_seconds: median(&mut watch.seconds),
    })
}

/// Sees how long steps take, and the last test error.
struct Watch<'a> {
    bar: &'a ProgressBar,
    seconds: Vec<f64>,
    error: Option<f64>,
}

impl Observer for Watch<'_> {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Step(step) => self.seconds.push(step.seconds),
            Event::Epoch(epoch) => {
                self.error = epoch.test_error;
                self.bar.inc(1);
            }
            _ => {}
        }
    }
}

impl Method {
    fn of<'f>(name: &'static str, found: impl Iterator<Item = &'f Found>) -> Self {
        let mut method = Self { name, accuracies: vec![], fits: vec![], gradient_norms: vec![], step_seconds: vec![] };
        for found in found {
            method.accuracies.extend(found.accuracy);
            method.fits.extend(found.fit);
            method.gradient_norms.push(found.gradient_norm);
            method.step_seconds.push(found.step_seconds);
        }
        method
    }
}

fn table(methods: &[Method]) -> Table {
    let mut table = cli::table(["", "test accuracy", "labels fitted", "final ‖∇L‖", "time a step"]);
    for method in methods {
        let accuracies: Vec<f64> = method.accuracies.iter().map(|accuracy| 100.0 * accuracy).collect();
        table.add_row([
            method.name.to_owned(),
            format!("{:.1} ± {:.1} %", mean(&accuracies), deviation(&accuracies)),
            format!("{:.1} %", 100.0 * mean(&method.fits)),
            format!("{:.3}", mean(&method.gradient_norms)),
            format!("{:.2} ms", 1e3 * mean(&method.step_seconds)),
        ]);
    }
    table
}

/// What the numbers say, whatever they are.
fn conclusion(methods: &[Method; 3]) -> String {
    let [plain, sam, gnp] = methods;
    let percent = |values: &[f64]| 100.0 * mean(values);
    let over = |other: &Method| {
        let gain = percent(&gnp.accuracies) - percent(&other.accuracies);
        format!("{:.1} points {} {}", gain.abs(), if gain >= 0.0 { "above" } else { "below" }, other.name)
    };
    // Of those redrawn a few come out as they were.
    let right = 100.0 * (1.0 - LABEL_NOISE * (1.0 - 1.0 / CLASSES));
    format!(
        "GNP's test accuracy is {} and {} (means over {} seeds), at {:.1} times the time a step.\n\
         About {right:.0} % of the training labels are right: plain training fits {:.0} % of them, SAM {:.0} %, GNP {:.0} %. \
         What is above {right:.0} %\nis noise learnt by heart, and the gradient vanishes where everything is learnt by heart.",
        over(plain),
        over(sam),
        gnp.accuracies.len(),
        mean(&gnp.step_seconds) / mean(&plain.step_seconds),
        percent(&plain.fits),
        percent(&sam.fits),
        percent(&gnp.fits),
    )
}

fn mean(values: &[f64]) -> f64 {
    Estimate::of(values).map_or(f64::NAN, |estimate| estimate.mean)
}

/// The sample standard deviation; 0 for a single value.
fn deviation(values: &[f64]) -> f64 {
    Estimate::of(values).and_then(|estimate| estimate.deviation()).unwrap_or(0.0)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
