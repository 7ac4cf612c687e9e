//! `gnp-run sweep` and `gnp-run --config`, as a user runs them.
use crate::support::command::{assert_says, refusal};
use crate::support::models;
use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn gnp_run() -> Command {
    let mut command = Command::cargo_bin("gnp-run").unwrap();
    command.env_remove("ORT_DYLIB_PATH");
    command
}

/// A configuration of short runs on the digits, in a folder of its own.
fn configuration(folder: &Path, more: &str) -> PathBuf {
    let file = folder.join("train.toml");
    let (model, data) = (models().join("mlp/model.onnx"), models().join("digits.npz"));
    let text = format!(
        "model = {model:?}\ndata = {data:?}\nloss = 'cross-entropy'\ndivisor = 16\nlabel-noise = 0.4\nepochs = 2\nlr = 0.05\n\
         schedule = 'cosine'\nengine = 'tract'\n{more}"
    );
    fs::write(&file, text).unwrap();
    file
}

/// The lines of a run's metrics, without the times.
fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let timeless = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        for time in ["seconds", "data_seconds", "examples_per_second"] {
            value.as_object_mut().unwrap().remove(time);
        }
        value
    };
    text.lines().map(timeless).collect()
}

#[test]
fn what_a_run_was_started_with_runs_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let config = configuration(folder, "[set]\n'gnp.momentum' = 0.5\n");
    let run = |config: &Path, out: &str, more: &[&str]| {
        gnp_run()
            .arg("--config")
            .arg(config)
            .arg("--out")
            .arg(folder.join(out))
            .args(more)
            .arg("--quiet")
            .assert()
            .success();
        metrics(&folder.join(out))
    };
    let first = run(&config, "first", &["--epochs", "3", "--seed", "7"]);
    assert_eq!(first.iter().filter(|line| line["kind"] == "epoch").count(), 3);
    let written = folder.join("first/config.toml");
    assert_says(&fs::read_to_string(&written).unwrap(), &["epochs = 3", "seed = 7", "lr = 0.05", "gnp.momentum=0.5"]);
    assert_eq!(run(&written, "second", &[]), first);
    assert_ne!(run(&written, "third", &["--seed", "8"]), first);
}

#[test]
fn compares_arms_seed_by_seed_and_goes_on_where_it_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let config = configuration(folder, "r = 0.5\n");
    let out = folder.join("out");
    let sweep = || {
        let mut command = gnp_run();
        command.arg("sweep").arg(&config).args(["--alpha", "0,0.8,1", "--seeds", "2", "--jobs", "2"]);
        command.args(["--arm", "more epochs = --alpha 0 --epochs 3"]).arg("--out").arg(&out);
        command
    };
    let table = String::from_utf8(sweep().assert().success().get_output().stdout.clone()).unwrap();
    assert_says(&table, &["plain", "GNP r = 0.5, α = 0.8", "SAM r = 0.5", "more epochs", "less plain", "±", "‖∇L‖"]);
    let figure = fs::read_to_string(out.join("figure.svg")).unwrap();
    assert_says(&figure, &["<svg", "Test error (%)", "r = 0.5", "more epochs"]);
    let run = |arm: &str, seed: u64| out.join(format!("runs/{arm}-seed{seed}"));

    // The runs of a seed begin alike and see the same batches; those of different seeds do not.
    let first_loss = |arm: &str, seed| metrics(&run(arm, seed))[0]["loss"].as_f64().unwrap();
    for seed in [0, 1] {
        for arm in ["r0.5-alpha0.8", "r0.5-alpha1", "more_epochs"] {
            assert_eq!(first_loss(arm, seed), first_loss("plain", seed));
        }
    }
    assert_ne!(first_loss("plain", 0), first_loss("plain", 1));

    // A run that is missing, and one that was killed before its end, are made up for; the others are left alone.
    let summary = fs::read(out.join("summary.json")).unwrap();
    let before = metrics(&run("plain", 1));
    fs::remove_dir_all(run("plain", 1)).unwrap();
    fs::remove_file(run("r0.5-alpha1", 0).join("outcome.json")).unwrap();
    let untouched = run("r0.5-alpha0.8", 0).join("outcome.json");
    let modified = fs::metadata(&untouched).unwrap().modified().unwrap();
    sweep().assert().success();
    assert_eq!(metrics(&run("plain", 1)), before);
    assert_eq!(fs::metadata(&untouched).unwrap().modified().unwrap(), modified);
    let errors = |summary: &[u8]| -> Vec<Value> {
        let summary: Value = serde_json::from_slice(summary).unwrap();
        summary["arms"].as_array().unwrap().iter().map(|arm| arm["test_error"].clone()).collect()
    };
    assert_eq!(errors(&fs::read(out.join("summary.json")).unwrap()), errors(&summary));

    // One cannot go on with what was begun otherwise.
    let said = refusal(sweep().args(["--", "--epochs", "4"]));
    assert_says(&said, &["made with another configuration", "help: "]);
}

#[test]
fn what_an_arm_differs_in_takes_precedence_over_what_all_have_in_common() {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), "");
    let out = folder.path().join("out");
    let mut command = gnp_run();
    command.arg("sweep").arg(&config).args(["--alpha", "0", "--seeds", "1", "--arm", "longer = --alpha 0 --epochs 2"]);
    command.arg("--out").arg(&out).args(["--", "--epochs", "1"]).assert().success();
    let epochs = |arm: &str| {
        let records = metrics(&out.join(format!("runs/{arm}-seed0")));
        records.iter().filter(|record| record["kind"] == "epoch").count()
    };
    assert_eq!([epochs("plain"), epochs("longer")], [1, 2]);
}

#[test]
fn a_run_that_diverges_is_a_result() {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), "");
    let mut command = gnp_run();
    command.arg("sweep").arg(&config).args(["--alpha", "0", "--seeds", "2", "--arm", "wild = --lr 1e30"]);
    command.arg("--out").arg(folder.path().join("out"));
    let table = String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap();
    assert_says(&table, &["wild, seed 0, failed: ", "training has diverged"]);
}

#[test]
fn what_cannot_be_swept_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), "");
    let refused = |more: &[&str]| {
        refusal(gnp_run().arg("sweep").arg(&config).args(more).arg("--out").arg(folder.path().join("out")))
    };
    assert_says(&refused(&["--alpha", "0,-1"]), &["--alpha -1: expected numbers from 0 on"]);
    assert_says(&refused(&["--arm", "nameless"]), &["expected a name, `=` and flags", "help: "]);
    assert_says(&refused(&["--arm", "x = --no-such-flag 1"]), &["--no-such-flag"]);
    assert_says(&refused(&["--", "--data", "missing.npz"]), &["missing.npz"]);
    assert_says(&refusal(gnp_run().args(["sweep", "missing.toml"])), &["missing.toml: cannot read the configuration"]);
}
