//! Runs in half precision.
use crate::support::models;
use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::path::Path;

fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The scale begins too high, finds its way down, and is where it was when a run goes on.
#[test]
fn a_run_in_float16_finds_its_scale_and_keeps_it() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let train = |epochs: &str, more: &[&str]| {
        let mut command = Command::cargo_bin("gnp-run").unwrap();
        command.arg(models().join("mlp/model.onnx")).arg("--data").arg(models().join("digits.npz"));
        command.args(["--divisor", "16", "--loss", "cross-entropy", "--lr", "0.05", "--engine", "onnxruntime"]);
        command.args(["--precision", "float16", "--loss-scale", "16777216", "--half", "emulated", "--epochs", epochs]);
        command.arg("--out").arg(&run).args(more).assert().success()
    };
    train("1", &[]);
    let first = metrics(&run);
    let of_kind = |lines: &[Value], kind: &str| -> Vec<Value> {
        lines.iter().filter(|line| line["kind"] == kind).cloned().collect()
    };
    let steps = of_kind(&first, "step");
    let skipped: Vec<f64> = steps.iter().map(|step| step["skipped"].as_f64().unwrap()).collect();
    assert_eq!((skipped[0], skipped[skipped.len() - 1]), (1.0, 0.0), "{first:?}");
    assert!(steps[0].get("grad_norm").is_none() && steps[0]["loss"].is_number());
    let scale = |step: &Value| step["loss_scale"].as_f64().unwrap();
    assert_eq!(scale(&steps[0]), 16_777_216.0);
    let reached = scale(&steps[steps.len() - 1]);
    assert!(reached < 16_777_216.0);

    let told = train("4", &["--resume"]);
    let told = String::from_utf8_lossy(&told.get_output().stdout).into_owned();
    assert!(told.contains("loss scale") && told.contains("skipped steps"), "{told}");
    let all = metrics(&run);
    let after = of_kind(&all[first.len()..], "step");
    assert!(scale(&after[0]) <= reached);
    let last = of_kind(&all, "epoch").pop().unwrap();
    assert!(last["test_error"].as_f64().unwrap() < 0.2, "{last}");
}
