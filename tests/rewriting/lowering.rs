//! What is lowered computes what the operators of the standard do in training: against ONNX Runtime, the expected
//! outputs of the standard's own cases, and its reference implementation (`tests/python/lowering.py`).
use crate::support::python;
use gnp::autodiff::Gradients;
use gnp::contract::{SEED, STEP};
use gnp::graph::{Builder, Graph, scalar_info};
use gnp::lowering::{BatchNorm, Computes, Dropout, Random, Settings, expand, lower};
use gnp::normalise::normalise;
use gnp::onnx::proto::ValueInfoProto;
use gnp::onnx::{self, DataType, WriteOptions};
use gnp::shapes::analyse;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Lowers `before.onnx` as `choices` beside it says, and writes `after.onnx`, in which what a state becomes is the
/// output `next:<state>`.
fn lower_case(case: &Path) -> gnp::Result<()> {
    let words = fs::read_to_string(case.join("choices")).unwrap();
    let chosen = |word: &str| words.split_whitespace().any(|w| w == word);
    let choices = Settings {
        batch_norm: if chosen("frozen") { BatchNorm::Frozen } else { BatchNorm::Train },
        dropout: if chosen("off") { Dropout::Off } else { Dropout::Keep },
        random: if chosen("engine") { Random::Engine } else { Random::Counter },
        ..Settings::default()
    };
    let mut model = onnx::read(case.join("before.onnx"))?;
    normalise(&mut model)?;
    let facts = analyse(&model, &BTreeMap::new())?;
    let mut graph = Graph::knowing(std::mem::take(&mut model.graph), facts)?;
    let lowered = lower(&mut graph, &choices, Gradients::Standard, &Default::default())?;
    for name in [SEED, STEP].into_iter().filter(|_| lowered.draws) {
        graph.insert_input(0, scalar_info(name, DataType::Int64))?;
    }
    for pair in &lowered.state {
        let name = format!("next:{}", pair.state);
        Builder::new(&mut graph, "output").alias(&pair.next, &name)?;
        graph.insert_output(0, ValueInfoProto { name: Some(name), ..Default::default() });
    }
    expand(&mut graph, Computes::Any)?;
    graph.remove_unused();
    model.graph = graph.into_proto();
    onnx::write(model, case.join("after.onnx"), &WriteOptions::default()).map(|_| ())
}

#[test]
fn what_is_lowered_computes_what_the_standard_says() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let Some(python) = python::environment("onnx", &scripts.join("onnx-requirements.txt")) else { return };
    let oracle = |what: &str, folder: &Path| {
        python::run(Command::new(&python).args(["-W", "ignore"]).arg(scripts.join("lowering.py")).arg(what).arg(folder))
    };
    let folder = tempfile::tempdir().unwrap();
    println!("{}", oracle("make", folder.path()));
    let mut failures = Vec::new();
    for case in fs::read_dir(folder.path()).unwrap() {
        let case = case.unwrap().path();
        if let Err(error) = lower_case(&case) {
            failures.push(format!("{}: {error}", case.display()));
        }
    }
    assert_eq!(failures, [""; 0]);
    println!("{}", oracle("check", folder.path()));
}
