//! Artifacts made of forward models, in the hands of others: beside those of the package `onnxruntime-training`, and
//! trained by an application in Python that knows nothing of this project. The checks are the scripts in
//! `tests/python/artifacts/`.
use crate::support::command::gnp_rewrite;
use crate::support::{models, python};
use gnp::checkpoint::Checkpoint;
use gnp::emit::trained::Trained;
use gnp::onnx::{self, WriteOptions};
use gnp::rewrite::restore;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

fn check(python: &Path, script: &str) -> Command {
    let mut command = Command::new(python);
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/artifacts");
    command.args(["-W", "ignore"]).arg(scripts.join(script));
    command
}

/// Compares gradients with those of the package: of `what`, which is of the script's kinds or names architectures.
fn gradients(what: &[&str]) {
    let Some(python) = python::training() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut command = check(&python, "gradients.py");
    command.arg(env!("CARGO_BIN_EXE_gnp-rewrite")).arg(folder.path()).args(what);
    println!("{}", python::run(&mut command));
}

#[test]
fn gradients_are_those_of_the_package() {
    gradients(&["small"]);
    gradients(&["losses"]);
    gradients(&["loss_alone"]);
}

#[test]
fn gradients_of_published_architectures_are_those_of_the_package() {
    gradients(&["light", "squeezenet", "shufflenet"]);
}

#[test]
#[ignore = "takes minutes and 10 GB of memory: cargo test --test rewriting -- --ignored large_architectures"]
fn gradients_of_large_architectures_are_those_of_the_package() {
    gradients(&["light", "inception_v1", "inception_v2", "densenet121", "resnet50"]);
    gradients(&["light", "bvlc_alexnet", "zfnet512", "vgg19"]);
}

/// Has the application train `model` for digits of `shape`, with `optimizer`, and looks at what it leaves.
fn train(model: &str, shape: &[&str], optimizer: &[&str], epochs: &str) {
    let Some(python) = python::training() else { return };
    let folder = tempfile::tempdir().unwrap();
    let [artifacts, saved, written, exported, restored] =
        ["artifacts", "saved", "written", "exported.onnx", "restored.onnx"].map(|name| folder.path().join(name));
    let forward = models().join(model).join("model.onnx");
    let mut make = gnp_rewrite();
    make.arg(&forward).args(["--emit", "ort-training", "--loss", "cross-entropy", "--quiet", "-o"]);
    make.arg(&artifacts).args(optimizer).assert().success();

    let digits = digits(&python, folder.path(), shape);
    let mut application = python::training_script(&python, "train_app.py");
    application.arg(&artifacts).arg(&digits).arg(&saved).args(["--epochs", epochs, "--export"]).arg(&exported);
    let printed = python::run(application.arg("--shape").args(shape));
    println!("{printed}");
    let report: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    let number = |key: &str| report[key].as_f64().unwrap();
    // Ten equally likely classes have a loss of ln 10 = 2.3 and an accuracy of 0.1.
    assert!(number("train_loss") < 0.7 && number("test_accuracy") > 0.8, "{model}: {report}");
    assert_eq!(number("reloaded_test_loss"), number("test_loss"), "{model}");

    let checkpoint = Checkpoint::read(&saved).unwrap();
    assert_shown(&saved, &checkpoint);
    checkpoint.write(&written, false).unwrap();
    let mut goes_on = check(&python, "after.py");
    goes_on.arg("checkpoint").args([&artifacts, &saved, &written, &digits]).args(shape);
    python::run(&mut goes_on);

    restore_into(&forward, &checkpoint, &restored);
    let mut compare = check(&python, "after.py");
    println!("{}", python::run(compare.arg("exported").args([&exported, &restored, &digits]).args(shape)));
}

/// Digits of the shape, which may be larger than they are.
fn digits(python: &Path, folder: &Path, shape: &[&str]) -> PathBuf {
    let digits = models().join("digits.npz");
    if !shape.contains(&"28") {
        return digits;
    }
    let larger = folder.join("digits.npz");
    python::run(check(python, "after.py").arg("enlarge").args([&digits, &larger]));
    larger
}

/// `gnp-run checkpoint show` lists every parameter.
fn assert_shown(file: &Path, checkpoint: &Checkpoint) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gnp-run"));
    let shown = python::run(command.args(["checkpoint", "show"]).arg(file));
    let names: Vec<&String> = checkpoint.trainable.keys().chain(checkpoint.frozen.keys()).collect();
    assert!(names.len() >= 6 && names.iter().all(|name| shown.contains(name.as_str())), "{shown}");
}

/// Puts the parameters of the checkpoint into the forward model.
fn restore_into(forward: &Path, checkpoint: &Checkpoint, output: &Path) {
    let parameters = checkpoint.trainable.iter().chain(&checkpoint.frozen);
    let trained = parameters.map(|(name, value)| Trained {
        name: name.clone(),
        dims: value.shape().iter().map(|&size| size as i64).collect(),
        payload: value.data().clone(),
    });
    let mut model = onnx::read(forward).unwrap();
    restore(&mut model, trained.collect(), &Default::default()).unwrap();
    onnx::write(model, output, &WriteOptions::default()).unwrap();
}

#[test]
fn an_application_trains_a_perceptron_with_adamw() {
    train("mlp", &["64"], &["--optimizer", "adamw"], "5");
}

#[test]
fn an_application_trains_a_cnn_with_momentum_inside() {
    train("cnn", &["1", "28", "28"], &["--optimizer", "momentum"], "8");
}

#[test]
fn an_application_trains_a_vision_transformer_with_adam() {
    train("vit", &["1", "8", "8"], &["--optimizer", "adam", "--clip-norm", "1"], "12");
}
