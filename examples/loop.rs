//! A training loop of one's own: a step model, an engine, and batches from wherever they come.
//!
//!     cargo run --release --example loop -- models/mlp/model.onnx

use gnp::engine::{Available, Backend as _, EngineOptions, Rates};
use gnp::loss::LossKind;
use gnp::onnx::{self, WriteOptions};
use gnp::rewrite::{StepOptions, make_step};
use gnp::tensor::Tensor;
use ndarray::{Array1, Array2};
use std::path::Path;

fn main() -> gnp::Result<()> {
    let model = std::env::args().nth(1).ok_or_else(|| gnp::Error::input("expected one argument: MODEL"))?;
    let loss = LossKind::CrossEntropy.into();
    let (step, report) = make_step(onnx::read(&model)?, &StepOptions { loss, ..StepOptions::default() })?;
    println!("{} parameters train; fed are {}", report.parameters.len(), report.batch.join(" and "));

    // An engine reads a file, for weights may be too large to be anywhere else.
    let file = std::env::temp_dir().join("gnp-example-step.onnx");
    onnx::write(step, &file, &WriteOptions { force: true, ..WriteOptions::default() })?;
    let mut engine = Available::Tract.load(&onnx::read(&file)?, None, &EngineOptions::default())?;

    // Thirty-two samples of ten classes: which of the first ten numbers is the largest?
    let samples = Array2::from_shape_fn((32, 64), |(i, j)| ((i * 7919 + j * 104_729) % 1009) as f32 / 1009.0);
    let largest = |row: ndarray::ArrayView1<'_, f32>| (0..10).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0);
    let labels: Array1<i64> = samples.rows().into_iter().map(|row| largest(row) as i64).collect();
    let batch = [Tensor::F32(samples.into_dyn()), Tensor::I64(labels.into_dyn())];

    for step in 0..50 {
        // r and α are fed with each step: here the penalty sets in after ten.
        let r = if step < 10 { 0.0 } else { 0.1 };
        let outputs = engine.step(&batch, &Rates { r: Some(r), alpha: Some(0.8), ..Rates::new(0.1) })?;
        if step % 10 == 9 {
            for (name, value) in engine.step_outputs().iter().zip(&outputs) {
                if let Some(value) = value.to_scalar() {
                    print!("{name} = {value:.4}  ");
                }
            }
            println!();
        }
    }
    engine.save(Path::new(&file.with_extension("safetensors")))
}
