//! What is never replaced, whatever `--force` says: what is no regular file, and what a command reads. What is never
//! waited for: inputs that are no files.
#![cfg(unix)]
use crate::support::command::{assert_says, gnp_rewrite, refusal};
use crate::support::forward::{network, write, write_with_data};
use crate::support::models;
use crate::support::run::Training;
use gnp::onnx;
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is in a folder, links not followed: name, kind and inode, mode, and the bytes of files and targets of links.
fn state(folder: &Path) -> Vec<(PathBuf, u64, u32, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        let content = match metadata.file_type() {
            kind if kind.is_file() => fs::read(&path).unwrap(),
            kind if kind.is_symlink() => fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
            _ => Vec::new(),
        };
        if metadata.is_dir() {
            found.extend(state(&path));
        }
        found.push((path, metadata.ino(), metadata.mode(), content));
    }
    found.sort();
    found
}

/// Names of what is no file, in `folder`, with what each is called.
fn no_files(folder: &Path) -> Vec<(PathBuf, &'static str)> {
    let path = |name: &str| folder.join(name);
    for (name, target) in [("link", "target"), ("dangling", "nothing"), ("to-null", "/dev/null")] {
        symlink(target, path(name)).unwrap();
    }
    fs::write(path("target"), "of another").unwrap();
    drop(UnixListener::bind(path("socket")).unwrap());
    assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
    let mut all = vec![
        (path("link"), "a symbolic link"),
        (path("dangling"), "a symbolic link"),
        (path("to-null"), "a symbolic link"),
        (path("socket"), "a socket"),
        (path("pipe"), "a named pipe"),
    ];
    // A device of our own, where we may make one.
    if Command::new("mknod").arg(path("device")).args(["c", "1", "3"]).output().is_ok_and(|made| made.status.success())
    {
        all.push((path("device"), "a device"));
    }
    all
}

#[test]
fn what_is_no_file_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let places = folder.path().join("places");
    fs::create_dir(&places).unwrap();
    let places = no_files(&places);
    let model = write(&network(), &folder.path().join("model.onnx"));
    let training = Training::new(folder.path());
    let before = state(&folder.path().join("places"));
    for (place, what) in &places {
        for force in [&[][..], &["--force"]] {
            let said = refusal(gnp_rewrite().arg(&model).arg("-o").arg(place).args(force));
            assert_says(&said, &[what, "only files are replaced", "choose another name"]);
            let said =
                refusal(gnp_rewrite().arg(models().join("mlp/training_model.onnx")).arg("-o").arg(place).args(force));
            assert_says(&said, &[what]);
            let mut run = training.command(&folder.path().join("out"), 1);
            run.arg("-o").arg(place).args(force);
            assert_says(&refusal(&mut assert_cmd::Command::from_std(run)), &[what]);
        }
        let mut report = Command::new(env!("CARGO_BIN_EXE_gnp-run"));
        report.args(["report", "--force", "-o"]).arg(place).arg(folder.path().join("run"));
        assert_says(&refusal(&mut assert_cmd::Command::from_std(report)), &[what]);
    }
    assert_eq!(state(&folder.path().join("places")), before);
    assert!(!folder.path().join("out").exists());
    let pipe = fs::symlink_metadata(folder.path().join("places/pipe")).unwrap();
    assert!(pipe.file_type().is_fifo());
}

#[test]
fn a_runs_files_are_not_written_through_links() {
    for name in ["metrics.jsonl", "config.toml", "report.html", "outcome.json", "model.onnx"] {
        for what in ["a symbolic link", "a named pipe"] {
            let folder = tempfile::tempdir().unwrap();
            let training = Training::new(folder.path());
            let out = folder.path().join("out");
            let run = |more: &[&str], epochs| {
                let mut run = training.command(&out, epochs);
                run.args(more);
                assert_cmd::Command::from_std(run)
            };
            run(&[], 1).assert().success();
            fs::remove_file(out.join(name)).unwrap();
            let mine = folder.path().join("mine");
            fs::write(&mine, "mine").unwrap();
            if what == "a symbolic link" {
                symlink(&mine, out.join(name)).unwrap();
            } else {
                assert!(Command::new("mkfifo").arg(out.join(name)).status().unwrap().success());
            }
            for mode in ["--resume", "--force"] {
                assert_says(&refusal(&mut run(&[mode], 2)), &[&format!("{name}: is "), what]);
            }
            assert_eq!(fs::read(&mine).unwrap(), b"mine");
        }
    }
}

#[test]
fn inputs_are_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let training = Training::new(folder.path());
    let model = path("network.onnx");
    for name in ["labels.npy", "weights.txt", "config.toml"] {
        fs::write(path(name), "1 1 1").unwrap();
    }
    fs::write(path("config.toml"), "lr = 0.01\n").unwrap();
    symlink("network.onnx", path("link.onnx")).unwrap();
    fs::hard_link(&model, path("hard.onnx")).unwrap();
    fs::create_dir(path("sub")).unwrap();
    symlink(folder.path(), path("sub/back")).unwrap();
    let before = state(folder.path());
    let spellings = ["network.onnx", "./network.onnx", "sub/../network.onnx", "hard.onnx", "sub/back/network.onnx"];
    for input in ["network.onnx", "link.onnx", "hard.onnx"] {
        for output in spellings {
            let mut rewrite = gnp_rewrite();
            rewrite.current_dir(&folder).args([input, "--force", "-o", output]);
            assert_says(&refusal(&mut rewrite), &["which the command reads", "choose another name"]);
        }
    }
    let mut rewrite = gnp_rewrite();
    rewrite.current_dir(&folder).args(["network.onnx", "--class-weights-file", "weights.txt", "-fo", "weights.txt"]);
    assert_says(&refusal(&mut rewrite), &["would replace `weights.txt`, which the command reads"]);
    let mut rewrite = gnp_rewrite();
    rewrite.arg(models().join("mlp")).arg("--force").arg("-o").arg(models().join("../models/mlp"));
    assert_says(&refusal(&mut rewrite), &["the folder to write is the one that is read"]);
    let more: [&[&str]; 2] = [&["--config", "config.toml"], &["--forward", "network.onnx"]];
    for (more, output) in [
        (more[0], "config.toml"),
        (more[1], "network.onnx"),
        (more[1], "hard.onnx"),
        (&[], "data.npz"),
        (&[], "sub/back/data.npz"),
        (&[], "network.step.onnx"),
    ] {
        let mut run = training.command(&path("out"), 1);
        run.current_dir(&folder).args(more).args(["--force", "-o", output]);
        assert_says(&refusal(&mut assert_cmd::Command::from_std(run)), &["which the command reads"]);
    }
    assert_eq!(state(folder.path()), before);
    // A run in a folder where its model is a result of that name.
    let mut run = training.command(&path("out"), 1);
    assert!(run.output().unwrap().status.success());
    let kept = state(&path("out"));
    for mode in ["--force", "--resume"] {
        let mut run = Command::new(env!("CARGO_BIN_EXE_gnp-run"));
        run.current_dir(&folder).args([
            "out/model.onnx",
            "--data",
            "data.npz",
            "--epochs",
            "1",
            "--out",
            "sub/../out",
            mode,
        ]);
        let said = refusal(&mut assert_cmd::Command::from_std(run));
        assert_says(&said, &["would replace `out/model.onnx`, which the command reads", "--out"]);
    }
    assert_eq!(state(&path("out")), kept);
}

/// The data of a model: four floats.
const BYTES: [u8; 16] = [0, 0, 0, 62, 0, 0, 0, 62, 0, 0, 0, 62, 0, 0, 0, 62];

/// A network with weights in a file of this name.
fn with_data(folder: &Path, name: &str) -> PathBuf {
    write_with_data(&folder.join("model.onnx"), name, &BYTES)
}

#[test]
fn the_models_own_data_are_not_replaced() {
    // The second is what the step model's own file would be called.
    for (data, output) in [("weights.bin", "weights.bin"), ("step.onnx.zeros", "step.onnx.zeros")] {
        let folder = tempfile::tempdir().unwrap();
        let model = with_data(folder.path(), data);
        symlink(data, folder.path().join("link")).unwrap();
        fs::hard_link(folder.path().join(data), folder.path().join("hard")).unwrap();
        let before = state(folder.path());
        for output in [output, "link", "hard", "./hard"] {
            let mut rewrite = gnp_rewrite();
            rewrite.current_dir(&folder).arg(&model).args(["--force", "-o", output]);
            refusal(&mut rewrite);
            let training = tempfile::tempdir().unwrap();
            let training = Training::new(training.path());
            let mut run = Command::new(env!("CARGO_BIN_EXE_gnp-run"));
            run.current_dir(&folder)
                .arg(&model)
                .arg("--data")
                .arg(&training.data)
                .args(["--epochs", "1", "--engine", "tract"]);
            run.args(["--out", "out", "--force", "-o", output]);
            refusal(&mut assert_cmd::Command::from_std(run));
        }
        assert_eq!(state(folder.path()), before);
    }
}

#[test]
fn a_model_chooses_no_names_of_hidden_files_or_programs() {
    for (name, placed) in [
        (".bashrc", "step.onnx.bashrc"),
        (".git/hooks/pre-commit", "step.onnx.pre-commit"),
        ("conftest.py", "step.onnx.conftest.py.data"),
        ("onnxruntime/__init__.py", "step.onnx.__init__.py.data"),
        ("libonnxruntime.so.1", "step.onnx.libonnxruntime.so.1.data"),
        ("run.sh", "step.onnx.run.sh.data"),
        ("taken.bin", "step.onnx.taken.bin"),
        ("led/out.bin", "step.onnx.out.bin"),
        ("sub/weights.bin", "sub/weights.bin"),
        ("weights.bin", "weights.bin"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (from, to, elsewhere) =
            (folder.path().join("from"), folder.path().join("to"), folder.path().join("elsewhere"));
        [&from, &to, &elsewhere].into_iter().for_each(|folder| fs::create_dir(folder).unwrap());
        let model = with_data(&from, name);
        fs::set_permissions(from.join(name), Permissions::from_mode(0o755)).unwrap();
        fs::write(to.join("taken.bin"), "of another").unwrap();
        symlink(&elsewhere, to.join("led")).unwrap();
        let rewrite = |more: &[&str]| {
            let mut rewrite = gnp_rewrite();
            rewrite.arg(&model).arg("-o").arg(to.join("step.onnx")).args(more);
            String::from_utf8(rewrite.assert().success().get_output().stdout.clone()).unwrap()
        };
        let line = |verb: &str| format!("Its data {verb} beside it: {placed}.\n");
        assert_says(&rewrite(&["--dry-run"]), &[&line("would be placed")]);
        assert_eq!(state(&elsewhere), []);
        assert_says(&rewrite(&[]), &[&line("lie")]);
        let data = to.join(placed);
        assert_eq!(fs::read(&data).unwrap(), BYTES);
        assert_eq!(data.metadata().unwrap().mode() & 0o111, 0, "{placed} can be run");
        assert!(!name.starts_with('.') || !to.join(name).exists());
        assert_eq!(fs::read(to.join("taken.bin")).unwrap(), b"of another");
        assert_eq!(state(&elsewhere), []);
        onnx::read(to.join("step.onnx")).unwrap();
    }
}

#[test]
fn inputs_that_are_no_files_are_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let training = Training::new(folder.path());
    fs::create_dir(path("places")).unwrap();
    let mut places = no_files(&path("places"));
    places.retain(|(place, _)| place.exists() && !place.ends_with("link"));
    places.push((PathBuf::from("/dev/zero"), "a device"));
    for (place, what) in &places {
        let what = if place.ends_with("to-null") { "a device" } else { what };
        let run = |model: &Path, data: &Path, more: &[&str]| {
            let mut run = assert_cmd::Command::cargo_bin("gnp-run").unwrap();
            run.timeout(std::time::Duration::from_secs(20));
            run.arg(model).arg("--data").arg(data).arg("--out").arg(path("out")).args(["--epochs", "1"]).args(more);
            refusal(&mut run)
        };
        let name = place.to_str().unwrap();
        let (model, data) = (&training.step, &training.data);
        let says = [
            refusal(gnp_rewrite().arg(place).arg("-o").arg(path("step.onnx"))),
            refusal(gnp_rewrite().arg(model).args(["--class-weights-file", name, "-o"]).arg(path("new.onnx"))),
            run(place, data, &[]),
            run(model, place, &[]),
            run(model, data, &["--config", name]),
            run(model, data, &["--test-data", name]),
            run(model, data, &["--labels", name]),
            run(model, data, &["--forward", name]),
            run(model, data, &["--ort-lib", name]),
        ];
        for said in says {
            assert_says(&said, &[name, what]);
        }
    }
    assert!(!path("out").exists());
}

#[test]
fn what_lies_among_data_and_is_no_file_is_not_waited_for() {
    for name in [
        "x_train.npy",
        "train-images-idx3-ubyte",
        "data_batch_1.bin",
        "train/cat/1.png",
        "data.npz",
        "data.safetensors",
        "table.csv",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let training = Training::new(folder.path());
        let data = folder.path().join("data");
        let pipe = data.join(name);
        fs::create_dir_all(pipe.parent().unwrap()).unwrap();
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let given =
            if name.ends_with(".npz") || name.ends_with("ors") || name.ends_with(".csv") { &pipe } else { &data };
        let mut run = assert_cmd::Command::cargo_bin("gnp-run").unwrap();
        run.timeout(std::time::Duration::from_secs(20));
        run.arg(&training.step).arg("--data").arg(given).args(["--target", "y"]).args(["--epochs", "1"]);
        refusal(run.arg("--out").arg(folder.path().join("out")));
    }
}
