//! gnp's own kernels in stock ONNX Runtime, against the standard operators that they stand for.
use crate::support::command::gnp_rewrite;
use crate::support::{calls, models, python};
use gnp::engine::{EngineOptions, Kernels, Ort, StepEngine as _, runtime};
use gnp::onnx;
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

#[test]
fn a_kernel_computes_what_the_body_of_its_function_does() {
    needs!(engines);
    let stock = runtime::install_onnxruntime(&mut |_| {}).unwrap();
    for (number, call) in calls::all().into_iter().enumerate() {
        call.agrees(&stock, number % 128, 2e-6);
    }
}

/// The step model of the CNN.
fn step_model(folder: &Path) -> PathBuf {
    let step = folder.join("step.onnx");
    let mut command = gnp_rewrite();
    command.arg(models().join("cnn/model.onnx")).args([
        "--loss",
        "cross-entropy",
        "--optimizer",
        "momentum",
        "--quiet",
    ]);
    command.arg("-o").arg(&step).assert().success();
    step
}

#[test]
fn the_step_of_a_network_is_computed_by_kernels_unless_they_are_not_wanted() {
    needs!(engines);
    let stock = runtime::install_onnxruntime(&mut |_| {}).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let step = onnx::read(step_model(folder.path())).unwrap();
    let nodes = |kernels| {
        let options = EngineOptions { kernels, ..EngineOptions::default() };
        Ort::load(&stock, &step, None, &options).unwrap().kernels()
    };
    // Both passes have the gradients of two convolutions, and those of what is around them.
    assert!(nodes(Kernels::Auto) >= 4);
    assert_eq!(nodes(Kernels::None), 0);
}

/// The line of the README's loop that registers the kernels.
const REGISTERS: &str = "# options.register_custom_ops_library(\"target/release/libgnp_kernels.so\")\n";

/// The README's loop, and a folder with what it reads.
fn loop_of_the_readme(python: &Path) -> (String, TempDir) {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let script = readme.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(script.matches(REGISTERS).count(), 1);
    let folder = tempfile::tempdir().unwrap();
    step_model(folder.path());
    let data = "import numpy as np
rng = np.random.default_rng(0)
x, y = rng.normal(size=(320, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, 320)
np.savez('data.npz', x_train=x, y_train=y)";
    python::run(Command::new(python).args(["-c", data]).current_dir(&folder));
    (script.to_owned(), folder)
}

/// The losses of a loop.
fn losses(python: &Path, script: &str, folder: &TempDir) -> Vec<f64> {
    let printed = python::run(Command::new(python).args(["-c", script]).current_dir(folder));
    printed.lines().map(|line| line.parse().unwrap()).collect()
}

#[track_caller]
fn agree(a: &[f64], b: &[f64]) {
    assert_eq!((a.len(), b.len()), (10, 10));
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4 * b.abs()), "{a:?} {b:?}");
}

fn python_with(name: &str, requirements: &str) -> Option<PathBuf> {
    python::environment(name, &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(requirements))
}

#[test]
fn the_loop_of_the_readme_runs_with_the_library_and_without() {
    let Some(python) = python_with("onnx", "onnx-requirements.txt") else { return };
    let (script, folder) = loop_of_the_readme(&python);
    let library = format!("{DLL_PREFIX}gnp_kernels{DLL_SUFFIX}");
    let library = Path::new(env!("CARGO_BIN_EXE_gnp-run")).with_file_name("deps").join(library);
    let registers = format!("options.register_custom_ops_library({library:?})\n");
    let with = losses(&python, &script.replace(REGISTERS, &registers), &folder);
    let without = losses(&python, &script, &folder);
    // Rounding differs somewhere, or there is no kernel in the library.
    assert_ne!(with, without);
    agree(&with, &without);
}

#[test]
fn an_old_runtime_computes_the_same_without_memory_patterns() {
    let Some(new) = python_with("onnx", "onnx-requirements.txt") else { return };
    let Some(old) = python_with("old-onnxruntime", "old-onnxruntime-requirements.txt") else { return };
    let (script, folder) = loop_of_the_readme(&new);
    let adapted = script.replace(REGISTERS, "options.enable_mem_pattern = False\n");
    agree(&losses(&old, &adapted, &folder), &losses(&new, &script, &folder));
}
