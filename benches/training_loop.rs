//! What the loop costs beside the engine: batches from bytes, metrics, `metrics.jsonl`, TensorBoard's file.
//!
//! `models/cnn` on images of Fashion-MNIST's size, on stock ONNX Runtime. The loop and bare steps of the same engine on
//! batches that are there already take turns; the time of a turn is that from its first step to its last.

use gnp::data::{Array, Dataset, Feed, Preparation, Values};
use gnp::engine::EngineOptions;
use gnp::engine::runtime;
use gnp::engine::{Available, Backend as _, Engine, Rates};
use gnp::loss::LossKind;
use gnp::onnx::{self, WriteOptions};
use gnp::report::Event;
use gnp::report::TensorBoard;
use gnp::rewrite::{StepOptions, make_step};
use gnp::train::{Fingerprint, Fit, OwnRates, Plan, Progress, RunFolder, TrainingSettings, fit};
use gnp::{Error, Result};
use std::num::NonZero;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

const BATCH_SIZE: usize = 128;
const STEPS: usize = 40;
const TURNS: usize = 21;

fn main() -> ExitCode {
    match measure() {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprint!("{}", gnp::cli::render(&error));
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<String> {
    runtime::install_onnxruntime(&mut |_| {})?;
    let folder = tempfile::tempdir().map_err(|e| Error::io("make a folder in", std::env::temp_dir(), &e))?;
    let forward = onnx::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("models/cnn/model.onnx"))?;
    let loss = LossKind::CrossEntropy.into();
    let (step, _) = make_step(forward, &StepOptions { loss, ..StepOptions::default() })?;
    let file = folder.path().join("step.onnx");
    onnx::write(step, &file, &WriteOptions::default())?;
    let options = EngineOptions { threads: NonZero::new(1), ..EngineOptions::default() };
    let mut engine = Available::onnxruntime(None, options.device)?.load(&onnx::read(&file)?, None, &options)?;

    let data = images(BATCH_SIZE * STEPS)?;
    let feed = Feed::new(&data, engine.batch_ports(), &Preparation::default(), 0)?;
    let (mut bare, mut loops) = (Vec::new(), Vec::new());
    for turn in 0..=TURNS {
        bare.push(bare_steps(&mut *engine, &feed)?);
        loops.push(looped_steps(&mut *engine, &feed, &folder.path().join(format!("run{turn}")))?);
    }
    // In the first one the engine plans its memory.
    let ratio = median(bare.iter().zip(&loops).skip(1).map(|(bare, looped)| looped / bare));
    let (bare, looped) = (median(bare.into_iter().skip(1)), median(loops.into_iter().skip(1)));
    Ok(format!(
        "a step of the engine alone {:.2} ms, in the loop {:.2} ms: the loop costs {:.1} % of a step",
        1e3 * bare,
        1e3 * looped,
        100.0 * (ratio - 1.0)
    ))
}

fn images(count: usize) -> Result<Dataset> {
    let pixels = (0..count * 28 * 28).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let labels = (0..count).map(|i| (i % 10) as u8).collect();
    Dataset::new(Array::new(vec![count, 28, 28], Values::U8(pixels))?, Array::new(vec![count], Values::U8(labels))?)
}

/// Seconds a step of the engine alone.
fn bare_steps(engine: &mut dyn Engine, feed: &Feed<'_>) -> Result<f64> {
    let rows: Vec<usize> = (0..feed.data().len()).collect();
    let batches = feed.batches(&rows, BATCH_SIZE)?.map(|rows| feed.batch(rows)).collect::<Result<Vec<_>>>()?;
    let mut times = Vec::with_capacity(STEPS);
    for batch in &batches {
        engine.step(batch, &Rates { r: Some(0.1), alpha: Some(0.8), ..Rates::new(0.01) })?;
        times.push(Instant::now());
    }
    Ok(a_step(&times))
}

/// Seconds a step of a training run.
fn looped_steps(engine: &mut dyn Engine, feed: &Feed<'_>, folder: &Path) -> Result<f64> {
    let training = TrainingSettings {
        batch_size: BATCH_SIZE,
        learning_rate: Some(0.01),
        r: Some(0.1),
        alpha: Some(0.8),
        ..TrainingSettings::default()
    };
    let plan = Plan::new(&training, &OwnRates::default(), 0)?;
    let mut run_folder = RunFolder::create(folder, Fingerprint::default(), false)?;
    let mut tensorboard = TensorBoard::create(folder, None)?;
    let (mut times, mut written) = (Vec::with_capacity(STEPS), Ok(()));
    let run = Fit {
        engine,
        train: feed,
        test: None,
        plan: &plan,
        folder: Some(&mut run_folder),
        observe: &mut |event| {
            if written.is_ok() {
                written = tensorboard.log(event);
            }
            if matches!(event, Event::Step(_)) {
                times.push(Instant::now());
            }
        },
        stop: &AtomicBool::new(false),
    };
    fit(run, Progress::default())?;
    written?;
    Ok(a_step(&times))
}

/// The mean time from one to the next.
fn a_step(times: &[Instant]) -> f64 {
    match times {
        [first, .., last] => (*last - *first).as_secs_f64() / (times.len() - 1) as f64,
        _ => f64::NAN,
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
