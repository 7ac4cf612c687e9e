//! A short run of each target with a fixed seed, and the inputs that failed once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// Feeds the target with some inputs, and with those that once failed.
fn feed(target: &str, inputs: u64) {
    let failures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("failures");
    let fuzz = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gnp-fuzz"));
        command.arg(target);
        command
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut commands = vec![];
    if folder.is_dir() {
        let mut replay = fuzz();
        replay.arg(folder);
        commands.push(replay);
    }
    let mut made = fuzz();
    made.args(["--seed", "10", "--jobs", "1", "--inputs", &inputs.to_string()]).arg("--failures").arg(failures);
    commands.push(made);
    for mut command in commands {
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{target}:\n{said}");
    }
}

#[test]
fn what_fails_is_seen_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gnp-fuzz"));
    command.args(["faulty", "--inputs", "5", "--failures"]).arg(folder.path());
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for failure in ["panic: ", "memory: ", "abort: ", "segmentation fault: "] {
        assert_eq!(said.lines().filter(|line| line.contains(&format!("1 × {failure}"))).count(), 1, "{failure}{said}");
    }
    let mut kept: Vec<_> =
        fs::read_dir(folder.path().join("faulty")).unwrap().map(|entry| entry.unwrap().path()).collect();
    kept.sort_unstable();
    let kept: Vec<_> = kept.into_iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    assert_eq!(kept, ["abort", "memory", "panic", "overflow"]);
}

macro_rules! targets {
    ($($name:ident: $inputs:expr,)*) => {
        $(#[test]
        fn $name() {
            feed(&stringify!($name).replace('_', "-"), $inputs);
        })*
    };
}

// As many as a processor manages in some five seconds, with code that is not optimised.
targets! {
    model: 600,
    artifact: 1_500,
    step: 1_000,
    npy: 40_000,
    npz: 10_000,
    idx: 40_000,
    cifar: 4_000,
    csv: 10_000,
    jsonl: 6_000,
    parquet: 2_000,
    tokenizer: 3_000,
    safetensors: 20_000,
    images: 3_000,
    checkpoint: 20_000,
    checkpoint_ort: 4_000,
    config: 2_000,
}
