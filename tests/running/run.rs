//! `gnp-run` as a user sees it.
use crate::support::{models, training_runtime};
use assert_cmd::Command;
use std::fs;
use std::path::Path;

fn gnp_run() -> Command {
    Command::cargo_bin("gnp-run").unwrap()
}

/// What a command that succeeds writes to standard output and to standard error.
fn said(command: &mut Command) -> (String, String) {
    let output = command.assert().success().get_output().clone();
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn train(artifacts: &Path, out: &Path) -> Command {
    training_runtime();
    let mut command = gnp_run();
    command.arg(artifacts).arg("--data").arg(models().join("digits.npz")).args(["--divisor", "16"]);
    command.args(["--epochs", "2", "--out"]).arg(out);
    command
}

#[test]
fn trains_and_says_what_came_of_it() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let (out, _) = said(&mut train(&models().join("mlp"), folder.path()));
    for part in ["epoch ", "\n  1/2 ", "\n  2/2 ", "test error", "last (epoch 2)", "best (epoch ", "model.onnx"] {
        assert!(out.contains(part), "`{part}` is not in:\n{out}");
    }
    let metrics = fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 2 * 16 + 2);
    gnp::onnx::read(folder.path().join("model.onnx")).unwrap();
}

#[test]
fn quiet_is_silent() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let (out, err) = said(train(&models().join("mlp"), folder.path()).arg("--quiet"));
    assert_eq!((out.as_str(), err.as_str()), ("", ""));
}

#[test]
fn feeds_the_numbers_that_a_rewrite_exposed() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let artifacts = folder.path().join("artifacts");
    let mut rewrite = Command::cargo_bin("gnp-rewrite").unwrap();
    rewrite.arg(models().join("mlp")).arg("-o").arg(&artifacts).args(["--expose", "r,alpha", "--metrics"]);
    rewrite.assert().success();

    let run = |r: &str| {
        let out = folder.path().join(r);
        said(train(&artifacts, &out).args(["--r", r, "--alpha", "0.8"]));
        let metrics = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
        serde_json::from_str::<serde_json::Value>(metrics.lines().next().unwrap()).unwrap()
    };
    let (plain, perturbed) = (run("0"), run("0.5"));
    assert_eq!(plain["loss"], perturbed["loss"]);
    assert_eq!(plain["loss_perturbed"], plain["loss"]);
    assert!(perturbed["loss_perturbed"].as_f64() > perturbed["loss"].as_f64());
    assert!(perturbed["grad_norm"].as_f64() > Some(0.0));
}

#[test]
fn lists_the_engines() {
    needs!(engines);
    let runtime = training_runtime();
    let (table, _) = said(gnp_run().arg("engines").env_remove("ORT_DYLIB_PATH"));
    assert!(table.contains("training") && table.contains(&runtime.version), "{table}");
    let (json, _) = said(gnp_run().args(["engines", "--json"]).env_remove("ORT_DYLIB_PATH"));
    let list: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert!(list.iter().any(|engine| engine["can_train"] == true && engine["version"] == runtime.version));
}

#[test]
fn compares_in_the_demo() {
    needs!(engines);
    training_runtime();
    let (out, _) = said(gnp_run().args(["demo", "--seeds", "1"]));
    for part in ["plain", "SAM", "GNP", "test accuracy", "time a step"] {
        assert!(out.contains(part), "`{part}` is not in:\n{out}");
    }
}

#[test]
fn generates_man_page_and_completions() {
    for (kind, part) in [
        ("man", ".TH"),
        ("complete-bash", "complete -F"),
        ("complete-zsh", "#compdef gnp-run"),
        ("complete-fish", "complete -c gnp-run"),
        ("complete-powershell", "Register-ArgumentCompleter"),
    ] {
        let (out, _) = said(gnp_run().args(["--generate", kind]));
        assert!(out.contains(part) && out.contains("divisor"), "{kind}:\n{out}");
    }
}
