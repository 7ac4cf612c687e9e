//! Batches in as many parts as memory makes necessary.
use crate::support::command::{assert_says, refusal};
use crate::support::models;
use assert_cmd::Command;
use gnp::engine::runtime;
use ndarray::{Array1, Array4};
use ndarray_npy::WriteNpyExt;
use std::fs;
use std::path::{Path, PathBuf};

/// Statistics are those of the batch, in parts of it too.
const FROZEN: [&str; 2] = ["--batch-norm", "frozen"];

/// Runs of `models/cnn` on made-up images with 64 a batch.
struct Runs {
    folder: tempfile::TempDir,
    library: PathBuf,
}

impl Runs {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir_all(&data).unwrap();
        let pixel = |(n, _, i, j)| ((n * 31 + i * 17 + j * 7) % 23) as f32 / 23.0;
        let create = |name: &str| fs::File::create(data.join(name)).unwrap();
        Array4::from_shape_fn((160, 1, 28, 28), pixel).write_npy(create("x_train.npy")).unwrap();
        Array1::from_shape_fn(160, |n| (n % 10) as i64).write_npy(create("y_train.npy")).unwrap();
        let library = runtime::install_onnxruntime(&mut |_| {}).unwrap().library;
        Self { folder, library }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, out: &str, more: &[&str]) -> Command {
        let mut command = Command::cargo_bin("gnp-run").unwrap();
        command.arg(models().join("cnn/model.onnx")).arg("--data").arg(self.out("data")).arg("--ort-lib");
        command.arg(&self.library).arg("--out").arg(self.out(out));
        command.args(["--loss", "cross-entropy", "--r", "0.05", "--batch-size", "64", "--dropout", "off"]).args(more);
        command
    }

    /// What it says, and the losses of its steps.
    fn run(&self, out: &str, more: &[&str]) -> (String, Vec<f64>) {
        let output = self.command(out, more).assert().success().get_output().stderr.clone();
        (String::from_utf8(output).unwrap(), losses(&self.out(out)))
    }
}

fn losses(out: &Path) -> Vec<f64> {
    let lines = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let events = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    events.filter(|event| event["step"].is_number()).filter_map(|event| event["loss"].as_f64()).collect()
}

#[track_caller]
fn assert_close(a: &[f64], b: &[f64]) {
    assert!(!a.is_empty() && a.len() == b.len());
    a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() < 1e-4, "{a} {b}"));
}

/// The number behind some words.
fn number(said: &str, after: &str) -> u64 {
    let rest = said.split_once(after).unwrap_or_else(|| panic!("no `{after}` in {said}")).1;
    rest.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

#[test]
fn a_batch_is_taken_in_the_parts_that_fit() {
    needs!(engines);
    let runs = Runs::new();
    let frozen = |out, more: &[&str]| runs.run(out, &[&FROZEN, more, &["--epochs", "1"]].concat());
    let (said, whole) = frozen("whole", &["--micro-batch", "auto", "--memory", "100GB"]);
    assert!(said.contains("the batch of 64 is taken at once"), "{said}");
    let at_once = number(&said, "a step takes");
    let less = format!("{}MB", at_once / 3);
    let (said, fitted) = frozen("fitted", &["--micro-batch", "auto", "--memory", &less]);
    let (parts, samples) = (number(&said, "is taken in"), number(&said, "parts of"));
    assert!(parts >= 3 && samples == 64u64.div_ceil(parts), "{said}");
    assert!(number(&said, "at most: a step takes") <= at_once / 3, "{said}");
    assert_close(&whole, &fitted);
    let page = fs::read_to_string(runs.out("fitted").join("report.html")).unwrap();
    assert!(page.contains(&format!("taken in {parts} parts of {samples} samples at most")));

    // As many samples, in words and in a number, are the same step.
    let (_, by_number) = frozen("number", &["--micro-batch", &samples.to_string()]);
    assert_eq!(by_number, fitted);
    let (_, by_parts) = frozen("parts", &["--accumulate", &parts.to_string()]);
    assert_eq!(by_parts, fitted);
    // One that is as large as the batch is the batch.
    assert_eq!(frozen("large", &["--micro-batch", "64"]).1, whole);

    let refused = refusal(&mut runs.command("none", &["--micro-batch", "auto", "--memory", "10kB", "--epochs", "1"]));
    assert_says(&refused, &["a step of one sample takes", "--recompute needs less"]);
    assert!(!runs.out("none").exists());
}

/// Whatever is free by then.
#[test]
fn a_run_goes_on_in_the_parts_that_it_has_begun_in() {
    needs!(engines);
    let runs = Runs::new();
    let (said, _) = runs.run("run", &["--micro-batch", "auto", "--memory", "5MB", "--epochs", "1"]);
    let parts = number(&said, "is taken in");
    assert!(parts > 1);
    assert!(said.contains("with the statistics of each part of the batch"), "{said}");
    let (said, _) = runs.run("run", &["--micro-batch", "auto", "--memory", "100GB", "--resume", "--epochs", "2"]);
    assert_eq!(number(&said, "is taken in"), parts);
    assert!(said.contains("as when the run was begun"), "{said}");
}
