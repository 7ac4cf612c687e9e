//! A run that is interrupted or killed goes on from its last checkpoint.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use support::models;

/// Begins or resumes a training on the digits that leaves time to interrupt it.
fn start(out: &Path, epochs: u64, more: &[&str]) -> Child {
    support::training_runtime();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gnp-run"));
    command.arg(models().join("vit")).arg("--data").arg(models().join("digits.npz")).arg("--out").arg(out);
    command.args(["--epochs", &epochs.to_string(), "--divisor", "16"]).args(more);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn finish(child: Child) -> Output {
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn steps(out: &Path) -> Vec<u64> {
    let lines = fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default();
    let values = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    values.filter(|value| value["kind"] == "step").map(|value| value["step"].as_u64().unwrap()).collect()
}

/// Waits until the run has taken `count` steps.
fn wait_for_steps(child: &mut Child, out: &Path, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while steps(out).len() < count {
        assert!(child.try_wait().unwrap().is_none(), "the run has ended before it could be interrupted");
        assert!(Instant::now() < deadline, "the run takes no steps");
        sleep(Duration::from_millis(5));
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn ctrl_c_saves_and_resume_goes_on_with_the_next_batch() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut run = start(&out, 1000, &[]);
    wait_for_steps(&mut run, &out, 3);
    signal(&run, "-INT");
    let output = finish(run);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("--resume"), "{}", text(&output.stdout));
    let done = steps(&out).len() as u64;

    let epochs = done / 16 + 1;
    let output = finish(start(&out, epochs, &["--resume"]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains(&format!("going on after step {done}")), "{}", text(&output.stderr));
    assert!(steps(&out).into_iter().eq(1..=16 * epochs));
    assert!(out.join("model.onnx").is_file());
}

#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut run = start(&out, 1000, &[]);
    wait_for_steps(&mut run, &out, 40);
    signal(&run, "-KILL");
    assert!(!finish(run).status.success());

    let epochs = steps(&out).len() as u64 / 16 + 1;
    let output = finish(start(&out, epochs, &["--resume"]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("going on after step"), "{}", text(&output.stderr));
    assert!(steps(&out).into_iter().eq(1..=16 * epochs));
}
