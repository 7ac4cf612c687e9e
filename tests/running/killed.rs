//! What killed processes leave: with every engine, in sweeps, with `--force`. Few kills, or as many as `GNP_KILLS`
//! says.
#![cfg(unix)]
use crate::support::kills::{kill_after, kills, time};
use crate::support::run::{Training, course};
use crate::support::{models, training_runtime};
use gnp::engine::runtime;
use gnp::onnx;
use gnp::train::RunFolder;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const GNP_RUN: &str = env!("CARGO_BIN_EXE_gnp-run");
const GNP_REWRITE: &str = env!("CARGO_BIN_EXE_gnp-rewrite");

/// Moments in `whole`, for ever.
fn moments(seed: u64, whole: Duration) -> impl Iterator<Item = Duration> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    std::iter::repeat_with(move || whole.mul_f64(random.random_range(0.0..0.9)))
}

/// Has `attempt` start a process and kill it at moments in `whole`, until that has come too late for none of `count`
/// kills. `attempt` is told which attempt it is.
#[track_caller]
fn until_killed(count: usize, seed: u64, whole: Duration, mut attempt: impl FnMut(usize, Duration) -> bool) -> usize {
    let (mut killed, mut attempts) = (0, 0);
    for moment in moments(seed, whole) {
        killed += usize::from(attempt(attempts, moment));
        attempts += 1;
        if killed == count {
            break;
        }
        assert!(attempts < 50 * count, "only {killed} of {attempts} were killed");
    }
    attempts
}

/// The names in a folder that are nobody's results.
fn left_over(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('.')).collect()
}

#[test]
fn runs_with_every_engine() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    let (data, digits) = (training.data.clone(), models().join("digits.npz"));
    let stock = runtime::install_onnxruntime(&mut |_| {}).unwrap().library;
    let trainer = training_runtime().library;
    let engines: [(&str, &Path, &Path, Option<&Path>); 3] = [
        ("tract", &training.step, &data, None),
        ("onnxruntime", &training.step, &data, Some(&stock)),
        ("ort-training", &models().join("mlp"), &digits, Some(&trainer)),
    ];
    let count = kills(12).div_ceil(engines.len());
    for (number, (engine, model, data, library)) in engines.into_iter().enumerate() {
        let run = |out: &Path, epochs: usize| {
            let mut command = Command::new(GNP_RUN);
            command.arg(model).arg("--data").arg(data).arg("--out").arg(out).args(["--engine", engine, "--resume"]);
            command.args(["--epochs", &epochs.to_string(), "--threads", "1", "--batch-size", "16", "--lr", "0.005"]);
            library.map(|library| command.arg("--ort-lib").arg(library));
            command
        };
        let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(format!("{name}-{engine}")));
        let an_epoch = time(&mut run(&whole, 2));
        let attempts = until_killed(count, number as u64, an_epoch, |attempt, moment| {
            // Never done before the last kill.
            let killed = kill_after(&mut run(&parts, attempt + 3), moment);
            if let Some(checkpoint) = RunFolder::newest_checkpoint(&parts).unwrap() {
                assert_eq!(checkpoint.damaged(), [""; 0]);
            }
            killed
        });
        time(&mut run(&whole, attempts + 3));
        time(&mut run(&parts, attempts + 3));
        assert_eq!(course(&parts), course(&whole), "{engine}");
        let result = if parts.join("model.onnx").exists() { "model.onnx" } else { "state.safetensors" };
        assert_eq!(fs::read(parts.join(result)).unwrap(), fs::read(whole.join(result)).unwrap(), "{engine}");
        assert_eq!(left_over(&parts), [""; 0], "{engine}");
    }
}

/// The summary of a sweep without the times.
fn summary(out: &Path) -> Value {
    fn timeless(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, _| !name.contains("seconds"));
                fields.values_mut().for_each(timeless);
            }
            Value::Array(items) => items.iter_mut().for_each(timeless),
            _ => {}
        }
    }
    let mut summary = serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
    timeless(&mut summary);
    summary
}

#[test]
fn sweeps() {
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    let config = folder.path().join("sweep.toml");
    let text =
        format!("model = {:?}\ndata = {:?}\nepochs = 6\nengine = 'tract'\nlr = 0.005\n", training.step, training.data);
    fs::write(&config, text).unwrap();
    let sweep = |out: &Path| {
        let mut command = Command::new(GNP_RUN);
        command.arg("sweep").arg(&config).args(["--alpha", "0,1", "--seeds", "2", "--jobs", "2", "--out"]).arg(out);
        command.arg("--keep-weights");
        command
    };
    let whole = folder.path().join("whole");
    let duration = time(&mut sweep(&whole));
    let mut out = folder.path().join("0");
    until_killed(kills(6), 7, duration.mul_f64(0.6), |number, moment| {
        let killed = kill_after(&mut sweep(&out), moment);
        // A few kills each.
        if number % 4 == 3 || !killed {
            time(&mut sweep(&out));
            assert_eq!(summary(&out), summary(&whole));
            for run in fs::read_dir(whole.join("runs")).unwrap() {
                let run = run.unwrap().file_name();
                let [parts, whole] = [&out, &whole].map(|folder| folder.join("runs").join(&run));
                assert_eq!(course(&parts), course(&whole));
                assert_eq!(left_over(&parts), [""; 0]);
            }
            assert_eq!(left_over(&out), [""; 0]);
            fs::remove_dir_all(&out).unwrap();
            out = folder.path().join((number + 1).to_string());
        }
        killed
    });
    time(&mut sweep(&out));
    assert_eq!(summary(&out), summary(&whole));
}

/// Everything in a folder but what is hidden, with its bytes.
fn shown(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = crate::support::command::contents(folder);
    files.into_iter().filter(|(path, _)| !path.to_string_lossy().contains("/.gnp-")).collect()
}

#[test]
fn rewrites_with_force() {
    let folder = tempfile::tempdir().unwrap();
    // Two models whose data are placed beside the output.
    let model = |name: &str, value: u8| {
        let (inner, data) = (folder.path().join(name), vec![value / 4; 4 << 20]);
        fs::create_dir(&inner).unwrap();
        crate::support::forward::write_with_data(&inner.join("model.onnx"), "weights.bin", &data)
    };
    let models = [model("a", 1), model("b", 9)];
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    let rewrite = |model: &Path| {
        let mut command = Command::new(GNP_REWRITE);
        command.arg(model).args(["--force", "--loss", "cross-entropy", "-o"]).arg(out.join("step.onnx"));
        command
    };
    let count = kills(12);
    let duration = models.iter().map(|model| time(&mut rewrite(model))).max().unwrap();
    let outcomes = [0, 1].map(|model| {
        time(&mut rewrite(&models[model]));
        fs::read(out.join("step.onnx")).unwrap()
    });
    until_killed(count, 3, duration, |number, moment| {
        let killed = kill_after(&mut rewrite(&models[number % 2]), moment);
        let step = fs::read(out.join("step.onnx")).unwrap();
        assert!(outcomes.contains(&step), "the step model is neither the old nor the new");
        onnx::read(out.join("step.onnx")).unwrap();
        killed
    });
    time(&mut rewrite(&models[0]));
    assert_eq!(left_over(&out), [""; 0]);
    // Folders of artifacts are there as a whole or not at all.
    let artifacts = crate::support::models().join("mlp");
    let new = folder.path().join("new");
    let rewrite = || {
        let mut command = Command::new(GNP_REWRITE);
        command.arg(&artifacts).args(["--force", "-o"]).arg(&new);
        command
    };
    let duration = time(&mut rewrite());
    let whole = shown(&new);
    until_killed(count, 5, duration, |_, moment| {
        fs::remove_dir_all(&new).unwrap_or_default();
        let killed = kill_after(&mut rewrite(), moment);
        assert!(!new.exists() || shown(&new) == whole);
        killed
    });
    fs::remove_dir_all(&new).unwrap_or_default();
    time(&mut rewrite());
    assert_eq!(left_over(folder.path()), [""; 0]);
}

#[test]
fn runs_with_force() {
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    let (out, trained) = (folder.path().join("out"), folder.path().join("trained.onnx"));
    fs::copy(folder.path().join("network.onnx"), folder.path().join("mine.onnx")).unwrap();
    let run = || {
        let mut command = training.command(&out, 3);
        command.arg("--force").arg("-o").arg(&trained);
        command
    };
    let duration = time(&mut run());
    let (whole, result) = (course(&out), fs::read(&trained).unwrap());
    fs::write(out.join("notes.txt"), "mine").unwrap();
    until_killed(kills(12), 11, duration, |_, moment| {
        let killed = kill_after(&mut run(), moment);
        assert!(fs::read(&trained).unwrap() == result, "what was trained is lost");
        assert_eq!(fs::read(out.join("notes.txt")).unwrap(), b"mine");
        killed
    });
    time(&mut run());
    assert_eq!(course(&out), whole);
    assert_eq!([left_over(&out), left_over(folder.path())].concat(), [""; 0]);
    assert_eq!(
        fs::read(folder.path().join("mine.onnx")).unwrap(),
        fs::read(folder.path().join("network.onnx")).unwrap()
    );
}

#[test]
fn two_runs_in_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    let mut alone = training.command(&folder.path().join("alone"), 20);
    time(&mut alone);
    let whole = course(&folder.path().join("alone"));
    for number in 0..kills(12).div_ceil(4) {
        let out = folder.path().join(format!("out-{number}"));
        let start = || {
            let mut command = training.command(&out, 20);
            command.args(["--quiet", if number % 2 == 0 { "--force" } else { "--resume" }]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let ends = [start(), start()].map(|child| child.wait_with_output().unwrap());
        let codes: Vec<_> = ends.iter().map(|end| end.status.code()).collect();
        assert!(codes.contains(&Some(0)), "{codes:?}");
        for end in ends.iter().filter(|end| !end.status.success()) {
            let said = String::from_utf8_lossy(&end.stderr);
            assert_eq!(end.status.code(), Some(2), "{said}");
            assert!(said.contains("another process trains in this folder"), "{said}");
        }
        assert_eq!(course(&out), whole);
    }
}
