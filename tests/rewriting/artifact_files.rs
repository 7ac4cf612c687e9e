//! The files of artifacts for ONNX Runtime's training API: what is written, replaced and left alone.
use crate::support::command::{assert_says, contents, gnp_rewrite, refusal};
use crate::support::forward::{perceptron, write};
use crate::support::kills::{kill_after, kills, time};
use crate::support::models;
use assert_cmd::Command;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const FILES: [&str; 4] = ["training_model.onnx", "eval_model.onnx", "optimizer_model.onnx", "checkpoint"];

/// A folder with `model.onnx` in it.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&perceptron(), &folder.path().join("model.onnx"));
    folder
}

/// `gnp-rewrite model.onnx --emit ort-training -o OUT`, in `folder`.
fn make(folder: &Path, out: &str, more: &[&str]) -> Command {
    let mut command = gnp_rewrite();
    command.current_dir(folder).args(["model.onnx", "--emit", "ort-training", "--loss", "cross-entropy", "--quiet"]);
    command.args(["-o", out]).args(more);
    command
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn prefixed(prefix: &str) -> BTreeSet<String> {
    FILES.iter().map(|name| format!("{prefix}{name}")).collect()
}

#[test]
fn a_prefix_goes_to_the_files_and_comes_from_them() {
    let folder = folder();
    let path = folder.path();
    make(path, "out", &["--artifact-prefix", "net_"]).assert().success();
    assert_eq!(names(&path.join("out")), prefixed("net_"));
    // A second set in the same folder leaves the first alone.
    let before = contents(&path.join("out"));
    make(path, "out", &["--artifact-prefix", "other_"]).assert().success();
    let after = contents(&path.join("out"));
    assert_eq!(after.len(), 8);
    assert!(before.iter().all(|(name, bytes)| after[name] == *bytes));

    let given = path.join("given");
    fs::create_dir(&given).unwrap();
    for name in FILES {
        fs::copy(models().join("mlp").join(name), given.join(format!("net_{name}"))).unwrap();
    }
    let rewrite = |out: &str, more: &[&str]| {
        let mut command = gnp_rewrite();
        command.current_dir(path).args(["given", "--quiet", "-o", out]).args(more);
        command
    };
    assert_says(&refusal(&mut rewrite("penalised", &[])), &["the folder has no training_model.onnx"]);
    for (out, more) in [("penalised", &[][..]), ("with_momentum", &["--optimizer", "momentum"])] {
        rewrite(out, &[&["--artifact-prefix", "net_"], more].concat()).assert().success();
        assert_eq!(names(&path.join(out)), prefixed("net_"));
    }
    let prefix = &["--artifact-prefix", "../net_"];
    assert_says(&refusal(&mut make(path, "out", prefix)), &["`../net_` is no beginning of a file's name"]);
}

#[test]
fn existing_files_are_replaced_on_demand_alone() {
    let folder = folder();
    let path = folder.path();
    let out = path.join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("notes.txt"), "mine").unwrap();
    make(path, "out", &[]).assert().success();
    let before = contents(&out);
    for name in FILES {
        // Each of the four is in the way by itself.
        FILES.iter().filter(|other| **other != name).for_each(|other| fs::remove_file(out.join(other)).unwrap());
        let said = refusal(&mut make(path, "out", &[]));
        assert_says(&said, &[&format!("out/{name}: the file exists already"), "--force"]);
        assert_eq!(names(&out), BTreeSet::from([name.to_owned(), "notes.txt".to_owned()]));
        make(path, "out", &["--force"]).assert().success();
        assert_eq!(contents(&out), before);
    }
    make(path, "out", &["--force", "--optimizer", "adamw"]).assert().success();
    let after = contents(&out);
    assert!(before.keys().eq(after.keys()) && after[&out.join("notes.txt")] == b"mine");
    assert!(FILES.iter().any(|name| after[&out.join(name)] != before[&out.join(name)]));
    // What is no file is not replaced at all, and nothing is written beside it.
    fs::remove_file(out.join("checkpoint")).unwrap();
    fs::create_dir(out.join("checkpoint")).unwrap();
    let before = contents(&out);
    assert_says(&refusal(&mut make(path, "out", &["--force"])), &["out/checkpoint"]);
    assert_eq!(contents(&out), before);
}

#[test]
fn an_output_that_cannot_be_is_refused_and_nothing_is_written() {
    let folder = folder();
    let path = folder.path();
    fs::create_dir(path.join("home")).unwrap();
    fs::copy(path.join("model.onnx"), path.join("home/eval_model.onnx")).unwrap();
    fs::write(path.join("file"), "mine").unwrap();
    let before = contents(path);
    assert_says(&refusal(&mut make(path, "file", &["--force"])), &["file: is a file", "choose another name with -o"]);
    assert_says(&refusal(&mut make(path, "no/such", &[])), &["no: cannot write to the folder"]);
    let mut over_itself = gnp_rewrite();
    over_itself.current_dir(path).args(["home/eval_model.onnx", "--emit", "ort-training", "--loss", "mse"]);
    over_itself.args(["-o", "home", "--force"]);
    assert_says(&refusal(&mut over_itself), &["would replace `home/eval_model.onnx`, which the command reads"]);
    make(path, "out", &["--dry-run"]).assert().success();
    assert_eq!(contents(path), before);
    assert!(!path.join("out").exists());
    // A dry run says what stands in the way of the real one.
    make(path, "out", &[]).assert().success();
    assert_says(&refusal(&mut make(path, "out", &["--dry-run"])), &["the file exists already"]);
}

#[test]
fn a_folder_is_there_with_all_its_files_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::copy(models().join("cnn/model.onnx"), path.join("model.onnx")).unwrap();
    let command = |out: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gnp-rewrite"));
        command.current_dir(path).args(["model.onnx", "--emit", "ort-training", "--loss", "cross-entropy", "--quiet"]);
        command.args(["-o", out]);
        command
    };
    let whole = time(&mut command("whole"));
    let expected: Vec<Vec<u8>> = FILES.iter().map(|name| fs::read(path.join("whole").join(name)).unwrap()).collect();
    let tries = kills(30);
    for number in 0..tries {
        let delay = whole.mul_f64(1.1 * f64::from(u32::try_from(number).unwrap()) / tries as f64);
        kill_after(&mut command("out"), delay);
        if path.join("out").exists() {
            let found: Vec<Vec<u8>> = FILES.iter().map(|name| fs::read(path.join("out").join(name)).unwrap()).collect();
            assert!(found == expected);
            fs::remove_dir_all(path.join("out")).unwrap();
        }
    }
    // The next one cleans up.
    command("out").status().unwrap();
    assert_eq!(names(path), ["model.onnx", "out", "whole"].map(str::to_owned).into());
}
