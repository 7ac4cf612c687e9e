//! Networks as PyTorch's exporters write them, rewritten by the bare command: one step is what PyTorch computes with
//! the parameters of `named_parameters()`. `tests/fixtures/exports/make.py` made the files and the numbers. One is as
//! ONNX Runtime's optimizer of transformers leaves it.
use assert_cmd::Command;
use gnp::engine::EngineOptions;
use gnp::engine::{Rates, StepEngine, Tract};
use gnp::loss::{LossKind, Wanted};
use gnp::onnx::{self, Model, WriteOptions};
use gnp::rewrite::{StepOptions, StepReport, make_step};
use gnp::tensor::Tensor;
use gnp::transform::{Optimizer, OptimizerKind};
use gnp::weights::{Sharing, Tie};
use ndarray::ArrayD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What PyTorch computes in double precision and we in single. A ReLU at its kink, or a rounded θ + ε, costs more than
/// rounding does.
const TOLERANCE: f64 = 1e-4;

#[derive(Deserialize)]
struct Case {
    file: String,
    x: Array,
    /// The further inputs of a network that has several.
    #[serde(default)]
    more: Vec<Array>,
    y: Array,
    own_loss: bool,
    numbers: usize,
    #[serde(flatten)]
    outputs: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Array {
    shape: Vec<usize>,
    values: Vec<f64>,
    floats: bool,
}

impl Array {
    fn tensor(&self) -> Tensor {
        let shape = self.shape.clone();
        if self.floats {
            Tensor::F32(ArrayD::from_shape_vec(shape, self.values.iter().map(|&v| v as f32).collect()).unwrap())
        } else {
            Tensor::I64(ArrayD::from_shape_vec(shape, self.values.iter().map(|&v| v as i64).collect()).unwrap())
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/exports")
}

fn cases() -> Vec<Case> {
    serde_json::from_str(&std::fs::read_to_string(folder().join("cases.json")).unwrap()).unwrap()
}

fn case(file: &str) -> Case {
    cases().into_iter().find(|case| case.file == file).unwrap()
}

/// Plain gradient descent, with all else left to be inferred.
fn options(case: &Case) -> StepOptions {
    let loss = (!case.own_loss).then_some(LossKind::CrossEntropy);
    StepOptions {
        loss: Wanted { loss, ..Wanted::default() },
        optimizer: Optimizer { kind: OptimizerKind::Sgd, ..Optimizer::default() },
        ..StepOptions::default()
    }
}

fn rewrite(case: &Case) -> (Model, StepReport) {
    make_step(onnx::read(folder().join(&case.file)).unwrap(), &options(case)).unwrap()
}

/// What one step returns, on an engine.
fn step(engine: &mut dyn StepEngine, case: &Case) -> BTreeMap<String, f64> {
    let batch: Vec<Tensor> = [&case.x].into_iter().chain(&case.more).chain([&case.y]).map(Array::tensor).collect();
    let outputs = engine.step(&batch, &Rates::new(1.0)).unwrap();
    let scalars =
        engine.step_outputs().iter().cloned().zip(outputs.iter().map(|tensor| tensor.to_scalar().map(f64::from)));
    scalars.filter_map(|(name, number)| Some((name, number?))).collect()
}

fn written(model: Model, folder: &Path) -> Model {
    let path = folder.join("step.onnx");
    onnx::write(model, &path, &WriteOptions { force: true, ..WriteOptions::default() }).unwrap();
    onnx::read(&path).unwrap()
}

/// Files in which a weight is not as the network has it; the step is another one, and the report says so.
const DIFFERENT: &[(&str, &str)] =
    &[("cut.dy.onnx", "`slice_1` was computed from parameters"), ("copies.ts.onnx", "are one weight in the file")];

#[test]
fn one_step_is_that_of_pytorch() {
    let scratch = tempfile::tempdir().unwrap();
    let all = cases();
    assert_eq!(all.len(), 69);
    let mut failures = Vec::new();
    for case in all {
        let (model, report) = rewrite(&case);
        let different = DIFFERENT.iter().find(|(file, _)| *file == case.file);
        if let Some((_, says)) = different {
            let choices = report.choices.iter().map(|choice| &choice.what);
            let said: Vec<&String> = report.warnings.iter().chain(choices).collect();
            assert!(said.iter().any(|said| said.contains(says)), "{}: {said:?}", case.file);
        }
        if report.numbers != case.numbers && different.is_none() {
            failures.push(format!("{}: {} numbers train, not {}", case.file, report.numbers, case.numbers));
            continue;
        }
        let mut engine = Tract::load(&written(model, scratch.path()), None, &EngineOptions::default()).unwrap();
        let found = step(&mut engine, &case);
        for (name, &expected) in case.outputs.iter().filter(|(name, _)| different.is_none() || *name == "loss") {
            let error = (found[name] - expected).abs() / expected.abs().max(1.0);
            if error.is_nan() || error > TOLERANCE {
                failures.push(format!("{}: {name} is {}, not {expected}", case.file, found[name]));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The numbers of one step, and how many numbers train, with what the user said of weights that are one.
fn shared(file: &str, sharing: Sharing) -> (BTreeMap<String, f64>, usize) {
    let case = case(file);
    let options = StepOptions { sharing, ..options(&case) };
    let (model, report) = make_step(onnx::read(folder().join(file)).unwrap(), &options).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let mut engine = Tract::load(&written(model, scratch.path()), None, &EngineOptions::default()).unwrap();
    (step(&mut engine, &case), report.numbers)
}

#[track_caller]
fn assert_is(found: (BTreeMap<String, f64>, usize), expected: &Case) {
    assert_eq!(found.1, expected.numbers);
    for (name, expected) in &expected.outputs {
        assert!(
            (found.0[name] - expected).abs() < TOLERANCE * expected.abs().max(1.0),
            "{name}: {} {expected}",
            found.0[name]
        );
    }
}

#[test]
fn weights_are_tied_and_untied_as_the_user_says() {
    let untie = |name: &str| Sharing { untie: vec![name.to_owned()], ..Sharing::default() };
    let tie = |name: &str, to: &str| Sharing {
        tie: vec![Tie { name: name.to_owned(), to: to.to_owned() }],
        ..Sharing::default()
    };
    // In the file of the copies one tensor is an `Identity` of the other.
    assert_is(shared("copies.ts.onnx", untie("onnx::MatMul_17")), &case("copies.dy.onnx"));
    assert_is(shared("copies.ts.onnx", untie("onnx::MatMul_16")), &case("copies.dy.onnx"));
    assert_is(shared("copies.dy.onnx", untie("left.weight")), &case("copies.dy.onnx"));
    // An embedding that scores are taken with is tied by itself; so it is to be untied first.
    let separate = shared("tied.ts.onnx", untie("onnx::MatMul_16"));
    assert_eq!(separate.1, case("tied.ts.onnx").numbers + 30);
    assert_is(shared("tied.ts.onnx", tie("onnx::MatMul_16", "wte.weight")), &case("tied.ts.onnx"));
    assert_is(shared("tied.dy.onnx", tie("val_4", "head.weight")), &case("tied.dy.onnx"));
}

/// Trains a case by the program for a few steps, and returns the trained file.
fn trained(file: &str, folder: &Path) -> Model {
    let case = case(file);
    let data = folder.join("data.npz");
    write_npz(&data, &case);
    let output = folder.join("trained.onnx");
    Command::new(env!("CARGO_BIN_EXE_gnp-run"))
        .args([self::folder().join(file).as_os_str(), "--data".as_ref(), data.as_ref()])
        .args([
            "--loss",
            "cross-entropy",
            "--optimizer",
            "sgd",
            "--epochs",
            "2",
            "--batch-size",
            "2",
            "--lr",
            "0.1",
            "--engine",
            "tract",
        ])
        .arg("--force")
        .args(["--out".as_ref(), folder.join("run").as_os_str(), "-o".as_ref(), output.as_os_str()])
        .assert()
        .success();
    onnx::read(&output).unwrap()
}

fn write_npz(path: &Path, case: &Case) {
    let mut archive = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    for (name, array) in [("x_train", &case.x), ("y_train", &case.y)] {
        archive.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
        match array.tensor() {
            Tensor::F32(array) => ndarray_npy::WriteNpyExt::write_npy(&array, &mut archive).unwrap(),
            Tensor::I64(array) => ndarray_npy::WriteNpyExt::write_npy(&array, &mut archive).unwrap(),
            other => panic!("{other:?}"),
        }
    }
    archive.finish().unwrap();
}

fn elements(model: &Model, name: &str) -> Vec<f64> {
    model.graph.initializer.iter().find(|t| t.name() == name).unwrap_or_else(|| panic!("no `{name}`")).floats().unwrap()
}

#[test]
fn the_trained_file_has_a_tensor_for_each_weight() {
    let scratch = tempfile::tempdir().unwrap();
    let model = trained("fresh.dy.onnx", scratch.path());
    let norms: Vec<Vec<f64>> = (0..3).map(|i| elements(&model, &format!("norms.{i}.weight"))).collect();
    assert!(norms[0] != norms[1] && norms[1] != norms[2], "{norms:?}");
    let layers = ["layers.0.weight", "layers.1.weight"].map(|name| elements(&model, name));
    assert_ne!(layers[0], layers[1]);

    // A Gemm reads the bias last, the operation that the exporter recorded reads it first.
    for file in ["products.dy.onnx", "products.plain.onnx"] {
        let model = trained(file, scratch.path());
        for product in model.graph.node.iter().filter(|node| node.op_type() == "Gemm") {
            let axes = |input: usize| {
                let tensor = model.graph.initializer.iter().find(|t| t.name() == product.input[input]).unwrap();
                (tensor.name().split('.').next().unwrap(), tensor.dims.len())
            };
            assert_eq!([axes(1), axes(2)], [("weights", 2), ("biases", 1)], "{file}");
        }
    }

    let model = trained("dropped_biases.dy.onnx", scratch.path());
    let convolution = model.graph.node.iter().find(|node| node.op_type() == "Conv").unwrap();
    assert!(elements(&model, &convolution.input[2]).iter().any(|&bias| bias != 0.0));
}

#[test]
fn a_tied_weight_is_one_in_the_trained_file() {
    let scratch = tempfile::tempdir().unwrap();
    for (file, table, copy) in
        [("tied.ts.onnx", "wte.weight", "onnx::MatMul_16"), ("tied.dy.onnx", "head.weight", "val_4")]
    {
        let model = trained(file, scratch.path());
        let (table, copy) = (elements(&model, table), elements(&model, copy));
        let transposed: Vec<f64> =
            (0..6).flat_map(|column| (0..5).map(move |row| row * 6 + column)).map(|i| table[i]).collect();
        assert_eq!(transposed, copy, "{file}");
    }
}

#[test]
fn operators_and_caches_stay_in_the_trained_file() {
    let scratch = tempfile::tempdir().unwrap();
    for (file, operator, table) in [
        ("fused.o23.onnx", "Attention", "tok.weight"),
        ("decoder.genai.onnx", "GroupQueryAttention", "model.embed_tokens.weight"),
        ("cached.optimum.onnx", "Concat", "model.embed_tokens.weight"),
    ] {
        let before = onnx::read(folder().join(file)).unwrap();
        let after = trained(file, scratch.path());
        // With the keys and values of earlier steps, of which a decoder that trains has none.
        assert_eq!((&before.graph.input, &before.graph.output), (&after.graph.input, &after.graph.output));
        assert_eq!(before.graph.node, after.graph.node);
        assert!(after.graph.node.iter().any(|node| node.op_type() == operator));
        assert_ne!(elements(&before, table), elements(&after, table));
    }
}
