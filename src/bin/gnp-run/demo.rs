//! `gnp-run demo`: what the penalty does, in under a minute.

use crate::lab::Lab;
use comfy_table::Table;
use gnp::cli::arguments::named::named;
use gnp::data::{Data, Dataset, Feed, Options, Preparation};
use gnp::experiment::EngineKind;
use gnp::experiment::sweep::Estimate;
use gnp::named::Named as _;
use gnp::penalty::Penalty;
use gnp::report::Event;
use gnp::train::{CheckpointPolicy, Config, Progress, Run, Schedule, Span, evaluate, fit, prepare};
use gnp::{Error, Result, cli};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
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
    let mut demo = Demo {
        data: Data::load(&Options::new(&digits))?,
        methods: [
            Method::new("plain", Penalty { r: 0.0, alpha: 0.0, ..Penalty::default() }),
            Method::new("SAM", Penalty { r: RADIUS, alpha: 1.0, ..Penalty::default() }),
            Method::new("GNP", Penalty { r: RADIUS, alpha: ALPHA, ..Penalty::default() }),
        ],
        lab,
    };
    cli::print(format!(
        "A small network (64-256-256-10) learns handwritten digits from 1,000 samples, {:.0} % of whose labels are redrawn\n\
         at random: plainly, as SAM (r = {RADIUS}, α = 1) and with the Gradient Norm Penalty (r = {RADIUS}, α = {ALPHA}). Engine: {}.\n\n",
        100.0 * LABEL_NOISE,
        demo.lab.name()
    ))?;
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} epochs  {eta} left")
        .map_err(|error| Error::internal(format!("a faulty template: {error}")))?;
    let bar = ProgressBar::new(arguments.seeds * demo.methods.len() as u64 * EPOCHS).with_style(style);
    for seed in 0..arguments.seeds {
        for method in 0..demo.methods.len() {
            bar.set_prefix(format!("{:<5} seed {seed}", demo.methods[method].name));
            demo.train(method, seed, &bar)?;
        }
    }
    bar.finish_and_clear();
    cli::print(format!("{}\n\n{}\n", table(&demo.methods), conclusion(&demo.methods)))
}

/// Everything that the demo needs.
struct Demo {
    lab: Lab,
    data: Data,
    methods: [Method; 3],
}

/// A way of training, and what came of it with each seed.
struct Method {
    name: &'static str,
    penalty: Penalty,
    accuracies: Vec<f64>,
    gradient_norms: Vec<f64>,
    /// The fraction of the training labels, the redrawn ones among them, that are learnt.
    fits: Vec<f64>,
    step_seconds: Vec<f64>,
}

impl Demo {
    fn train(&mut self, method: usize, seed: u64, bar: &ProgressBar) -> Result<()> {
        let penalty = self.methods[method].penalty;
        // An artifact has its numbers as constants.
        let is_input = matches!(self.lab, Lab::Step { .. });
        let config = Config {
            epochs: EPOCHS,
            batch_size: BATCH_SIZE,
            drop_last: false,
            learning_rate: LEARNING_RATE,
            schedule: Schedule::Cosine { final_share: 0.0 },
            warmup: Span::default(),
            seed,
            r: is_input.then_some(penalty.r),
            alpha: is_input.then_some(penalty.alpha),
            hybrid: None,
            gr_warmup: None,
            others: BTreeMap::new(),
        };
        let mut engine = self.lab.load(&penalty)?;
        let mut data = self.data.clone();
        let preparation = Preparation::divide(DIVISOR);
        prepare(&mut *engine, &mut data, &preparation, LABEL_NOISE, &config)?;
        let train = Feed::new(&data.train, engine.batch_ports(), &preparation)?;
        let mut seconds = Vec::new();
        let run = Run {
            engine: &mut *engine,
            train: &train,
            test: None,
            config: &config,
            policy: &CheckpointPolicy::default(),
            folder: None,
            observe: &mut |event| match event {
                Event::Step(step) => seconds.push(step.seconds),
                _ => bar.inc(1),
            },
            stop: &NEVER,
        };
        fit(run, Progress::default())?;

        let mut accuracy = |data: &Dataset| -> Result<Option<f64>> {
            let feed = Feed::new(data, engine.batch_ports(), &preparation)?;
            Ok(evaluate(&mut *engine, &feed, BATCH_SIZE, &NEVER)?.and_then(|evaluation| Some(1.0 - evaluation.error?)))
        };
        let fit = accuracy(&data.train)?;
        let accuracy = data.test.as_ref().map(accuracy).transpose()?.flatten();
        let norm = self.lab.gradient_norm(&mut *engine, &train)?;
        let results = &mut self.methods[method];
        results.accuracies.extend(accuracy);
        results.fits.extend(fit);
        results.gradient_norms.push(norm);
        results.step_seconds.push(median(&mut seconds));
        Ok(())
    }
}

impl Method {
    fn new(name: &'static str, penalty: Penalty) -> Self {
        Self {
            name,
            penalty,
            accuracies: Vec::new(),
            gradient_norms: Vec::new(),
            fits: Vec::new(),
            step_seconds: Vec::new(),
        }
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
