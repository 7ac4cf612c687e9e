//! What a step of training costs with the penalty, beside a plain one.
//!
//! Both engines live in one process and take turns, a few steps at a time, so that what else the machine does meets
//! both. A turn's first step is not counted: it pays for the caches that the other engine filled.

use comfy_table::{CellAlignment, Table, presets};
use gnp::contract::artifacts::TRAINING_MODEL;
use gnp::engine::EngineOptions;
use gnp::engine::ort_training::{Artifacts, OrtTraining};
use gnp::engine::runtime::{self, Runtime};
use gnp::engine::{Engine, Rates};
use gnp::rewrite;
use gnp::tensor::{ElementType, Port, Tensor};
use gnp::{Error, Result};
use ndarray::ArrayD;
use std::num::NonZero;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

const MODELS: [&str; 4] = ["mlp", "cnn", "vit", "cnn_head"];
const BATCH_SIZE: usize = 64;
/// One thread, and one a core.
const THREADS: [Option<NonZero<u16>>; 2] = [NonZero::new(1), None];
const TURNS: usize = 31;
const COUNTED_STEPS_A_TURN: usize = 5;

/// The parameters stay where they are, so that every step computes the same.
const RATES: Rates = Rates::new(0.0);

fn main() -> ExitCode {
    match measure() {
        Ok(table) => {
            println!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprint!("{}", gnp::cli::render(&error));
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<Table> {
    let runtime = runtime::install_training(&mut |_| {})?;
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["model", "threads", "GNP / plain", "plain, ms", "GNP, ms"]);
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    for model in MODELS {
        let artifacts = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(model);
        let folder = tempfile::tempdir().map_err(|e| Error::io("make a folder in", std::env::temp_dir(), &e))?;
        let rewritten = folder.path().join(TRAINING_MODEL);
        rewrite::rewrite(&artifacts.join(TRAINING_MODEL), &rewritten, &rewrite::Options::default())?;
        let artifacts = Artifacts::in_folder(&artifacts);
        let gnp = Artifacts { training_model: rewritten, ..artifacts.clone() };
        for threads in THREADS {
            let cost = Cost::measure(&runtime, &artifacts, &gnp, threads)?;
            let number = |x: f64| format!("{x:.2}");
            table.add_row([
                model.to_owned(),
                threads.map_or("all".to_owned(), |threads| threads.to_string()),
                number(cost.ratio),
                number(cost.plain * 1e3),
                number(cost.gnp * 1e3),
            ]);
        }
    }
    Ok(table)
}

/// Medians over the turns.
struct Cost {
    /// Seconds a step.
    plain: f64,
    /// Seconds a step.
    gnp: f64,
    /// Of the steps of one turn, those with the penalty over the plain ones beside them.
    ratio: f64,
}

impl Cost {
    fn measure(runtime: &Runtime, plain: &Artifacts, gnp: &Artifacts, threads: Option<NonZero<u16>>) -> Result<Self> {
        let options = EngineOptions { threads, ..EngineOptions::default() };
        let mut plain = OrtTraining::load(runtime, plain, &options)?;
        let mut gnp = OrtTraining::load(runtime, gnp, &options)?;
        let batch = plain.batch_ports().iter().map(noise).collect::<Result<Vec<_>>>()?;
        let mut turns = Vec::with_capacity(TURNS);
        for _ in 0..=TURNS {
            turns.push((turn(&mut plain, &batch)?, turn(&mut gnp, &batch)?));
        }
        turns.remove(0); // in the first one the engines plan their memory
        Ok(Self {
            plain: median(turns.iter().map(|(plain, _)| *plain)),
            gnp: median(turns.iter().map(|(_, gnp)| *gnp)),
            ratio: median(turns.iter().map(|(plain, gnp)| gnp / plain)),
        })
    }
}

/// Takes steps with one engine. Returns the seconds that the fastest one took.
fn turn(engine: &mut OrtTraining, batch: &[Tensor]) -> Result<f64> {
    engine.step(batch, &RATES)?;
    let mut fastest = f64::INFINITY;
    for _ in 0..COUNTED_STEPS_A_TURN {
        let start = Instant::now();
        engine.step(batch, &RATES)?;
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    Ok(fastest)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Pixels in [0, 1) for a port of floats, labels from 0 to 9 for one of integers.
fn noise(port: &Port) -> Result<Tensor> {
    let shape: Vec<usize> = port.dims.iter().map(|dim| dim.unwrap_or(BATCH_SIZE)).collect();
    let number = |i: usize| (i * 7919 + 104_729) % 1009;
    match port.element {
        ElementType::F32 => Ok(Tensor::F32(array(shape, |i| number(i) as f32 / 1009.0))),
        ElementType::I64 => Ok(Tensor::I64(array(shape, |i| (number(i) % 10) as i64))),
        _ => Err(Error::input(format!("there is no example data for the input `{}`", port.name))),
    }
}

fn array<T>(shape: Vec<usize>, element: impl Fn(usize) -> T) -> ArrayD<T> {
    let mut index = 0..;
    ArrayD::from_shape_simple_fn(shape, || element(index.next().unwrap_or_default()))
}
