//! What we say of values against the standard's own shape inference, and against the arrays of its published cases.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use gnp::graph::{Dim, Facts};
use gnp::onnx;
use gnp::shapes::analyse;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use support::{models, python};

/// A value of a model: its element type and the sizes of its axes, where they are known.
type Known = (i32, Vec<Option<i64>>);

/// The models that `infer.py` wrote into `folder`, with what it knows of their values.
fn oracle(folder: &Path) -> BTreeMap<String, BTreeMap<String, Known>> {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/shapes");
    let python = python::environment("shapes", &scripts.join("requirements.txt"));
    let mut command = Command::new(python);
    command.arg(scripts.join("infer.py")).arg(folder);
    command.args(["mlp", "cnn", "vit"].map(|name| models().join(name).join("eval_model.onnx")));
    python::run(command.args(["--dim", "batch=4"]));
    serde_json::from_slice(&fs::read(folder.join("shapes.json")).unwrap()).unwrap()
}

fn facts(path: &Path) -> Facts {
    let model = onnx::read(path).unwrap();
    let has_batch = model
        .graph
        .input
        .iter()
        .filter_map(gnp::graph::Fact::declared)
        .any(|fact| fact.shape.is_some_and(|shape| shape.contains(&Dim::Symbol("batch".into()))));
    let bindings = if has_batch { BTreeMap::from([("batch".to_owned(), 4)]) } else { BTreeMap::new() };
    analyse(&model, &bindings).unwrap()
}

#[test]
fn we_know_what_onnx_knows_and_nothing_that_is_not_so() {
    if python::version().is_none() {
        return println!("skipped: needs python3 with venv");
    }
    let folder = tempfile::tempdir().unwrap();
    let (mut whole, mut cases, mut covered, mut wrong) = (0, 0, 0, Vec::new());
    for (name, values) in oracle(folder.path()) {
        let facts = facts(&folder.path().join(&name));
        let is_case = name.starts_with("case-");
        for (value, (element, sizes)) in values {
            let found = facts.get(&value);
            let known = found.and_then(|fact| fact.shape.as_deref());
            let agrees =
                |dim: &Dim, size: &Option<i64>| dim.known().is_none() || size.is_none() || dim.known() == *size;
            let consistent = known.is_none_or(|dims| {
                dims.len() == sizes.len() && dims.iter().zip(&sizes).all(|(dim, size)| agrees(dim, size))
            });
            let complete = known.is_some_and(|dims| {
                dims.len() == sizes.len()
                    && dims.iter().zip(&sizes).all(|(dim, size)| size.is_none() || dim.known().is_some())
            });
            let of_type = found.is_none_or(|fact| fact.element as i32 == element);
            if !consistent || !of_type || !(complete || is_case) {
                wrong.push(format!("{name}, {value}: {found:?}, and it is {element} {sizes:?}"));
            }
            if is_case {
                cases += 1;
                covered += usize::from(complete);
                if !complete {
                    println!("open: {name} {value}");
                }
            } else {
                whole += 1;
            }
        }
    }
    println!("{whole} values of whole models; {covered} of {cases} outputs of published cases are wholly known");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(whole > 3000 && cases > 1000, "{whole} {cases}");
}
