//! Models that were exported for batches of 1, opened, and models with names that a step model needs: what is computed,
//! and what a training leaves.
use crate::support::command::gnp_rewrite;
use crate::support::forward;
use gnp::contract::{GRAD_NORM, LOSS, LOSS_PERTURBED};
use gnp::engine::{EngineOptions, Ort};
use gnp::engine::{Rates, StepEngine, Tract, runtime};
use gnp::onnx::proto::{AttributeProto, GraphProto, TensorProto};
use gnp::onnx::{self, DataType, Model};
use gnp::tensor::Tensor;
use ndarray::{Array1, Array2, Array4, ArrayD};
use ndarray_npy::WriteNpyExt;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Of one network of `fixtures/opening/make.py`.
#[derive(Deserialize)]
struct Network {
    /// The constants that are parameters.
    train: Vec<String>,
    batches: Vec<Batch>,
}

/// A batch, and what PyTorch computes of it.
#[derive(Deserialize)]
struct Batch {
    x: Vec<f64>,
    shape: Vec<usize>,
    labels: Vec<i64>,
    /// L(θ), ‖∇L(θ)‖, L(θ + r ∇L/‖∇L‖).
    expected: [f64; 3],
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/opening")
}

fn networks() -> BTreeMap<String, Network> {
    serde_json::from_slice(&fs::read(fixtures().join("expected.json")).unwrap()).unwrap()
}

/// The step model of a fixture, on both engines.
fn engines(step: &Path) -> [(&'static str, Box<dyn StepEngine>); 2] {
    let step = onnx::read(step).unwrap();
    let stock = runtime::install_onnxruntime(&mut |_| {}).unwrap();
    [
        ("tract", Box::new(Tract::load(&step, None, &EngineOptions::default()).unwrap())),
        ("onnxruntime", Box::new(Ort::load(&stock, &step, None, &EngineOptions::default()).unwrap())),
    ]
}

impl Batch {
    fn tensors(&self, element: gnp::tensor::ElementType) -> Vec<Tensor> {
        let shape = self.shape.clone();
        let x = match element {
            gnp::tensor::ElementType::F32 => {
                Tensor::F32(ArrayD::from_shape_vec(shape, self.x.iter().map(|x| *x as f32).collect()).unwrap())
            }
            _ => Tensor::I64(ArrayD::from_shape_vec(shape, self.x.iter().map(|x| *x as i64).collect()).unwrap()),
        };
        // A class for each sample, or for each pixel.
        let samples = self.shape[0];
        let shape = if self.labels.len() == samples { vec![samples] } else { [&[samples], &self.shape[2..]].concat() };
        vec![x, Tensor::I64(ArrayD::from_shape_vec(shape, self.labels.clone()).unwrap())]
    }
}

#[test]
fn exports_for_batches_of_one_are_opened_and_are_what_pytorch_computes() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    for (file, network) in networks() {
        let step = folder.path().join(&file);
        let mut command = gnp_rewrite();
        command.arg(fixtures().join(&file)).arg("-o").arg(&step);
        command.args(["--quiet", "--loss", "cross-entropy", "--optimizer", "sgd", "--r", "0.1", "--alpha", "1"]);
        if file != "unet.onnx" {
            command.args(["--dim", "x[0]=batch"]);
        }
        network.train.iter().for_each(|name| _ = command.args(["--train", name]));
        command.assert().success();
        for (engine, mut loaded) in engines(&step) {
            let at = |name: &str| loaded.step_outputs().iter().position(|output| output == name).unwrap();
            let outputs = [LOSS, GRAD_NORM, LOSS_PERTURBED].map(at);
            for batch in &network.batches {
                let tensors = batch.tensors(loaded.batch_ports()[0].element);
                let returned =
                    loaded.step(&tensors, &Rates::new(0.0)).unwrap_or_else(|e| panic!("{file}, {engine}: {e}"));
                let numbers = outputs.map(|i| f64::from(*returned[i].as_f32().unwrap().first().unwrap()));
                for (number, expected) in numbers.into_iter().zip(batch.expected) {
                    let error = (number - expected).abs() / expected.abs().max(1.0);
                    assert!(error < 1e-5, "{file}, {engine}: {numbers:?} and not {:?}", batch.expected);
                }
            }
        }
    }
}

#[track_caller]
fn gnp_run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gnp-run"));
    let output = command.current_dir(folder).args(arguments).args(["--engine", "tract"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn npz(path: &Path, x: &impl WriteNpyExt, y: &Array1<i64>) {
    let mut archive = ZipWriter::new(File::create(path).unwrap());
    let (mut samples, mut labels) = (Vec::new(), Vec::new());
    x.write_npy(&mut samples).unwrap();
    y.write_npy(&mut labels).unwrap();
    for (name, array) in [("x_train", &samples), ("y_train", &labels), ("x_test", &samples), ("y_test", &labels)] {
        archive.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
        archive.write_all(array).unwrap();
    }
    archive.finish().unwrap();
}

/// The graph without the elements of the constants that may train, and these.
fn parts(model: Model) -> (GraphProto, BTreeMap<String, Vec<f64>>) {
    let mut graph = model.graph;
    let floats = graph.initializer.iter_mut().filter(|tensor| tensor.data_type() == DataType::Float as i32);
    let elements = floats.map(|tensor| {
        let elements = tensor.floats().unwrap();
        (tensor.raw_data, tensor.float_data) = (None, vec![]);
        (tensor.name().to_owned(), elements)
    });
    let elements = elements.collect();
    (graph, elements)
}

#[test]
fn a_training_in_batches_leaves_the_model_for_batches_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.onnx");
    fs::copy(fixtures().join("convolutions.dynamo.onnx"), &model).unwrap();
    let images = Array4::from_shape_fn((70, 1, 8, 8), |(n, _, i, j)| {
        ((n * 31 + i * 7 + j * 3) % 13) as f32 / 13.0 + if i / 3 == n % 3 { 1.0 } else { 0.0 }
    });
    npz(&folder.path().join("data.npz"), &images, &Array1::from_shape_fn(70, |n| (n % 3) as i64));
    let run = ["model.onnx", "--data", "data.npz", "--loss", "cross-entropy", "--lr", "0.05", "--epochs", "6"];
    let output =
        gnp_run(folder.path(), &[&run[..], &["--dim", "x[0]=batch", "--out", "run", "-o", "trained.onnx"]].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("`x[0]` was 1 and may be any size; 3 Reshape follow"), "{said}");

    let (before, weights) = parts(onnx::read(&model).unwrap());
    let (after, trained) = parts(onnx::read(folder.path().join("trained.onnx")).unwrap());
    assert_eq!(before, after);
    assert_ne!(weights["head.weight"], trained["head.weight"]);
    let losses = |metrics: &str| -> Vec<f64> {
        let metrics = fs::read_to_string(folder.path().join(metrics)).unwrap();
        let lines = metrics.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter_map(|line| line["test_loss"].as_f64()).collect()
    };
    let first = losses("run/metrics.jsonl");
    assert!(first.len() == 6 && first[5] < first[0], "{first:?}");
    // What was run is run again, the axis open.
    gnp_run(folder.path(), &["--config", "run/config.toml", "--out", "again"]);
    assert_eq!(losses("again/metrics.jsonl"), first);
}

#[test]
fn names_that_a_step_model_needs_are_the_models_own_again_after_a_training() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = forward::classifier();
    let graph = forward::graph(&mut model);
    // The data, a parameter, a slot that momentum would have, and the logits.
    let renamed = [("x", "step"), ("fc1.weight", "lr"), ("fc1.bias", "lr.momentum"), ("logits", "loss")];
    let new = |name: &str| renamed.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new).to_owned();
    for node in &mut graph.node {
        node.input.iter_mut().chain(&mut node.output).for_each(|name| *name = new(name));
    }
    graph.initializer.iter_mut().for_each(|tensor| tensor.name = Some(new(tensor.name())));
    graph.input[0].name = Some("step".into());
    let path = forward::write(&model, &folder.path().join("model.onnx"));
    let samples = Array2::from_shape_fn((60, 4), |(n, i)| (n % 3) as f32 + ((n * 7 + i * 5) % 11) as f32 / 11.0);
    npz(&folder.path().join("data.npz"), &samples, &Array1::from_shape_fn(60, |n| (n % 3) as i64));

    let step = folder.path().join("step.onnx");
    let mut command = gnp_rewrite();
    command.arg(&path).arg("-o").arg(&step).args([
        "--rename",
        "step=x",
        "--rename",
        "lr=w",
        "--rename",
        "lr.momentum=b",
    ]);
    command.assert().success();
    let names = |model: &Model| model.graph.input.iter().map(|input| input.name().to_owned()).collect::<Vec<_>>();
    let inputs = names(&onnx::read(&step).unwrap());
    assert!(
        ["x", "labels", "lr", "w", "b", "w.momentum", "b.momentum"]
            .iter()
            .all(|name| inputs.contains(&(*name).to_owned())),
        "{inputs:?}"
    );

    let run = ["--data", "data.npz", "--epochs", "3", "--lr", "0.1", "-o", "trained.onnx"];
    gnp_run(folder.path(), &[&["step.onnx", "--forward", "model.onnx", "--out", "run"][..], &run].concat());
    let (before, weights) = parts(onnx::read(&path).unwrap());
    let (after, trained) = parts(onnx::read(folder.path().join("trained.onnx")).unwrap());
    assert_eq!(before, after);
    assert!(["lr", "lr.momentum"].iter().all(|name| weights[*name] != trained[*name]));
    assert_eq!(names(&onnx::read(folder.path().join("trained.onnx")).unwrap()), ["step"]);
}

#[test]
fn new_names_must_be_free() {
    let folder = tempfile::tempdir().unwrap();
    let path = forward::write(&forward::classifier(), &folder.path().join("model.onnx"));
    for (rename, says) in [
        ("y=z", "--rename y=z: the model has no value `y`"),
        ("x=fc1", "--rename x=fc1: there is a value `fc1` already"),
        ("x=lr", "--rename x=lr: `lr` is a name of the step model's own"),
        ("x=x.next", "`x.next` is a name of the step model's own"),
    ] {
        let mut command = gnp_rewrite();
        command.arg(&path).arg("-o").arg(folder.path().join("step.onnx")).args(["--rename", rename]);
        crate::support::command::assert_says(&crate::support::command::refusal(&mut command), &[says]);
    }
}

#[test]
fn errors_speak_of_the_users_files_and_nodes() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let mut words = forward::empty();
    let graph = forward::graph(&mut words);
    graph.input = vec![forward::info("x", DataType::Int64, "batch,4")];
    graph.initializer = vec![forward::weight("table", &[5, 3])];
    graph.node =
        vec![forward::node("Mul", &["x", "x"], "square"), forward::node("Gather", &["table", "square"], "words")];
    let axes = AttributeProto::ints("axes", &[1]);
    let mean = forward::node("ReduceMean", &["words", "axis"], "mean");
    graph.initializer.push(TensorProto::int64s("axis", &[1]));
    graph.node.push(forward::with(mean, AttributeProto::int("keepdims", 0)));
    graph.output = vec![forward::info("mean", DataType::Float, "batch,3")];
    let mut cropped = forward::perceptron();
    forward::graph(&mut cropped).initializer.push(TensorProto::int64s("size", &[3]));
    let crop = forward::with(forward::node("CenterCropPad", &["logits", "size"], "y"), axes);
    forward::append(&mut cropped, crop, forward::info("y", DataType::Float, "batch,3"));
    let data = folder.path().join("data.npz");
    for (model, engine, says) in [(words, "onnxruntime", "Gather"), (cropped, "tract", "CenterCropPad")] {
        let path = forward::write(&model, &folder.path().join("model.onnx"));
        // The squares are beyond the table.
        npz(&data, &Array2::from_shape_fn((8, 4), |(n, i)| ((n + i) % 6) as i64), &Array1::from_elem(8, 1));
        runtime::install_onnxruntime(&mut |_| {}).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gnp-run"));
        command.current_dir(folder.path()).arg(&path).args(["--data", "data.npz", "--epochs", "1", "--force"]);
        let output = command.args(["--loss", "cross-entropy", "--engine", engine]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        let error = &said[said.find("error: ").unwrap()..];
        assert!(error.contains(says) && !error.contains("gnp/") && !error.contains(".gnp-"), "{said}");
    }
}
