//! Models whose steps engines have failed to load or run: `tests/fixtures/loading` has them and what PyTorch says of
//! one step of each. What `gnp-rewrite` makes of them loads and computes that, on every engine; the standard's checker
//! accepts it.
use crate::support::command::gnp_rewrite;
use crate::support::python;

use gnp::engine::EngineOptions;
use gnp::engine::{Available, Backend as _, Rates, State, StepModel, runtime};
use gnp::tensor::Tensor;
use ndarray::{Array2, ArrayD};
use ndarray_npy::WriteNpyExt;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Deserialize)]
struct Case {
    shapes: BTreeMap<String, Vec<usize>>,
    /// Inputs of whole numbers, after the samples.
    extra: Vec<(String, Vec<i64>)>,
    /// What trains, where that is said.
    train: Option<String>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    x: Vec<f32>,
    labels: Vec<f32>,
    loss: f64,
    perturbed: f64,
    norm: f64,
    mixed: f64,
}

impl Case {
    fn batch(&self, step: &Step) -> Vec<Tensor> {
        let floats = |name: &str, values: &[f32]| {
            Tensor::F32(ArrayD::from_shape_vec(self.shapes[name].as_slice(), values.to_vec()).unwrap())
        };
        let extra = self.extra.iter().map(|(_, values)| Tensor::I64(ndarray::arr1(values).into_dyn()));
        [floats("x", &step.x)].into_iter().chain(extra).chain([floats("labels", &step.labels)]).collect()
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/loading")
}

fn cases() -> BTreeMap<String, Case> {
    serde_json::from_str(&fs::read_to_string(fixtures().join("loading.json")).unwrap()).unwrap()
}

/// The step model of a case.
fn rewritten(name: &str, case: &Case, folder: &Path) -> PathBuf {
    let step = folder.join(format!("{name}.step.onnx"));
    let mut command = gnp_rewrite();
    command.arg(fixtures().join(format!("{name}.onnx"))).arg("-o").arg(&step);
    command.args(case.train.iter().flat_map(|glob| ["--train", glob]));
    command.args(["--loss", "mse", "--optimizer", "sgd", "--quiet"]).assert().success();
    step
}

/// Takes the steps of all cases, and returns those that fail or differ.
fn failures(engine: &Available) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut failures = Vec::new();
    for (name, case) in cases() {
        let model = gnp::onnx::read(rewritten(&name, &case, folder.path())).unwrap();
        let mut loaded = match engine.load(&model, None, &EngineOptions::default()) {
            Ok(loaded) => loaded,
            Err(error) => {
                failures.push(format!("{name}: {error}"));
                continue;
            }
        };
        let begin = loaded.state().unwrap();
        for step in &case.steps {
            loaded.set_state(&begin).unwrap();
            let returned = match loaded.step(&case.batch(step), &Rates::new(0.1)) {
                Ok(returned) => returned,
                Err(error) => {
                    failures.push(format!("{name}: {error}"));
                    continue;
                }
            };
            let found = |output: &str| {
                let index = loaded.step_outputs().iter().position(|name| name == output).unwrap();
                f64::from(returned[index].to_scalar().unwrap())
            };
            let expected = [
                ("loss", step.loss),
                ("gnp.loss_perturbed", step.perturbed),
                ("gnp.grad_norm", step.norm),
                ("gnp.mixed_grad_norm", step.mixed),
            ];
            for (output, expected) in expected {
                if (found(output) - expected).abs() > 1e-4 * expected {
                    failures.push(format!("{name}, {output}: {}, expected {expected}", found(output)));
                }
            }
        }
    }
    failures
}

#[test]
fn stock_onnxruntime_takes_the_step_that_pytorch_takes() {
    needs!(engines);
    let stock = runtime::install_onnxruntime(&mut |_| {}).unwrap();
    assert_eq!(failures(&Available::OnnxRuntime(stock)), [""; 0]);
}

#[test]
fn tract_takes_the_step_that_pytorch_takes() {
    let failures = failures(&Available::Tract);
    // It wants to know every number of axes.
    assert!(
        matches!(&failures[..], [one] if one.starts_with("unknown_axes: node `b` (Reshape): tract cannot prepare")),
        "{failures:?}"
    );
}

#[test]
fn the_checker_of_the_standard_accepts_every_step() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let Some(python) = python::environment("onnx", &scripts.join("onnx-requirements.txt")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let steps: Vec<PathBuf> = cases().iter().map(|(name, case)| rewritten(name, case, folder.path())).collect();
    let script = "import onnx, sys\nfor file in sys.argv[1:]: onnx.checker.check_model(file, full_check=True)";
    python::run(Command::new(python).args(["-c", script]).args(steps));
}

/// The state that training would begin with, of all weights.
fn initial_state(model: &Path, folder: &Path) -> State {
    let step = folder.join("initial.onnx");
    let mut command = gnp_rewrite();
    command.arg(model).arg("-o").arg(&step).args(["--loss", "mse", "--optimizer", "sgd", "--train", "*", "--force"]);
    command.assert().success();
    let model = gnp::onnx::read(&step).unwrap();
    StepModel::recognise(&model).unwrap().initial_state(&model).unwrap()
}

#[test]
fn what_trained_in_branches_is_in_the_branches_of_the_result() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let model = fixtures().join("branches.onnx");
    let samples = |width| Array2::from_shape_fn((12, width), |(n, i)| ((n * 31 + i * 17) % 23) as f32 / 23.0 - 0.5);
    for (name, width) in [("x", 4), ("y", 3)] {
        samples(width).write_npy(fs::File::create(folder.path().join(format!("{name}_train.npy"))).unwrap()).unwrap();
    }
    let before = initial_state(&model, folder.path());
    let stock = runtime::install_onnxruntime(&mut |_| {}).unwrap();
    for engine in [["--engine", "tract"], ["--ort-lib", stock.library.to_str().unwrap()]] {
        let out = folder.path().join("run");
        let mut command = assert_cmd::Command::cargo_bin("gnp-run").unwrap();
        command.arg(&model).arg("--data").arg(folder.path()).arg("--out").arg(&out).args(engine);
        command.args(["--loss", "mse", "--optimizer", "sgd", "--train", "*", "--epochs", "2", "--batch-size", "1"]);
        command.args(["--quiet", "--force"]).assert().success();

        let checkpoints = fs::read_dir(out.join("checkpoints")).unwrap();
        let last = checkpoints.map(|entry| entry.unwrap().path()).max().unwrap();
        let trained = State::read(&last.join("checkpoint")).unwrap();
        let written = initial_state(&out.join("model.onnx"), folder.path());
        for (name, tensor) in written.iter() {
            assert_eq!(Some(tensor), trained.get(name), "{name}");
            assert_ne!(Some(tensor), before.get(name), "{name}");
        }
        assert_eq!(written.iter().count(), 5);
    }
}
