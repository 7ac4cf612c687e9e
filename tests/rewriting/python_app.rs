//! An existing application of ONNX Runtime's training API in Python trains a rewritten artifact as it trained the plain
//! one: what changes is a path.
use crate::support::{models, python};
use gnp::rewrite::{Options, rewrite};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Trains `artifacts` with the application, and returns what it reports.
fn train(python: &Path, artifacts: &Path, checkpoint: &Path) -> Value {
    let mut command = python::training_script(python, "train_app.py");
    command.arg(artifacts).arg(models().join("digits.npz")).arg(checkpoint).args(["--epochs", "5"]);
    let printed = python::run(&mut command);
    println!("{}:\n{printed}", artifacts.display());
    serde_json::from_str(printed.lines().last().unwrap()).unwrap()
}

#[test]
fn an_application_changes_a_path_and_nothing_else() {
    let Some(python) = python::training() else { return };
    let folder = tempfile::tempdir().unwrap();
    let plain = models().join("mlp");
    let gnp = folder.path().join("gnp");
    rewrite(&plain, &gnp, &Options::default()).unwrap();

    let reports = [("plain", &plain), ("gnp", &gnp)].map(|(name, artifacts)| {
        let checkpoint = folder.path().join(format!("{name}.ckpt"));
        let report = train(&python, artifacts, &checkpoint);
        assert!(fs::metadata(checkpoint).unwrap().len() > 0);
        report
    });
    let number = |report: &Value, key: &str| report[key].as_f64().unwrap();
    for report in &reports {
        // Ten equally likely classes have a loss of ln 10 = 2.3 and an accuracy of 0.1.
        assert!(number(report, "train_loss") < 0.5, "{report}");
        assert!(number(report, "test_accuracy") > 0.8, "{report}");
        assert_eq!(number(report, "reloaded_test_loss"), number(report, "test_loss"), "{report}");
    }
    let [plain, gnp] = reports.map(|report| number(&report, "train_loss"));
    assert!((plain - gnp).abs() > 1e-3, "the penalty must show: train loss {plain} and {gnp}");
}
