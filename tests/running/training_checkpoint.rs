//! `gnp-run checkpoint`: what it shows, what it converts, and what it refuses.
use crate::support::command::{assert_says, contents, refusal};
use crate::support::{EXAMPLES, Example, models, python};
use assert_cmd::Command;
use gnp::checkpoint::{Checkpoint, Group, Property};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

fn checkpoint(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gnp-run"));
    command.current_dir(folder).arg("checkpoint").args(arguments);
    command
}

fn succeeds(arguments: &[&str], folder: &Path) -> String {
    let output = checkpoint(arguments, folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The checkpoint of `models/cnn`, as after a step.
fn stepped() -> Checkpoint {
    let mut checkpoint = Checkpoint::read(&models().join("cnn/checkpoint")).unwrap();
    let slots = checkpoint.trainable.iter().map(|(name, value)| {
        let moments = ["momentum0", "momentum1"].map(|slot| (slot.to_owned(), value.clone()));
        (name.clone(), moments.into())
    });
    let group = Group { step: 7, initial_learning_rate: 0.5, slots: slots.collect() };
    checkpoint.groups.insert("group0".to_owned(), group);
    let properties = [
        ("epoch", Property::Int(3)),
        ("loss", Property::Float(0.25)),
        ("a\nnote", Property::Text("two\nlines".to_owned())),
    ];
    checkpoint.properties.extend(properties.map(|(name, value)| (name.to_owned(), value)));
    checkpoint
}

#[test]
fn all_that_is_in_a_checkpoint_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    stepped().write(&folder.path().join("stepped"), false).unwrap();
    let text = succeeds(&["show", "stepped"], folder.path());
    let line = |start: &str| -> Vec<&str> {
        let line = text.lines().find(|line| line.trim_start().starts_with(start)).unwrap_or_else(|| panic!("{text}"));
        line.split_whitespace().collect()
    };
    assert_eq!(
        line("conv1.weight "),
        ["conv1.weight", "[8,", "1,", "3,", "3]", "float32", "trains", "momentum0,", "momentum1"]
    );
    assert_eq!(line("bn1.running_mean "), ["bn1.running_mean", "[8]", "float32", "frozen"]);
    assert_eq!(line("group0 "), ["group0", "7", "0.5", "10"]);
    assert_eq!(line("epoch "), ["epoch", "int", "3"]);
    assert_eq!(line("loss "), ["loss", "float", "0.25"]);
    assert_eq!(line("a\\u000anote "), ["a\\u000anote", "text", "two\\u000alines"]);

    let shown: Value = serde_json::from_str(&succeeds(&["show", "stepped", "--json"], folder.path())).unwrap();
    assert_eq!(shown["properties"], json!({ "epoch": 3, "loss": 0.25, "a\nnote": "two\nlines" }));
    assert_eq!(shown["optimizer_groups"][0]["steps"], 7);
    assert_eq!(shown["parameters"].as_array().unwrap().len(), 14);
    let parameter = |name: &str| shown["parameters"].as_array().unwrap().iter().find(|p| p["name"] == name).unwrap();
    let slot = json!({ "shape": [8], "type": "float32" });
    let expected = json!({
        "name": "bn1.bias",
        "shape": [8],
        "type": "float32",
        "trains": true,
        "optimizer_state": { "group0": { "momentum0": slot, "momentum1": slot } },
    });
    assert_eq!(parameter("bn1.bias"), &expected);
    assert_eq!(parameter("bn1.running_var")["trains"], false);
}

#[test]
fn parameters_go_to_safetensors_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let stepped = stepped();
    stepped.write(&path("stepped"), false).unwrap();
    assert_eq!(succeeds(&["convert", "stepped", "w.safetensors"], folder.path()), "w.safetensors\n");
    let bytes = fs::read(path("w.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.len(), 14);
    let weight = tensors.tensor("conv1.weight").unwrap();
    assert_eq!((weight.shape(), weight.data()), (&[8, 1, 3, 3][..], &stepped.trainable["conv1.weight"].data()[..]));

    // Other numbers, under the same names.
    let doubled = tensors.iter().map(|(name, view)| {
        let numbers = view.data().as_chunks().0.iter().flat_map(|&x| (f32::from_le_bytes(x) * 2.0).to_le_bytes());
        (name.to_owned(), (view.shape().to_vec(), numbers.collect::<Vec<u8>>()))
    });
    let doubled: Vec<_> = doubled.collect();
    let views = doubled.iter().map(|(name, (shape, data))| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), data).unwrap();
        (name, view)
    });
    fs::write(path("twice.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    succeeds(&["convert", "twice.safetensors", "new", "--like", "stepped"], folder.path());
    let new = Checkpoint::read(&path("new")).unwrap();
    assert_eq!((&new.groups, &new.properties), (&stepped.groups, &stepped.properties));
    assert!(new.trainable.keys().eq(stepped.trainable.keys()) && new.frozen.keys().eq(stepped.frozen.keys()));
    for (name, (_, data)) in &doubled {
        let value = new.trainable.get(name).or_else(|| new.frozen.get(name)).unwrap();
        assert!(value.data()[..] == data[..], "{name}");
    }
}

#[test]
fn what_cannot_be_converted_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for model in ["mlp", "cnn"] {
        fs::copy(models().join(model).join("checkpoint"), path(model)).unwrap();
    }
    fs::copy(models().join("../tests/fixtures/checkpoint/nominal_checkpoint"), path("nominal")).unwrap();
    succeeds(&["convert", "mlp", "mlp.safetensors"], folder.path());
    let whole = fs::read(path("mlp")).unwrap();
    fs::write(path("half"), &whole[..whole.len() / 2]).unwrap();
    let mut reshaped = Checkpoint::read(&path("mlp")).unwrap();
    let flat = reshaped.trainable["fc1.weight"].clone();
    let flat = gnp::checkpoint::Value::new(flat.element(), vec![flat.data().len() / 4], flat.data().clone()).unwrap();
    reshaped.trainable.insert("fc1.weight".to_owned(), flat);
    reshaped.write(&path("reshaped"), false).unwrap();
    let mut fewer = Checkpoint::read(&path("mlp")).unwrap();
    fewer.trainable.remove("fc1.weight");
    fewer.write(&path("fewer"), false).unwrap();
    let before = contents(folder.path());
    let like = |checkpoint: &'static str| vec!["convert", "mlp.safetensors", "new", "--like", checkpoint];
    for (arguments, says) in [
        (vec!["show", "mlp.safetensors"], &["mlp.safetensors: ", "it is no training checkpoint"][..]),
        (vec!["show", "nothing"], &["nothing: cannot open the file"]),
        (vec!["show", "."], &["it is a folder; expected a file"]),
        (vec!["show", "half"], &["half: the checkpoint is damaged", "make the artifacts again"]),
        (vec!["convert", "nominal", "new"], &["the checkpoint is nominal"]),
        (vec!["convert", "mlp", "mlp.safetensors"], &["the file exists already", "--force"]),
        (vec!["convert", "mlp", "./mlp", "--force"], &["is read by the command"]),
        (vec!["convert", "mlp.safetensors", "new"], &["what trains cannot be told", "give --like"]),
        (vec!["convert", "half", "new", "--like", "mlp"], &["leave --like out"]),
        (like("cnn"), &["mlp.safetensors: ", "`bn1.bias` is missing"]),
        (like("fewer"), &["`fc1.weight` is no parameter of the checkpoint"]),
        (like("reshaped"), &["`fc1.weight` is float32 [256, 64]; the checkpoint has float32 [16384]"]),
    ] {
        assert_says(&refusal(&mut checkpoint(&arguments, folder.path())), says);
        assert_eq!(contents(folder.path()), before, "{arguments:?}");
    }
    // A nominal checkpoint has no shapes, and is filled.
    let shown = succeeds(&["show", "nominal"], folder.path());
    assert!(shown.contains("fc1.bias     unknown   float32   trains"), "{shown}");
    let shown: Value = serde_json::from_str(&succeeds(&["show", "nominal", "--json"], folder.path())).unwrap();
    assert_eq!((&shown["nominal"], &shown["parameters"][0]["shape"]), (&json!(true), &Value::Null));
    succeeds(&["convert", "mlp.safetensors", "filled", "--like", "nominal"], folder.path());
    assert_eq!(Checkpoint::read(&path("filled")).unwrap(), Checkpoint::read(&path("mlp")).unwrap());
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// Runs the application on the checkpoint at `from`, which it trains and saves at `to`. Returns what it reports, with the
/// elements of the parameters that it has loaded in `to` with the ending `loaded`.
fn apply(python: &Path, example: &Example, from: &Path, to: &Path, more: &[&OsStr]) -> Value {
    let mut command = python::training_script(python, "checkpoint_app.py");
    command.args([&models().join(example.name), from, to, &with_ending(to, ".loaded")]);
    command.arg("--shape").args(example.sample.iter().map(usize::to_string)).args(more);
    let printed = python::run(&mut command);
    serde_json::from_str(printed.lines().last().unwrap()).unwrap()
}

/// What the application has loaded is what we read.
fn assert_loaded(report: &Value, to: &Path, checkpoint: &Checkpoint) {
    for (kind, parameters) in [("trainable", &checkpoint.trainable), ("frozen", &checkpoint.frozen)] {
        let mut names: Vec<_> = report[kind].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        names.sort_unstable();
        assert!(parameters.keys().eq(&names), "{report}");
        for (name, value) in parameters {
            assert!(fs::read(with_ending(to, ".loaded").join(name)).unwrap() == value.data()[..], "{name}");
        }
    }
}

/// Python's `CheckpointState` and we read what the other writes, and training goes on as if nothing had been written.
#[test]
fn an_application_in_python_trains_on_from_what_we_write() {
    let Some(python) = python::training() else { return };
    let folder = tempfile::tempdir().unwrap();
    for example in &EXAMPLES[..2] {
        let path = |name: &str| folder.path().join(format!("{}-{name}", example.name));
        let saved = path("saved");
        let first = apply(&python, example, &models().join(example.name).join("checkpoint"), &saved, &[]);
        let read = Checkpoint::read(&saved).unwrap();
        let properties = [
            ("epoch", Property::Int(-3)),
            ("loss", Property::Float(0.25)),
            ("note", Property::Text("grüße".to_owned())),
        ];
        assert_eq!(read.properties, properties.map(|(name, value)| (name.to_owned(), value)).into());
        assert_eq!((read.groups["group0"].step, read.groups.len()), (3, 1));

        let written = path("written");
        read.write(&written, false).unwrap();
        let beside = path("beside");
        read.write_external_from(&beside, false, 0).unwrap();
        let after = [saved, written, beside].map(|checkpoint| {
            let to = with_ending(&checkpoint, ".after");
            let report = apply(&python, example, &checkpoint, &to, &[]);
            assert_loaded(&report, &to, &read);
            assert_eq!(report["properties"], json!({ "epoch": -3, "loss": 0.25, "note": "grüße" }));
            assert_eq!(report["losses"], first["more_losses"], "{}", example.name);
            Checkpoint::read(&to).unwrap()
        });
        assert!(after.iter().all(|checkpoint| *checkpoint == after[0]), "{}", example.name);
        // What was loaded from two files is saved as two.
        assert!(!path("written.after.data").exists() && path("beside.after.data").exists());
    }
}

#[test]
fn an_application_in_python_fills_a_nominal_checkpoint_that_we_write() {
    let Some(python) = python::training() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let fixture = models().join("../tests/fixtures/checkpoint/nominal_checkpoint");
    Checkpoint::read(&fixture).unwrap().write(&path("nominal"), false).unwrap();
    let from = models().join("mlp/checkpoint");
    let whole = apply(&python, &EXAMPLES[0], &from, &path("whole"), &[]);
    let filled =
        apply(&python, &EXAMPLES[0], &from, &path("filled"), &["--fill".as_ref(), path("nominal").as_os_str()]);
    assert_eq!(whole, filled);
    assert_loaded(&filled, &path("filled"), &Checkpoint::read(&from).unwrap());
    let saved = Checkpoint::read(&path("filled")).unwrap();
    assert!(!saved.nominal);
    assert_eq!(saved, Checkpoint::read(&path("whole")).unwrap());
}

/// A checkpoint that the runtime itself has written with a data file is read, and what we write of it is trained on.
#[test]
#[ignore = "takes minutes, 9 GiB of memory and 4 GiB of disk: cargo test --test running -- --ignored data_file"]
fn a_data_file_of_the_runtime_is_read() {
    let Some(python) = python::training() else { return };
    let folder = tempfile::tempdir().unwrap();
    let artifacts = folder.path().join("artifacts");
    let path = |name: &str| artifacts.join(name);
    let size = |name: &str| fs::metadata(path(name)).unwrap().len();
    let script = || python::training_script(&python, "large_checkpoint.py");
    let optimizer = models().join("sgd_optimizer.onnx");
    let printed = python::run(script().arg("make").args([&models().join("mlp"), &optimizer, &artifacts]));
    let ends: BTreeMap<String, [f32; 2]> = serde_json::from_str(printed.lines().last().unwrap()).unwrap();

    let made = Checkpoint::read(&path("checkpoint")).unwrap();
    assert!(made.trainable.keys().eq(ends.keys()));
    for (name, value) in &made.trainable {
        let mut elements = value.f32s().unwrap();
        assert_eq!([elements.next().unwrap(), elements.last().unwrap()], ends[name], "{name}");
    }
    let bytes: usize = made.trainable.values().map(|value| value.data().len()).sum();
    // The bias of the ten classes is too small.
    assert_eq!(size("checkpoint.data"), bytes as u64 - 40);
    made.write(&path("written"), false).unwrap();
    assert_eq!(size("written.data"), size("checkpoint.data"));
    assert!(Checkpoint::read(&path("written")).unwrap() == made);
    let bias = made.trainable["fc3.bias"].data().to_vec();
    drop(made);
    fs::remove_file(path("checkpoint.data")).unwrap();

    let printed = python::run(script().arg("train").args([&artifacts, &path("written"), &path("saved")]));
    let losses: [f64; 2] = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    assert!(losses[1] < losses[0], "{losses:?}");
    // What was loaded from two files is saved as two, and all of it in the second.
    assert_eq!(size("saved.data"), bytes as u64);
    assert_ne!(Checkpoint::read(&path("saved")).unwrap().trainable["fc3.bias"].data(), &bias);
}
