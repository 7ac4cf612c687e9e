//! What a step of training artifacts costs with the penalty, beside a plain one, and in artifacts that were made here
//! beside those of `generate_artifacts`.
//!
//! All engines live in one process and take turns, a few steps at a time, so that what else the machine does meets all.
//! A turn's first step is not counted: it pays for the caches that the other engine filled.

use comfy_table::{CellAlignment, Table, presets};
use gnp::autodiff::Gradients;
use gnp::checkpoint::Checkpoint;
use gnp::contract::artifacts::{CHECKPOINT, TRAINING_MODEL};
use gnp::emit::training::Interface;
use gnp::engine::EngineOptions;
use gnp::engine::ort_training::{Artifacts, OrtTraining};
use gnp::engine::runtime::{self, Runtime};
use gnp::engine::{Engine, Rates};
use gnp::loss::LossKind;
use gnp::onnx;
use gnp::penalty::Penalty;
use gnp::rewrite::{self, Destination, StepOptions};
use gnp::tensor::{ElementType, Port, Tensor};
use gnp::transform::{Optimizer, OptimizerKind};
use gnp::weights::Selection;
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

/// Artifacts of one model that are compared: those of `generate_artifacts`, and those made here.
const MAKERS: [(&str, Option<Gradients>); 3] =
    [("generate_artifacts", None), ("gnp", Some(Gradients::Standard)), ("gnp, --gradients ort", Some(Gradients::Ort))];

fn measure() -> Result<Table> {
    let runtime = runtime::install_training(&mut |_| {})?;
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["model", "artifacts", "threads", "GNP / plain", "GNP / first", "plain, ms", "GNP, ms"]);
    table.column_iter_mut().skip(2).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    for model in MODELS {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(model);
        let folder = tempfile::tempdir().map_err(|e| Error::io("make a folder in", std::env::temp_dir(), &e))?;
        let is_made = source.join("model.onnx").is_file();
        let makers = MAKERS.iter().filter(|(_, gradients)| gradients.is_none() || is_made);
        let makers: Vec<_> = makers.enumerate().collect();
        let mut pairs = Vec::new();
        for (i, (_, gradients)) in &makers {
            pairs.push(make(&source, &folder.path().join(i.to_string()), *gradients)?);
        }
        for threads in THREADS {
            let costs = measure_all(&runtime, &pairs, threads)?;
            for ((_, (maker, _)), cost) in makers.iter().zip(costs) {
                let number = |x: f64| format!("{x:.2}");
                table.add_row([
                    model.to_owned(),
                    (*maker).to_owned(),
                    threads.map_or("all".to_owned(), |threads| threads.to_string()),
                    number(cost.ratio),
                    number(cost.of_first),
                    number(cost.plain * 1e3),
                    number(cost.gnp * 1e3),
                ]);
            }
        }
    }
    Ok(table)
}

/// Plain artifacts and such with the penalty, in `folder`: those in `source`, or made of the model there.
fn make(source: &Path, folder: &Path, gradients: Option<Gradients>) -> Result<[Artifacts; 2]> {
    let gnp = folder.join("gnp");
    std::fs::create_dir_all(if gradients.is_some() { folder } else { &gnp })
        .map_err(|e| Error::io("make the folder", folder, &e))?;
    let Some(gradients) = gradients else {
        let rewritten = gnp.join(TRAINING_MODEL);
        rewrite::rewrite(&source.join(TRAINING_MODEL), &rewritten, &rewrite::Options::default())?;
        let plain = Artifacts::in_folder(source);
        return Ok([plain.clone(), Artifacts { training_model: rewritten, ..plain }]);
    };
    // What trains is what trains in those of `generate_artifacts`.
    let trainable = Checkpoint::read(&source.join(CHECKPOINT))?.trainable;
    let selection = Selection { train: trainable.into_keys().collect(), ..Selection::default() };
    // The optimizer's step is not what is compared, and neither are the formulas of its weight decay and its ε.
    let optimizer_model = Artifacts::in_folder(source).optimizer_model;
    let mut made = Vec::new();
    for (name, r) in [("plain", 0.0), ("gnp", Penalty::default().r)] {
        let to = Destination { folder: folder.join(name), ..Destination::default() };
        let penalty = Penalty { r, ..Penalty::default() };
        let optimizer = Optimizer { kind: OptimizerKind::AdamW, ..Optimizer::default() };
        let loss = LossKind::CrossEntropy.into();
        let selection = selection.clone();
        let options = StepOptions { loss, penalty, gradients, optimizer, selection, ..StepOptions::default() };
        let model = onnx::read(source.join("model.onnx"))?;
        rewrite::write_artifacts(model, &options, &Interface::default(), &to)?;
        made.push(Artifacts { optimizer_model: optimizer_model.clone(), ..Artifacts::in_folder(&to.folder) });
    }
    made.try_into().map_err(|_| Error::internal("two are made"))
}

/// Medians over the turns.
struct Cost {
    /// Seconds a step.
    plain: f64,
    /// Seconds a step.
    gnp: f64,
    /// Of the steps of one turn, those with the penalty over the plain ones beside them.
    ratio: f64,
    /// Of the steps of one turn with the penalty, these over those of the first artifacts.
    of_first: f64,
}

/// What each pair costs; all take turns.
fn measure_all(runtime: &Runtime, pairs: &[[Artifacts; 2]], threads: Option<NonZero<u16>>) -> Result<Vec<Cost>> {
    let options = EngineOptions { threads, ..EngineOptions::default() };
    let load = |artifacts| OrtTraining::load(runtime, artifacts, &options);
    let mut engines = pairs.iter().flatten().map(load).collect::<Result<Vec<_>>>()?;
    let batch = engines[0].batch_ports().iter().map(noise).collect::<Result<Vec<_>>>()?;
    let mut turns: Vec<Vec<f64>> = Vec::with_capacity(TURNS);
    for _ in 0..=TURNS {
        turns.push(engines.iter_mut().map(|engine| turn(engine, &batch)).collect::<Result<_>>()?);
    }
    turns.remove(0); // in the first one the engines plan their memory
    let cost = |pair: usize| {
        let (plain, gnp) = (2 * pair, 2 * pair + 1);
        Cost {
            plain: median(turns.iter().map(|turn| turn[plain])),
            gnp: median(turns.iter().map(|turn| turn[gnp])),
            ratio: median(turns.iter().map(|turn| turn[gnp] / turn[plain])),
            of_first: median(turns.iter().map(|turn| turn[gnp] / turn[1])),
        }
    };
    Ok((0..pairs.len()).map(cost).collect())
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
