//! A run that is interrupted or killed goes on from its last checkpoint.
#![cfg(unix)]
use crate::support::forward::{self, info};
use crate::support::kills::kills;
use crate::support::models;
use crate::support::run::{STEPS_AN_EPOCH, Training, course, events};
use gnp::onnx::DataType;
use gnp::onnx::proto::TensorProto;
use gnp::report::Event;
use gnp::train::RunFolder;
use ndarray::Array2;
use ndarray_npy::WriteNpyExt;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Begins or resumes a training on the digits that leaves time to interrupt it.
fn start(out: &Path, epochs: u64, more: &[&str]) -> Child {
    crate::support::training_runtime();
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

/// Waits until the run has taken `count` steps. It looks at no more than it must: a quick run is over soon.
fn wait_for_steps(child: &mut Child, out: &Path, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let taken = || {
        let lines = fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default();
        lines.lines().filter(|line| line.starts_with(r#"{"kind":"step""#)).count()
    };
    while taken() < count {
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
    needs!(engines);
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
    needs!(engines);
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

/// Has a command end by SIGHUP though the tests themselves may run under `nohup`, which it would inherit.
fn heed_hangups(command: &mut Command) {
    use nix::sys::signal::{SigHandler, Signal, signal};
    let heed = || {
        // SAFETY: the default handler is no code of this process.
        unsafe { signal(Signal::SIGHUP, SigHandler::SigDfl) }?;
        Ok(())
    };
    // SAFETY: `signal` may be called between fork and exec.
    unsafe { command.pre_exec(heed) };
}

/// When a process is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after it was started.
    After(Duration),
    /// While it is writing its checkpoint of this number, from 1.
    Checkpoint(usize),
}

/// Kills a process at `moment`, and returns whether it was still running.
fn kill_at(mut child: Child, out: &Path, moment: Moment) -> bool {
    let began = Instant::now();
    let left: BTreeSet<_> = unfinished_checkpoints(out).into_iter().collect();
    let mut seen = BTreeSet::new();
    let mut has_come = || match moment {
        Moment::After(delay) => began.elapsed() >= delay,
        Moment::Checkpoint(count) => {
            seen.extend(unfinished_checkpoints(out).into_iter().filter(|name| !left.contains(name)));
            seen.len() >= count
        }
    };
    while !has_come() && child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(60), "{moment:?} does not come");
        sleep(Duration::from_micros(100));
    }
    child.kill().unwrap();
    let output = finish(child);
    assert!(output.status.code().is_none_or(|code| code == 0), "{moment:?}: {}", text(&output.stderr));
    output.status.signal() == Some(9)
}

fn unfinished_checkpoints(out: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(out.join("checkpoints")).into_iter().flatten().flatten().map(|entry| entry.file_name());
    entries.filter(|name| name.to_string_lossy().starts_with(".unfinished-")).collect()
}

/// Checks what a killed run has left: whole lines, each step once, and a checkpoint of every epoch that was over.
fn check_what_is_left(out: &Path, epoch_before: u64) -> u64 {
    let events = events(out);
    let steps = events.iter().filter_map(|event| if let Event::Step(step) = event { Some(step.step) } else { None });
    assert!(steps.clone().eq(1..=steps.count() as u64));
    let epochs = events.iter().filter(|event| matches!(event, Event::Epoch(_))).count() as u64;
    // Its checkpoint is written after the epoch's line and before the next step's.
    let is_under_way = matches!(events.last(), Some(Event::Epoch(_)));
    let Some(checkpoint) = RunFolder::newest_checkpoint(out).unwrap() else {
        assert!(epochs == 0 || (epochs == 1 && is_under_way));
        return 0;
    };
    assert_eq!(checkpoint.damaged(), [""; 0]);
    let epoch = checkpoint.progress().epoch;
    assert!(epoch == epochs || (epoch + 1 == epochs && is_under_way), "{epoch} of {epochs} epochs");
    assert!(epoch >= epoch_before);
    epoch
}

#[test]
fn kills_at_any_moment_change_nothing() {
    let kills = kills(50);
    let epochs = 3 * kills as u64;
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    let run = |out: &str| {
        let mut command = training.command(&folder.path().join(out), epochs);
        command.args(["--resume", "--best", "test-loss", "--patience", "1000", "--lr", "0.005"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let ended = |out: &str| {
        let output = finish(run(out));
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    ended("whole");
    // Again, with nothing left to do: what it takes to start.
    let began = Instant::now();
    ended("whole");
    let start_up = began.elapsed();

    let mut random = ChaCha8Rng::seed_from_u64(1);
    let (mut epoch, mut resumptions) = (0, 0);
    let parts = folder.path().join("parts");
    for kill in 0..kills {
        let moment = match kill {
            0 => Moment::After(Duration::ZERO),
            _ if kill % 4 == 0 => Moment::Checkpoint(random.random_range(2..=3)),
            _ => Moment::After(start_up.mul_f64(random.random_range(0.0..2.0))),
        };
        assert!(kill_at(run("parts"), &parts, moment), "the run has ended before it was killed {kills} times");
        let now = check_what_is_left(&parts, epoch);
        resumptions += usize::from(now > epoch);
        epoch = now;
    }
    assert!(resumptions > kills / 5, "only {resumptions} runs were killed after a checkpoint of their own");
    ended("parts");

    let whole = folder.path().join("whole");
    assert_eq!(course(&whole).len() as u64, epochs * (STEPS_AN_EPOCH + 1));
    assert_eq!(course(&parts), course(&whole));
    let newest = |out: &Path| RunFolder::newest_checkpoint(out).unwrap().unwrap();
    assert_eq!(newest(&parts).progress().standing, newest(&whole).progress().standing);
    for file in ["model.onnx".to_owned(), format!("checkpoints/epoch-{epochs:05}/checkpoint")] {
        assert_eq!(fs::read(parts.join(&file)).unwrap(), fs::read(whole.join(&file)).unwrap(), "{file}");
    }
    let best = newest(&whole).progress().standing.best.unwrap().epoch;
    let best = format!("checkpoints/epoch-{best:05}/checkpoint");
    assert_eq!(fs::read(parts.join(&best)).unwrap(), fs::read(whole.join(&best)).unwrap());
}

#[test]
fn stops_within_an_epoch_change_nothing() {
    // Far more than are over before a signal arrives.
    const EPOCHS: u64 = 300;
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    let run = |out: &Path| {
        let mut command = training.command(out, EPOCHS);
        heed_hangups(&mut command);
        command.arg("--resume").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    assert!(finish(run(&whole)).status.success());
    for (signal_name, more) in [("-TERM", 1), ("-INT", 2), ("-HUP", 9)] {
        let before = steps(&parts).len();
        let mut child = run(&parts);
        wait_for_steps(&mut child, &parts, before + more);
        signal(&child, signal_name);
        let output = finish(child);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let progress = RunFolder::newest_checkpoint(&parts).unwrap().unwrap().progress().clone();
        assert_eq!(Some(&progress.step), steps(&parts).last());
        assert!(progress.epoch < EPOCHS, "the run has ended before it was stopped");
    }
    assert!(finish(run(&parts)).status.success());
    assert_eq!(course(&parts), course(&whole));
    let model = |out: &Path| fs::read(out.join("model.onnx")).unwrap();
    assert_eq!(model(&parts), model(&whole));
}

/// A model one of whose steps takes minutes, and its data.
fn endless(folder: &Path) -> (PathBuf, PathBuf) {
    const SIZE: usize = 2048;
    const LAYERS: usize = 12;
    let mut model = forward::empty();
    let graph = forward::graph(&mut model);
    graph.input = vec![info("x", DataType::Float, &format!("batch,{SIZE}"))];
    for layer in 0..LAYERS {
        let (from, to) = (if layer == 0 { "x".to_owned() } else { format!("h{layer}") }, format!("h{}", layer + 1));
        let weights =
            (0..SIZE * SIZE).flat_map(|i| (((i * 7919) % 101) as f32 * 1e-5).to_le_bytes()).collect::<Vec<_>>();
        let name = format!("w{layer}");
        graph.initializer.push(TensorProto::raw(&name, DataType::Float, &[SIZE as i64; 2], weights.into()));
        graph.node.push(forward::node("MatMul", &[&from, &name], &to));
    }
    graph.output.push(info(&format!("h{LAYERS}"), DataType::Float, &format!("batch,{SIZE}")));
    let data = folder.join("data");
    fs::create_dir(&data).unwrap();
    for (name, columns) in [("x_train.npy", SIZE), ("y_train.npy", SIZE)] {
        let samples = Array2::from_shape_fn((4096, columns), |(n, i)| ((n * 31 + i) % 17) as f32 / 17.0);
        samples.write_npy(fs::File::create(data.join(name)).unwrap()).unwrap();
    }
    (forward::write(&model, &folder.join("model.onnx")), data)
}

/// The step would go on for far longer than is waited here.
#[test]
fn sigterm_does_not_wait_for_a_step() {
    let folder = tempfile::tempdir().unwrap();
    let (model, data) = endless(folder.path());
    for moment in ["trains   ", "training with"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gnp-run"));
        command.arg(&model).arg("--data").arg(&data).arg("--out").arg(folder.path().join("out"));
        command.args(["--epochs", "1", "--batch-size", "4096", "--engine", "tract", "--loss", "mse", "--threads", "1"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains(moment) {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "it has ended early");
        }
        signal(&child, "-TERM");
        let asked = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(asked.elapsed() < Duration::from_secs(10), "it goes on after SIGTERM");
            sleep(Duration::from_millis(10));
        }
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(143), "{rest}");
        assert!(rest.contains("ended amid a step"), "{rest}");
    }
}

#[test]
fn nohup_is_heeded() {
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    let out = folder.path().join("out");
    let command = training.command(&out, 30);
    let mut nohup = Command::new("nohup");
    nohup.arg(command.get_program()).args(command.get_args());
    let mut child = nohup.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_steps(&mut child, &out, 3);
    signal(&child, "-HUP");
    assert!(finish(child).status.success());
    assert_eq!(RunFolder::newest_checkpoint(&out).unwrap().unwrap().progress().epoch, 30);
}
