//! What becomes of a run whose disk, data or numbers fail: one clear message, exit code 2, and a last checkpoint from
//! which `--resume` goes on once the fault is gone.
#![cfg(unix)]
use crate::support::command::{assert_says, gnp_rewrite, refusal};
use crate::support::run::{Training, course, events};
use crate::support::{models, training_runtime};
use gnp::report::Event;
use gnp::train::RunFolder;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const EPOCHS: u64 = 12;

/// What the command says when it fails as a user's error does.
#[track_caller]
fn refused(command: Command) -> String {
    refusal(assert_cmd::Command::from_std(command).arg("--quiet"))
}

#[track_caller]
fn succeeds(mut command: Command) {
    let output = command.arg("--quiet").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn resumed(mut command: Command) -> Command {
    command.arg("--resume");
    command
}

fn epochs_done(out: &Path) -> u64 {
    let checkpoint = RunFolder::newest_checkpoint(out).unwrap();
    checkpoint.map_or(0, |checkpoint| {
        assert_eq!(checkpoint.damaged(), [""; 0]);
        checkpoint.progress().epoch
    })
}

/// The command as on a disk on which no file grows beyond so many KiB: a write then fails, as one to a full disk does.
fn on_a_small_disk(command: &Command, kib: u32) -> Command {
    let mut limited = Command::new("bash");
    limited.args(["-c", r#"ulimit -f "$0"; exec "$@""#, &kib.to_string()]);
    limited.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
}

/// Checks that what was trained with an interruption equals what was trained without.
fn assert_equal_runs(parts: &Path, whole: &Path, result: &str) {
    assert_eq!(course(parts), course(whole));
    assert_eq!(fs::read(parts.join(result)).unwrap(), fs::read(whole.join(result)).unwrap());
}

#[test]
fn a_disk_that_is_too_small_for_the_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    succeeds(training.command(&whole, EPOCHS));
    let said = refused(on_a_small_disk(&training.command(&parts, EPOCHS), 10));
    assert_says(&said, &["metrics.jsonl: cannot write the metrics: ", "help: ", "--resume"]);
    let done = epochs_done(&parts);
    assert!((1..EPOCHS).contains(&done), "{done}");
    assert!(fs::read_to_string(parts.join("metrics.jsonl")).unwrap().ends_with('\n'));
    succeeds(resumed(training.command(&parts, EPOCHS)));
    assert_equal_runs(&parts, &whole, "model.onnx");
}

/// The perceptron, whose checkpoints are larger than anything else of a run, as a step model and as artifacts.
fn perceptrons(folder: &Path) -> [(PathBuf, &'static str); 2] {
    training_runtime();
    let step = folder.join("mlp.step.onnx");
    let mut rewrite = gnp_rewrite();
    rewrite.arg(models().join("mlp/model.onnx")).args(["--loss", "cross-entropy", "--quiet", "-o"]).arg(&step);
    rewrite.assert().success();
    [(step, "tract"), (models().join("mlp"), "ort-training")]
}

fn train_perceptron(model: &Path, engine: &str, out: &Path, epochs: u64) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gnp-run"));
    command.arg(model).arg("--data").arg(models().join("digits.npz")).args(["--divisor", "16", "--threads", "1"]);
    command.args(["--epochs", &epochs.to_string(), "--engine", engine, "--lr", "0.001", "--out"]).arg(out);
    command
}

#[test]
fn a_disk_that_is_too_small_for_the_checkpoint() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    for (model, engine) in perceptrons(folder.path()) {
        let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(format!("{name}-{engine}")));
        let run = |out: &Path, epochs: u64| train_perceptron(&model, engine, out, epochs);
        let result = |out: &Path| if out.join("model.onnx").exists() { "model.onnx" } else { "state.safetensors" };
        succeeds(run(&whole, 3));
        succeeds(run(&parts, 1));
        let said = refused(on_a_small_disk(&resumed(run(&parts, 3)), 500));
        assert_says(&said, &["checkpoint", "cannot write", "help: ", "--resume"]);
        assert_eq!(epochs_done(&parts), 1, "{engine}");
        let left = fs::read_dir(parts.join("checkpoints")).unwrap().count();
        assert_eq!(left, 1, "the unfinished checkpoint takes space");
        succeeds(resumed(run(&parts, 3)));
        assert_equal_runs(&parts, &whole, result(&whole));
    }
}

/// Runs commands for which permissions count: as nobody, where the tests run as root.
struct Unprivileged {
    program: PathBuf,
    is_root: bool,
}

impl Unprivileged {
    const NOBODY: u32 = 65534;

    /// `folder` is opened to all, and gets a program that all may run.
    fn new(folder: &Path) -> Self {
        let program = folder.join("gnp-run");
        fs::copy(env!("CARGO_BIN_EXE_gnp-run"), &program).unwrap();
        fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
        Self { program, is_root: fs::metadata("/proc/self").unwrap().uid() == 0 }
    }

    fn command(&self, training: &Training, out: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(training.arguments(out, EPOCHS)).env_remove("ORT_DYLIB_PATH");
        command.env("GNP_CACHE_DIR", out.with_file_name("cache"));
        if self.is_root {
            command.uid(Self::NOBODY).gid(Self::NOBODY);
        }
        command
    }
}

#[test]
fn a_disk_that_is_too_small_ends_a_sweep() {
    let folder = tempfile::tempdir().unwrap();
    let (model, data) = (models().join("mlp/model.onnx"), models().join("digits.npz"));
    let config = folder.path().join("train.toml");
    let text = format!(
        "model = {model:?}\ndata = {data:?}\nloss = 'cross-entropy'\ndivisor = 16\nepochs = 1\nlr = 0.05\nengine = 'tract'"
    );
    fs::write(&config, text).unwrap();
    let out = folder.path().join("sweep");
    let sweep = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gnp-run"));
        command.arg("sweep").arg(&config).args(["--alpha", "0,0.8", "--seeds", "1", "--out"]).arg(&out);
        command
    };
    let said = refusal(&mut assert_cmd::Command::from_std(on_a_small_disk(&sweep(), 64)));
    assert_says(&said, &["cannot write", "too large"]);
    assert!(!out.join("summary.json").exists(), "a run that the disk had no room for is no result");
    assert!(sweep().output().unwrap().status.success());
    assert!(out.join("summary.json").exists());
}

fn protect(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_folder_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    let unprivileged = Unprivileged::new(folder.path());
    let [whole, parts, sealed] = ["whole", "parts", "sealed"].map(|name| folder.path().join(name));
    succeeds(training.command(&whole, EPOCHS));

    fs::create_dir(&sealed).unwrap();
    protect(&sealed, 0o555);
    let said = refused(unprivileged.command(&training, &sealed));
    assert_says(&said, &["sealed/metrics.jsonl: cannot write the metrics: Permission denied"]);
    assert_eq!(fs::read_dir(&sealed).unwrap().count(), 0);

    // Begun by who may write, and stopped: its checkpoints alone, then its metrics too, are sealed.
    refused(on_a_small_disk(&training.command(&parts, EPOCHS), 10));
    let done = epochs_done(&parts);
    let (metrics, checkpoints) = (parts.join("metrics.jsonl"), parts.join("checkpoints"));
    protect(&parts, 0o777);
    protect(&metrics, 0o666);
    protect(&checkpoints, 0o555);
    protect(&checkpoints.join(format!("epoch-{done:05}/checkpoint")), 0o644);
    let said = refused(resumed(unprivileged.command(&training, &parts)));
    assert_says(&said, &["cannot write the checkpoint: Permission denied", "help: ", "--resume"]);
    assert_eq!(epochs_done(&parts), done);
    protect(&metrics, 0o444);
    let said = refused(resumed(unprivileged.command(&training, &parts)));
    assert_says(&said, &["metrics.jsonl: cannot write the metrics: Permission denied"]);
    assert_eq!(epochs_done(&parts), done);

    protect(&metrics, 0o644);
    protect(&checkpoints, 0o755);
    succeeds(resumed(training.command(&parts, EPOCHS)));
    assert_equal_runs(&parts, &whole, "model.onnx");
}

#[test]
fn data_that_have_vanished() {
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    succeeds(training.command(&whole, EPOCHS));
    succeeds(training.command(&parts, EPOCHS / 2));
    let elsewhere = folder.path().join("elsewhere.npz");
    fs::rename(&training.data, &elsewhere).unwrap();
    let said = refused(resumed(training.command(&parts, EPOCHS)));
    assert_says(&said, &["data.npz: ", "No such file"]);
    assert_eq!(epochs_done(&parts), EPOCHS / 2);
    fs::rename(&elsewhere, &training.data).unwrap();
    succeeds(resumed(training.command(&parts, EPOCHS)));
    assert_equal_runs(&parts, &whole, "model.onnx");
}

#[test]
fn a_loss_that_is_no_number() {
    let folder = tempfile::tempdir().unwrap();
    // An epoch of one step, so that there is a checkpoint before the second.
    let mut training = Training::new(folder.path());
    training.batch_size = 90;
    let out = folder.path().join("out");
    let run = |epochs| {
        let mut command = training.command(&out, epochs);
        command.args(["--lr", "1e38"]);
        command
    };
    for command in [run(EPOCHS), resumed(run(EPOCHS))] {
        let said = refused(command);
        assert_says(&said, &["at step 2 (epoch 2): training has diverged", "help: lower the learning rate"]);
        assert_eq!(epochs_done(&out), 1);
        let events = events(&out);
        let Some(Event::Step(last)) = events.last() else { panic!("{events:?}") };
        assert!(last.step == 2 && last.measures.loss.is_nan(), "{last:?}");
    }
    succeeds(resumed(run(1)));
}

#[test]
fn damaged_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    succeeds(training.command(&whole, EPOCHS));
    succeeds(training.command(&parts, EPOCHS / 2));
    let newest = parts.join(format!("checkpoints/epoch-{:05}", EPOCHS / 2));
    let before = parts.join(format!("checkpoints/epoch-{:05}", EPOCHS / 2 - 1));

    // One is passed over, and said to be.
    let mut bytes = fs::read(newest.join("checkpoint")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(newest.join("checkpoint"), bytes).unwrap();
    let mut command = resumed(training.command(&parts, EPOCHS));
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert_says(
        &said,
        &["warning: ", "checkpoint: the checkpoint is damaged", "going on from the checkpoint before it"],
    );
    assert_says(&said, &[&format!("going on after step {}", 6 * (EPOCHS / 2 - 1))]);
    assert!(newest.with_file_name(format!("damaged-epoch-{:05}", EPOCHS / 2)).is_dir());
    assert_equal_runs(&parts, &whole, "model.onnx");

    // All are an error, which leaves the run as it is.
    for epoch in [EPOCHS - 1, EPOCHS] {
        fs::write(before.with_file_name(format!("epoch-{epoch:05}")).join("state.json"), "{").unwrap();
    }
    let said = refused(resumed(training.command(&parts, EPOCHS)));
    assert_says(
        &said,
        &[
            "no checkpoint is whole",
            "epoch-00012/state.json",
            "epoch-00011/state.json",
            "help: begin the run anew with --force",
        ],
    );
    assert_eq!(course(&parts), course(&whole));
    let mut anew = training.command(&parts, EPOCHS);
    anew.arg("--force");
    succeeds(anew);
    assert_equal_runs(&parts, &whole, "model.onnx");
}
