//! The programs in `examples/` do what they say.
use crate::support::command::assert_says;
use crate::support::models;
use crate::support::python::run;
use std::path::PathBuf;
use std::process::Command;

/// An example, which `cargo test` has built beside the tests.
fn example(name: &str) -> Command {
    let folder = std::env::current_exe().unwrap().parent().unwrap().with_file_name("examples");
    let program: PathBuf = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(
        program.is_file(),
        "{} is missing: `cargo test` builds it, `cargo test --test running` does not",
        program.display()
    );
    Command::new(program)
}

#[test]
fn train() {
    let folder = tempfile::tempdir().unwrap();
    let (model, data) = (models().join("mlp/model.onnx"), models().join("digits.npz"));
    let said = run(example("train").args([model, data, folder.path().join("run")]));
    assert_says(&said, &["epoch 10  loss 0.", "test error", "run/model.onnx"]);
    assert!(folder.path().join("run/model.onnx").is_file());
}

#[test]
fn a_loop_of_ones_own() {
    let said = run(example("loop").arg(models().join("mlp/model.onnx")));
    assert_says(&said, &["6 parameters train", "loss = ", "gnp.grad_norm = "]);
    let losses: Vec<f64> =
        said.lines().filter_map(|line| line.strip_prefix("loss = ")?.split(' ').next()?.parse().ok()).collect();
    assert!(losses.len() == 5 && losses[4] < 0.5 * losses[0], "{said}");
}

#[test]
fn sweep() {
    let folder = tempfile::tempdir().unwrap();
    let (model, data) = (models().join("mlp/model.onnx"), models().join("digits.npz"));
    let said = run(example("sweep").args([model, data, folder.path().join("sweep")]));
    assert_says(&said, &["plain", "GNP r = 0.5, α = 0.8", "SAM r = 0.5"]);
    assert_eq!(std::fs::read_dir(folder.path().join("sweep/runs")).unwrap().count(), 6);
}
