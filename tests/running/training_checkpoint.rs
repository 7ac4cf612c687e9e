//! `gnp-run checkpoint`: what it shows, what it converts, and what it refuses.
use crate::support::command::{assert_says, contents, refusal};
use crate::support::models;
use assert_cmd::Command;
use gnp::checkpoint::{Checkpoint, Group, Property};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

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
    // A nominal checkpoint is filled.
    succeeds(&["convert", "mlp.safetensors", "filled", "--like", "nominal"], folder.path());
    assert_eq!(Checkpoint::read(&path("filled")).unwrap(), Checkpoint::read(&path("mlp")).unwrap());
}
