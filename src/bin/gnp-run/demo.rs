//! `gnp-run demo`: what the penalty does, in under a minute.

use crate::engines;
use comfy_table::{CellAlignment, Table, presets};
use gnp::emit::artifact::{GRAD_NORM, Settings};
use gnp::engine::ort_training::{Artifacts, Options};
use gnp::engine::runtime::{self, Runtime};
use gnp::engine::{Engine, OrtTraining, Rates};
use gnp::penalty::Penalty;
use gnp::rewrite::{self, rewrite};
use gnp::train::data::{Data, Feed};
use gnp::train::{Config, Event, Progress, Run, Schedule, evaluate, fit, prepare};
use gnp::{Error, Result, cli};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

const RADIUS: f32 = 1.0;
const ALPHA: f32 = 0.8;
const LABEL_NOISE: f64 = 0.4;
const EPOCHS: u64 = 60;
const LEARNING_RATE: f32 = 1e-3;
const BATCH_SIZE: usize = 64;
/// The digits' values go up to 16.
const DIVISOR: Option<f32> = Some(16.0);
static NEVER: AtomicBool = AtomicBool::new(false);

#[derive(clap::Args)]
pub struct Arguments {
    /// Runs of each kind that are averaged
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
    /// ONNX Runtime library to use
    #[arg(long, value_name = "PATH")]
    ort_lib: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let runtime = match runtime::for_training(arguments.ort_lib.as_deref()) {
        Err(_) if arguments.ort_lib.is_none() => engines::install()?,
        found => found?,
    };
    let folder = tempfile::tempdir().map_err(|error| Error::io("make a folder", std::env::temp_dir(), &error))?;
    let mut demo = Demo::unpack(folder.path(), runtime)?;
    cli::print(format!(
        "A small network (64-256-256-10) learns handwritten digits from 1,000 samples, {:.0} % of whose labels are redrawn\n\
         at random: plainly, as SAM (r = {RADIUS}, α = 1) and with the Gradient Norm Penalty (r = {RADIUS}, α = {ALPHA}).\n\n",
        100.0 * LABEL_NOISE
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

/// Everything that the demo needs, unpacked into a folder.
struct Demo {
    checkpoint: PathBuf,
    runtime: Runtime,
    data: Data,
    methods: [Method; 3],
    /// Artifacts of the same network that return the gradient norm.
    probe: Artifacts,
}

/// A way of training, and what came of it with each seed.
struct Method {
    name: &'static str,
    artifacts: Artifacts,
    accuracies: Vec<f64>,
    gradient_norms: Vec<f64>,
    step_seconds: Vec<f64>,
}

impl Demo {
    fn unpack(folder: &Path, runtime: Runtime) -> Result<Self> {
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            fs::write(&path, bytes).map_err(|error| Error::io("unpack the demo", &path, &error))
        };
        let plain = folder.join("plain");
        fs::create_dir(&plain).map_err(|error| Error::io("unpack the demo", &plain, &error))?;
        write("digits.npz", include_bytes!("../../../models/digits.npz"))?;
        write("plain/training_model.onnx", include_bytes!("../../../models/mlp/training_model.onnx"))?;
        write("plain/eval_model.onnx", include_bytes!("../../../models/mlp/eval_model.onnx"))?;
        write("plain/optimizer_model.onnx", include_bytes!("../../../models/mlp/optimizer_model.onnx"))?;
        write("plain/checkpoint", include_bytes!("../../../models/mlp/checkpoint"))?;

        let rewritten = |name: &str, alpha, metrics| {
            let penalty = Penalty { r: RADIUS, alpha, ..Penalty::default() };
            let settings = Settings { penalty, metrics, ..Settings::default() };
            let output = folder.join(name);
            rewrite(&plain, &output, &rewrite::Options { settings, ..Default::default() })?;
            Ok(Artifacts::in_folder(&output))
        };
        Ok(Self {
            checkpoint: folder.join("trained"),
            runtime,
            data: Data::load(&folder.join("digits.npz"), None)?,
            methods: [
                Method::new("plain", Artifacts::in_folder(&plain)),
                Method::new("SAM", rewritten("sam", 1.0, false)?),
                Method::new("GNP", rewritten("gnp", ALPHA, false)?),
            ],
            probe: rewritten("probe", ALPHA, true)?,
        })
    }

    fn load(&self, artifacts: &Artifacts) -> Result<OrtTraining> {
        OrtTraining::load(&self.runtime, artifacts, &Options::default())
    }

    fn train(&mut self, method: usize, seed: u64, bar: &ProgressBar) -> Result<()> {
        let config = Config {
            epochs: EPOCHS,
            batch_size: BATCH_SIZE,
            learning_rate: LEARNING_RATE,
            schedule: Schedule::Cosine,
            warmup: 0,
            seed,
            r: None,
            alpha: None,
        };
        let mut engine = self.load(&self.methods[method].artifacts)?;
        let mut data = self.data.clone();
        prepare(&mut engine, &mut data, DIVISOR, LABEL_NOISE, &config)?;
        let train = Feed::new(&data.train, engine.batch_ports(), DIVISOR)?;
        let mut seconds = Vec::new();
        let run = Run {
            engine: &mut engine,
            train: &train,
            test: None,
            config: &config,
            folder: None,
            observe: &mut |event| match event {
                Event::Step(step) => seconds.push(step.seconds),
                _ => bar.inc(1),
            },
            stop: &NEVER,
        };
        fit(run, Progress::default())?;

        let accuracy = match &data.test {
            Some(test) => {
                let test = Feed::new(test, engine.batch_ports(), DIVISOR)?;
                evaluate(&mut engine, &test, BATCH_SIZE, &NEVER)?.and_then(|evaluation| evaluation.accuracy)
            }
            None => None,
        };
        engine.save(&self.checkpoint)?;
        let norm = self.gradient_norm(&train)?;
        let results = &mut self.methods[method];
        results.accuracies.extend(accuracy);
        results.gradient_norms.push(norm);
        results.step_seconds.push(median(&mut seconds));
        Ok(())
    }

    /// ‖∇L‖ over the whole training set at the parameters in the checkpoint: a step that moves nothing.
    fn gradient_norm(&self, train: &Feed<'_>) -> Result<f64> {
        let mut probe = self.probe.clone();
        probe.checkpoint.clone_from(&self.checkpoint);
        let mut engine = self.load(&probe)?;
        let rows: Vec<usize> = (0..train.data().len()).collect();
        let outputs = engine.step(&train.batch(&rows)?, &Rates { learning_rate: 0.0, r: None, alpha: None })?;
        let index = engine.step_outputs().iter().position(|output| output == GRAD_NORM);
        let norm = index.and_then(|index| outputs.get(index)?.to_scalar());
        norm.map(f64::from).ok_or_else(|| Error::internal(format!("the rewritten graph does not return {GRAD_NORM}")))
    }
}

impl Method {
    fn new(name: &'static str, artifacts: Artifacts) -> Self {
        Self { name, artifacts, accuracies: Vec::new(), gradient_norms: Vec::new(), step_seconds: Vec::new() }
    }
}

fn table(methods: &[Method]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(["", "test accuracy", "final ‖∇L‖", "time a step"]);
    for method in methods {
        let accuracies: Vec<f64> = method.accuracies.iter().map(|accuracy| 100.0 * accuracy).collect();
        table.add_row([
            method.name.to_owned(),
            format!("{:.1} ± {:.1} %", mean(&accuracies), deviation(&accuracies)),
            format!("{:.3}", mean(&method.gradient_norms)),
            format!("{:.2} ms", 1e3 * mean(&method.step_seconds)),
        ]);
    }
    table.column_iter_mut().skip(1).for_each(|column| {
        column.set_cell_alignment(CellAlignment::Right);
    });
    table
}

/// What the numbers say, whatever they are.
fn conclusion(methods: &[Method; 3]) -> String {
    let [plain, sam, gnp] = methods;
    let accuracy = |method: &Method| 100.0 * mean(&method.accuracies);
    let over = |other: &Method| {
        let gain = accuracy(gnp) - accuracy(other);
        format!("{:.1} points {} {}", gain.abs(), if gain >= 0.0 { "above" } else { "below" }, other.name)
    };
    format!(
        "Over {} seeds GNP's accuracy is {} and {}; its gradient norm is {:.2} times plain training's, its step takes \
         {:.1} times as long.",
        gnp.accuracies.len(),
        over(plain),
        over(sam),
        mean(&gnp.gradient_norms) / mean(&plain.gradient_norms),
        mean(&gnp.step_seconds) / mean(&plain.step_seconds),
    )
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sample standard deviation; 0 for a single value.
fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / values.len().saturating_sub(1).max(1) as f64).sqrt()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
