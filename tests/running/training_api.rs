//! `gnp-run --engine ort-training`: an ordinary model through ONNX Runtime's training API.
use crate::support::command::{assert_says, gnp_rewrite, refusal};
use crate::support::models;
use crate::support::run::{Training, events};
use gnp::engine::State;
use gnp::onnx;
use gnp::report::Event;
use gnp::tensor::Tensor;
use std::path::{Path, PathBuf};
use std::process::Command;

fn gnp_run(model: &Path, data: &Path, engine: &str, out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gnp-run"));
    command.arg(model).arg("--data").arg(data).arg("--out").arg(out).args(["--engine", engine, "--quiet"]);
    command.args(["--loss", "cross-entropy"]).args(more);
    command
}

#[track_caller]
fn succeeds(mut command: Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What is told of each epoch but the times.
fn epochs(out: &Path) -> Vec<Vec<f64>> {
    const MEASURES: [&str; 5] = ["loss", "error", "grad_norm", "test_loss", "test_error"];
    let told = |event| match event {
        Event::Epoch(report) => {
            let json = serde_json::to_value(report).unwrap();
            // A loss that is no number is left out.
            Some(MEASURES.map(|name| json[name].as_f64().unwrap_or(-1.0)).to_vec())
        }
        _ => None,
    };
    events(out).into_iter().filter_map(told).collect()
}

#[track_caller]
fn assert_close(a: &Path, b: &Path, tolerance: f64) {
    let (a, b) = (epochs(a), epochs(b));
    assert!(!a.is_empty() && a.len() == b.len(), "{a:?} {b:?}");
    let close = |(a, b): (&f64, &f64)| (a - b).abs() <= tolerance * b.abs();
    assert!(a.iter().flatten().zip(b.iter().flatten()).all(close), "{a:?} {b:?}");
}

#[test]
fn the_training_api_takes_the_steps_of_the_step_model() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let data = models().join("digits.npz");
    for (name, more) in [
        ("mlp", &["--lr", "0.02", "--gr-warmup", "zero", "--gr-warmup-steps", "20", "--clip-norm", "1"][..]),
        ("mlp", &["--lr", "0.02", "--optimizer", "rmsprop", "--lr-scale", "fc3*=0.5", "--hybrid", "0.5"]),
        ("vit", &["--lr", "0.001", "--optimizer", "adamw", "--schedule", "cosine", "--weight-decay", "0.05"]),
        ("vit", &["--lr", "0.01", "--optimizer", "nesterov", "--gr-warmup", "r", "--gr-warmup-steps", "20"]),
    ] {
        let run = |engine: &str| {
            let out = folder.path().join(engine);
            let more = [&["--epochs", "2", "--divisor", "16", "--force"], more].concat();
            succeeds(gnp_run(&models().join(name).join("model.onnx"), &data, engine, &out, &more));
            out
        };
        assert_close(&run("ort-training"), &run("tract"), 1e-3);
    }
}

/// A model with BatchNormalization and Dropout, and data for it.
fn network(folder: &Path) -> (PathBuf, PathBuf) {
    let training = Training::new(folder);
    (folder.join("network.onnx"), training.data)
}

#[test]
fn a_resumed_run_draws_on() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let (model, data) = network(folder.path());
    let run = |out: &str, epochs: &str, more: &[&str]| {
        let out = folder.path().join(out);
        let more = [&["--epochs", epochs, "--batch-size", "16", "--r", "0.05"], more].concat();
        succeeds(gnp_run(&model, &data, "ort-training", &out, &more));
        out
    };
    let whole = run("whole", "3", &[]);
    run("parts", "1", &[]);
    let parts = run("parts", "3", &["--resume"]);
    assert_eq!(epochs(&whole), epochs(&parts));
    let other = run("other", "3", &["--seed", "1"]);
    assert_ne!(epochs(&whole), epochs(&other));
}

#[test]
fn the_state_goes_to_another_engine_and_back() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let (model, data) = (models().join("mlp/model.onnx"), models().join("digits.npz"));
    let choices = ["--divisor", "16", "--lr", "0.02", "--gr-warmup", "lambda", "--gr-warmup-steps", "40"];
    let run = |out: &str, engine: &str, epochs: &str, more: &[&str]| {
        let out = folder.path().join(out);
        succeeds(gnp_run(&model, &data, engine, &out, &[&choices[..], &["--epochs", epochs], more].concat()));
        out
    };
    let whole = run("whole", "tract", "3", &[]);
    run("parts", "ort-training", "1", &[]);
    run("parts", "tract", "2", &["--resume"]);
    let parts = run("parts", "ort-training", "3", &["--resume"]);
    assert_close(&parts, &whole, 1e-3);
    let state = State::read(&parts.join("checkpoints/epoch-00003/checkpoint")).unwrap();
    assert_eq!(state.get("step"), Some(&Tensor::I64(ndarray::arr0(48).into_dyn())));
}

#[test]
fn what_the_training_api_cannot_take_is_refused() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    let out = folder.path().join("out");
    let mut command = assert_cmd::Command::cargo_bin("gnp-run").unwrap();
    command.arg(&training.step).arg("--data").arg(&training.data).args(["--epochs", "1", "--engine", "ort-training"]);
    assert_says(
        &refusal(command.arg("--out").arg(&out)),
        &["a step model is trained by the engines onnxruntime and tract"],
    );
}

#[test]
fn artifacts_of_a_model_run_by_themselves() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let artifacts = folder.path().join("artifacts");
    let mut rewrite = gnp_rewrite();
    rewrite.arg(models().join("mlp/model.onnx")).args([
        "--emit",
        "ort-training",
        "--loss",
        "cross-entropy",
        "--metrics",
    ]);
    rewrite.args(["--expose", "r,alpha", "--artifact-prefix", "digits_", "--quiet", "-o"]).arg(&artifacts);
    rewrite.assert().success();
    let run = |out: &str, more: &[&str]| {
        let out = folder.path().join(out);
        let mut command = Command::new(env!("CARGO_BIN_EXE_gnp-run"));
        command.arg(&artifacts).args(["--artifact-prefix", "digits_", "--epochs", "1", "--divisor", "16", "--quiet"]);
        command.arg("--data").arg(models().join("digits.npz")).arg("--out").arg(&out).args(more);
        succeeds(command);
        out
    };
    let plain = run("plain", &["--alpha", "0"]);
    let hybrid = run("hybrid", &["--r", "0.2", "--hybrid", "0.5"]);
    assert_ne!(epochs(&plain), epochs(&hybrid));
    // Other weights to begin with, by the seed alone.
    let [shuffled, again, other] =
        [("a", "1"), ("b", "1"), ("c", "2")].map(|(out, seed)| run(out, &["--init", "shuffle", "--seed", seed]));
    assert_eq!(epochs(&shuffled), epochs(&again));
    assert_ne!(epochs(&shuffled), epochs(&other));
    // What is counted of labels is no part of the model that infers.
    let model = onnx::read(plain.join("model.onnx")).unwrap();
    let inputs: Vec<&str> = model.graph.input.iter().map(|input| input.name()).collect();
    let outputs: Vec<&str> = model.graph.output.iter().map(|output| output.name()).collect();
    assert_eq!((&*inputs, &*outputs), (&["input"][..], &["logits"][..]));
}

#[test]
fn artifacts_without_predictions_end_with_their_checkpoint() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let (artifacts, out) = (folder.path().join("artifacts"), folder.path().join("out"));
    let mut rewrite = gnp_rewrite();
    rewrite.arg(models().join("mlp/model.onnx")).args(["--emit", "ort-training", "--loss", "cross-entropy"]);
    rewrite.args(["--loss-alone", "--quiet", "-o"]).arg(&artifacts).assert().success();
    let mut command = assert_cmd::Command::cargo_bin("gnp-run").unwrap();
    command.arg(&artifacts).arg("--data").arg(models().join("digits.npz")).args(["--epochs", "1", "--divisor", "16"]);
    let output = command.arg("--out").arg(&out).assert().success().get_output().clone();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let checkpoint = out.join("checkpoints/epoch-00001/checkpoint");
    assert!(stdout.contains(&format!("checkpoint: {}", checkpoint.display())) && checkpoint.is_file(), "{stdout}");
    assert!(stderr.contains("no model for inference is written"), "{stderr}");
}
