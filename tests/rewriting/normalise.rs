//! Normalised models compute what they computed, in ONNX Runtime: the models of the `onnx` package, every operator that
//! changed, and what exporters write.
use crate::support::python;
use gnp::normalise::{normalise, opset};
use gnp::onnx::{self, WriteOptions};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Python with the `onnx` package and ONNX Runtime, and the script that is the oracle.
fn oracle() -> Option<Command> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let python = python::environment("onnx", &folder.join("onnx-requirements.txt"))?;
    let mut command = Command::new(python);
    command.arg(folder.join("normalise.py"));
    Some(command)
}

fn cases(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn models_compute_what_they_computed() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut make) = oracle() else { return };
    println!("{}", python::run(make.arg("make").arg(folder.path())));
    let light = |case: &&PathBuf| case.file_name().unwrap().to_string_lossy().starts_with("light.");
    assert_eq!(cases(folder.path()).iter().filter(light).count(), 9);
    let mut failures = Vec::new();
    for case in cases(folder.path()) {
        let mut model = onnx::read(case.join("before.onnx")).unwrap();
        match normalise(&mut model) {
            Ok(_) => _ = onnx::write(model, case.join("after.onnx"), &WriteOptions::default()).unwrap(),
            Err(error) => failures.push(error.to_string()),
        }
    }
    assert_eq!(failures, [""; 0]);
    println!("{}", python::run(oracle().unwrap().arg("check").arg(folder.path())));
}

/// Where `GNP_OPERATOR_TABLE=write` is set, the table is written anew.
#[test]
fn the_table_of_operators_is_the_standards() {
    let Some(mut operators) = oracle() else { return };
    let printed = python::run(operators.arg("operators"));
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/model/src/schema/operators.txt");
    if std::env::var("GNP_OPERATOR_TABLE").is_ok_and(|choice| choice == "write") {
        fs::write(&table, &printed).unwrap();
    }
    assert!(printed.lines().count() > 250, "{printed}");
    assert_eq!(fs::read_to_string(table).unwrap(), printed);
}

#[test]
fn every_change_of_the_standard_is_known() {
    let Some(mut history) = oracle() else { return };
    let printed = python::run(history.arg("history"));
    assert!(printed.lines().count() > 150, "{printed}");
    let unknown = |line: &&str| {
        let (operator, version) = line.split_once(' ').unwrap();
        opset::change(operator, version.parse().unwrap()).is_none()
    };
    assert_eq!(printed.lines().filter(unknown).collect::<Vec<_>>(), [""; 0]);
}
