//! What a step model computes, from the forward model's file on: `gnp-rewrite` as a user runs it, then ONNX Runtime and
//! the standard's own evaluator. The checks are the scripts in `tests/python/step_model/`.
use crate::support::python;
use gnp::emit::trained::Trained;
use gnp::engine::EngineOptions;
use gnp::engine::{Engine as _, Rates, State, StepEngine as _, Tract};
use gnp::onnx::WriteOptions;
use gnp::rewrite::restore;
use gnp::tensor::Tensor;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/step_model")
}

/// The Python of the scripts, where there is one.
fn python() -> Option<PathBuf> {
    python::environment("onnx", &scripts().with_file_name("onnx-requirements.txt"))
}

/// Runs a script with the path of `gnp-rewrite` and a folder.
fn check(python: &Path, script: &str, folder: &Path, what: &[&str]) {
    let mut command = Command::new(python);
    command.args(["-W", "ignore"]).arg(scripts().join(script)).arg(env!("CARGO_BIN_EXE_gnp-rewrite"));
    println!("{}", python::run(command.arg(folder).args(what)));
}

#[test]
fn the_gradient_is_the_formula() {
    let Some(python) = python() else { return };
    check(&python, "formula.py", tempfile::tempdir().unwrap().path(), &["small"]);
}

#[test]
fn the_gradient_of_published_architectures_is_the_formula() {
    let Some(python) = python() else { return };
    check(&python, "formula.py", tempfile::tempdir().unwrap().path(), &["light"]);
}

#[test]
fn engines_agree() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    check(&python, "engines.py", folder.path(), &["make"]);
    for place in fs::read_dir(folder.path()).unwrap() {
        ten_steps_of_tract(&place.unwrap().path());
    }
    check(&python, "engines.py", folder.path(), &["check"]);
}

/// Takes a step of `step.onnx` with each of the batches `<number>.safetensors`, and writes the state after them,
/// `tract.safetensors`.
fn ten_steps_of_tract(folder: &Path) {
    let step = gnp::onnx::read(folder.join("step.onnx")).unwrap();
    let mut engine = Tract::load(&step, None, &EngineOptions::default()).unwrap();
    let names: Vec<String> = engine.batch_ports().iter().map(|port| port.name.clone()).collect();
    for number in 0..10 {
        let tensors = State::read(&folder.join(format!("{number}.safetensors"))).unwrap();
        let batch: Vec<Tensor> = names.iter().map(|name| tensors.get(name).unwrap().clone()).collect();
        engine.step(&batch, &Rates::new(0.01)).unwrap();
    }
    engine.state().unwrap().write(&folder.join("tract.safetensors")).unwrap();
}

#[test]
fn a_loop_of_ten_lines_trains() {
    let Some(python) = python() else { return };
    check(&python, "training.py", tempfile::tempdir().unwrap().path(), &["loop"]);
}

#[test]
fn optimizers_are_those_of_pytorch_and_the_warm_up_is_its_formula() {
    let Some(python) = python() else { return };
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/optimizers/optimizers.json");
    check(&python, "optimizers.py", tempfile::tempdir().unwrap().path(), &[fixture.to_str().unwrap()]);
}

#[test]
fn published_weights_are_trained_on_and_put_back() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let packages = env!("CARGO_TARGET_TMPDIR");
    check(&python, "orientation.py", folder.path(), &["train", packages]);
    let state = State::read(&folder.path().join("state.safetensors")).unwrap();
    let trained = state.iter().filter_map(|(name, tensor)| {
        let values = tensor.as_f32()?;
        let payload: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let dims = tensor.shape().iter().map(|&size| size as i64).collect();
        Some(Trained { name: name.to_owned(), dims, payload: payload.into() })
    });
    let mut model = gnp::onnx::read(folder.path().join("original.onnx")).unwrap();
    restore(&mut model, trained.collect(), &Default::default()).unwrap();
    gnp::onnx::write(model, folder.path().join("trained.onnx"), &WriteOptions::default()).unwrap();
    check(&python, "orientation.py", folder.path(), &["check", packages]);
}
