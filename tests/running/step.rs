//! `gnp-run` on step models.
use crate::support::command::{assert_says, gnp_rewrite, refusal};
use crate::support::forward;
use crate::support::models;
use crate::support::step::{self, FEATURES, difference};
use assert_cmd::Command;
use gnp::engine::State;
use gnp::engine::runtime;
use gnp::onnx;
use gnp::tensor::Tensor;
use ndarray::{Array1, Array2};
use ndarray_npy::{WritableElement, WriteNpyExt};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const SAMPLES: usize = 90;

/// The weights that the labels of [`regression_data`] are made with.
const WEIGHTS: [f32; FEATURES] = [0.5, -1.0, 2.0, 0.25];

fn features() -> Array2<f32> {
    Array2::from_shape_fn((SAMPLES, FEATURES), |(row, column)| {
        ((row * 7919 + column * 104_729) % 1009) as f32 / 504.5 - 1.0
    })
}

fn archive<T: WritableElement>(path: &Path, labels: ndarray::ArrayD<T>) -> PathBuf {
    let mut archive = ZipWriter::new(File::create(path).unwrap());
    let mut add = |name: &str, bytes: Vec<u8>| {
        archive.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
        archive.write_all(&bytes).unwrap();
    };
    for half in ["train", "test"] {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        features().write_npy(&mut x).unwrap();
        labels.write_npy(&mut y).unwrap();
        add(&format!("x_{half}"), x);
        add(&format!("y_{half}"), y);
    }
    archive.finish().unwrap();
    path.to_owned()
}

/// Samples whose class is the largest of their first features.
fn class_data(folder: &Path) -> PathBuf {
    let largest = |row: ndarray::ArrayView1<'_, f32>| (0..3).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as i64;
    let labels: Array1<i64> = features().rows().into_iter().map(largest).collect();
    archive(&folder.join("classes.npz"), labels.into_dyn())
}

fn regression_data(folder: &Path) -> PathBuf {
    let labels = features().dot(&Array1::from_iter(WEIGHTS));
    archive(&folder.join("targets.npz"), labels.into_dyn())
}

/// The step model that gnp-rewrite makes of a perceptron, which stays beside it.
fn rewritten(folder: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let model = forward::write(&forward::perceptron(), &folder.join(format!("{name}.onnx")));
    let step = folder.join(format!("{name}.step.onnx"));
    gnp_rewrite().arg(model).args(["--quiet", "-o"]).arg(&step).args(arguments).assert().success();
    step
}

/// A run that finds no engine but those that it is told of.
fn gnp_run(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("gnp-run").unwrap();
    command.env_remove("ORT_DYLIB_PATH").env("GNP_CACHE_DIR", folder.join("cache")).env("PATH", folder);
    command
}

fn train(folder: &Path, model: &Path, data: &Path, out: &str) -> Command {
    let mut command = gnp_run(folder);
    command.arg(model).arg("--data").arg(data).args(["--batch-size", "16", "--out"]).arg(folder.join(out));
    command
}

fn said(command: &mut Command) -> (String, String) {
    let output = command.assert().success().get_output().clone();
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn state(folder: &Path, out: &str) -> State {
    State::read(&folder.join(out).join("state.safetensors")).unwrap()
}

#[track_caller]
fn assert_close(a: &State, b: &State) {
    assert_eq!(a.len(), b.len());
    for ((name, a), (_, b)) in a.iter().zip(b.iter()) {
        assert!(difference(a, b) < 1e-4, "{name}: {a:?} {b:?}");
    }
}

#[test]
fn trains_with_what_is_there_and_says_why() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (step, data) = (rewritten(folder, "classes", &["--loss", "cross-entropy"]), class_data(folder));
    let arguments = ["--epochs", "30", "--schedule", "cosine", "--lr", "0.1"];
    let (out, err) = said(train(folder, &step, &data, "tract").args(arguments));
    assert_says(&err, &["training with tract on cpu: no ONNX Runtime was found"]);
    assert_says(&out, &["\n30/30 ", "test error", "last (epoch 30)", "tract/model.onnx"]);
    let metrics = fs::read_to_string(folder.join("tract/metrics.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines[0]["grad_norm"].as_f64() > Some(0.0) && lines[0]["loss_perturbed"].is_number(), "{}", lines[0]);
    let last = lines.last().unwrap();
    // Of three equally frequent classes.
    assert!(last["test_error"].as_f64() < Some(0.3), "{last}");

    let library = runtime::install_onnxruntime(&mut |_| {}).unwrap().library;
    let mut ort = train(folder, &step, &data, "ort");
    let (_, err) = said(ort.args(arguments).arg("--ort-lib").arg(&library));
    assert_says(&err, &["training with ONNX Runtime 1.32.0", "the fastest engine that is here"]);
    let weights = |out: &str| -> Vec<f64> {
        let model = onnx::read(folder.join(out).join("model.onnx")).unwrap();
        model.graph.initializer.iter().flat_map(|tensor| tensor.floats().unwrap()).collect()
    };
    let (a, b) = (weights("ort"), weights("tract"));
    assert!(a.len() == 67 && a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4), "{a:?} {b:?}");
}

#[test]
fn a_run_that_was_stopped_ends_as_one_that_was_not() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (step, data) = (step::write(folder).0, class_data(folder));
    let library = runtime::install_onnxruntime(&mut |_| {}).unwrap().library;
    let run = |out: &str, epochs: &str, engine: &str, more: &[&str]| {
        let mut command = train(folder, &step, &data, out);
        command.args(["--quiet", "--lr", "0.2", "--r", "0.1", "--set", "gnp.momentum=0.5"]);
        command.args(["--epochs", epochs, "--engine", engine, "--ort-lib"]).arg(&library).args(more);
        assert_eq!(said(&mut command), (String::new(), String::new()));
    };
    let engines = ["tract", "onnxruntime"];
    for (engine, other) in [(0, 1), (1, 0)].map(|(a, b)| (engines[a], engines[b])) {
        let [whole, parts, moved] = ["whole", "parts", "moved"].map(|name| format!("{name}-{engine}"));
        run(&whole, "4", engine, &[]);
        run(&parts, "2", engine, &[]);
        run(&parts, "4", engine, &["--resume"]);
        let bytes = |out: &str| fs::read(folder.join(out).join("state.safetensors")).unwrap();
        assert_eq!(bytes(&whole), bytes(&parts), "{engine}");
        run(&moved, "2", engine, &[]);
        run(&moved, "4", other, &["--resume"]);
        assert_close(&state(folder, &moved), &state(folder, &whole));
    }
}

#[test]
fn labels_may_be_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (step, data) = (step::write_regression(folder), regression_data(folder));
    let (out, err) = said(train(folder, &step, &data, "out").args(["--epochs", "60", "--engine", "tract"]));
    assert_says(&err, &["no evaluation model: the test data will not be looked at"]);
    assert_says(&out, &["\n60/60    0.0000"]);
    let expected = Tensor::F32(ndarray::arr2(&WEIGHTS.map(|weight| [weight])).into_dyn());
    let found = state(folder, "out");
    assert!(difference(found.get("w").unwrap(), &expected) < 1e-3, "{found:?}");

    let classes = refusal(train(folder, &step::write(folder).0, &data, "other").args(["--epochs", "1"]));
    assert_says(&classes, &["input `labels` takes labels of int64, but those of the data are floats", "help: "]);
    let noise = refusal(train(folder, &step, &data, "noise").args(["--epochs", "1", "--label-noise", "0.1"]));
    assert_says(&noise, &["only labels that are classes can be redrawn"]);
}

#[test]
fn labels_that_do_not_fit_the_loss_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (classes, numbers) =
        (rewritten(folder, "classes", &["--loss", "cross-entropy"]), rewritten(folder, "numbers", &["--loss", "mse"]));
    let labels = |name: &str, labels: ndarray::ArrayD<f32>| archive(&folder.join(name), labels);
    let floats = labels("floats.npz", Array1::zeros(SAMPLES).into_dyn());
    let one_hot = archive(&folder.join("one_hot.npz"), Array2::<i64>::zeros((SAMPLES, 3)).into_dyn());
    let narrow = labels("narrow.npz", Array2::zeros((SAMPLES, 2)).into_dyn());
    let refused = |model: &Path, data: &Path| {
        let said = refusal(train(folder, model, data, "out").args(["--epochs", "1", "--engine", "tract"]));
        println!("{said}");
        assert!(!folder.join("out").exists());
        said
    };
    assert_says(
        &refused(&classes, &floats),
        &["classes.step.onnx: input `labels` takes labels of int64", "are floats", "help: "],
    );
    assert_says(&refused(&classes, &one_hot), &["`labels`", "help: turn one-hot labels into class indices"]);
    assert_says(&refused(&numbers, &narrow), &["`labels`", "[?, 3]", "help: "]);
    // Classes fit a loss on numbers: as the probabilities of all classes.
    let (out, _) =
        said(train(folder, &numbers, &class_data(folder), "one-hot").args(["--epochs", "1", "--engine", "tract"]));
    assert_says(&out, &["training loss"]);
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ((step, eval), data) = (step::write(folder), class_data(folder));
    let refused =
        |model: &Path, more: &[&str]| refusal(train(folder, model, &data, "out").args(["--epochs", "1"]).args(more));
    assert_says(&refused(&eval, &[]), &["step.eval.onnx: no trainable parameter", "where the weights are inputs"]);
    assert_says(&refused(&step, &["--engine", "ort-training"]), &["trained by the engines onnxruntime and tract"]);
    assert_says(&refused(&models().join("mlp"), &["--engine", "tract"]), &["trained by the engine ort-training only"]);
    let said = refused(&step, &["--engine", "onnxruntime"]);
    assert_says(&said, &["found no ONNX Runtime", "gnp-run engines install onnxruntime"]);
    assert_says(&refused(&step, &["--device", "cuda"]), &["found no ONNX Runtime"]);
    assert_says(&refused(&step, &["--engine", "tract", "--device", "cuda"]), &["tract does not compute on `cuda:0`"]);
    assert_says(
        &refused(&step, &["--set", "beta=1"]),
        &["has no hyperparameter `beta`", "lr, gnp.r, gnp.alpha, gnp.momentum"],
    );
    assert_says(&refused(&step, &["--r", "-1"]), &["--r must be a number from 0 on, not -1"]);
    let regression = step::write_regression(folder);
    assert_says(&refused(&regression, &["--alpha", "0.5"]), &["has no hyperparameter `gnp.alpha`"]);
    assert_says(&refused(&models().join("mlp"), &["--set", "x=1"]), &["artifacts have no such input"]);
    let said = refusal(train(folder, &step, &data, "out").args(["--epochs", "1", "--set", "gnp.momentum"]));
    assert_says(&said, &["expected NAME=NUMBER"]);
    assert!(!folder.join("out").exists());
}

#[test]
fn tract_is_always_listed() {
    let folder = tempfile::tempdir().unwrap();
    let (table, _) = said(gnp_run(folder.path()).arg("engines"));
    assert_says(
        &table,
        &["tract", "built in", "gnp-run engines install onnxruntime", "gnp-run engines install training"],
    );
    let (json, _) = said(gnp_run(folder.path()).args(["engines", "--json"]));
    let list: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert!(list.iter().any(|engine| engine["kind"] == "tract" && engine["trains"][0] == "step models"), "{json}");
}

#[test]
fn a_run_with_adapters_leaves_them_and_a_merged_model() {
    let folder = tempfile::tempdir().unwrap();
    let model = forward::write(&forward::perceptron(), &folder.path().join("model.onnx"));
    let data = class_data(folder.path());
    let mut command = train(folder.path(), &model, &data, "run");
    command.args(["--loss", "cross-entropy", "--epochs", "2", "--engine", "tract", "--lr", "0.1"]);
    let (_, said_in_run) = said(command.args(["--lora", "2", "--also-train", "fc2.*"]));
    assert_says(&said_in_run, &["adapters beside `fc1.weight`; all else that no flag names is frozen"]);
    let adapters = State::read(&folder.path().join("run/adapters.safetensors")).unwrap();
    let names: Vec<_> = adapters.iter().map(|(name, tensor)| (name, tensor.shape().to_vec())).collect();
    let expected = [
        ("fc1.lora_A.weight", vec![2, 4]),
        ("fc1.lora_B.weight", vec![8, 2]),
        ("fc2.bias", vec![3]),
        ("fc2.weight", vec![8, 3]),
    ];
    assert_eq!(names, expected);
    let weights = |file: &Path| {
        let model = onnx::read(file).unwrap();
        let tensor = |name: &str| {
            model.graph.initializer.iter().find(|tensor| tensor.name() == name).and_then(|t| t.floats()).unwrap()
        };
        (model.graph.node.len(), tensor("fc1.weight"), tensor("fc1.bias"))
    };
    let (before, after) = (weights(&model), weights(&folder.path().join("run/model.onnx")));
    assert!(before.0 == after.0 && before.1 != after.1 && before.2 == after.2);
}
