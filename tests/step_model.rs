//! What a step model computes, from the forward model's file on: `gnp-rewrite` as a user runs it, then ONNX Runtime and the standard's
//! own evaluator. The checks are the scripts in `tests/python/step_model/`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use support::python;

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/step_model")
}

/// Runs a script with the path of `gnp-rewrite` and an empty folder.
fn check(script: &str, folder: &Path, what: &[&str]) {
    if python::version().is_none() {
        return println!("skipped: needs python3 with venv");
    }
    let python = python::environment("onnx", &scripts().with_file_name("onnx-requirements.txt"));
    let mut command = Command::new(python);
    command.args(["-W", "ignore"]).arg(scripts().join(script)).arg(env!("CARGO_BIN_EXE_gnp-rewrite"));
    println!("{}", python::run(command.arg(folder).args(what)));
}

#[test]
fn the_gradient_is_the_formula() {
    check("formula.py", tempfile::tempdir().unwrap().path(), &["small"]);
}

#[test]
fn the_gradient_of_published_architectures_is_the_formula() {
    check("formula.py", tempfile::tempdir().unwrap().path(), &["light"]);
}
