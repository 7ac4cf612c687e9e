//! `gnp-rewrite` as a user runs it.

use super::models;
use assert_cmd::Command;
use gnp::onnx::proto::tensor_proto::DataLocation;
use gnp::onnx::proto::{ModelProto, NodeProto, StringStringEntryProto, TensorProto};
use gnp::onnx::{self, DataType};
use prost::Message as _;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub fn gnp_rewrite() -> Command {
    Command::cargo_bin("gnp-rewrite").unwrap()
}

pub fn mlp() -> PathBuf {
    models().join("mlp/training_model.onnx")
}

/// The training model of the MLP, decoded.
pub fn mlp_proto() -> ModelProto {
    onnx::read(mlp()).unwrap().into_proto()
}

/// The MLP's training model, edited.
pub fn edited(edit: impl FnOnce(&mut ModelProto)) -> Vec<u8> {
    let mut model = mlp_proto();
    edit(&mut model);
    model.encode_to_vec()
}

/// The first node of the graph that applies `operator`.
pub fn node<'m>(model: &'m mut ModelProto, operator: &str) -> &'m mut NodeProto {
    model.graph.as_mut().unwrap().node.iter_mut().find(|n| n.op_type() == operator).unwrap()
}

/// Adds an initializer, `table`, whose 16 bytes are in the file `location`.
pub fn external_table(location: &str) -> impl FnOnce(&mut ModelProto) {
    let entry = |key: &str, value: &str| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) };
    let tensor = TensorProto {
        name: Some("table".into()),
        dims: vec![4],
        data_type: Some(DataType::Float as i32),
        data_location: Some(DataLocation::External as i32),
        external_data: vec![entry("location", location), entry("length", "16")],
        ..Default::default()
    };
    |m| m.graph.as_mut().unwrap().initializer.push(tensor)
}

/// Every file below `folder` with its bytes.
pub fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

/// Checks that `command` fails with exit code 2, says one error on standard error and nothing on standard output, and
/// does not panic. Returns what it says.
#[track_caller]
pub fn refusal(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(said.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[track_caller]
pub fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}
