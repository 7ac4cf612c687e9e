//! What trains, as `gnp-rewrite` and `gnp-run` say it and as the flags change it.
use crate::support::command::{assert_says, gnp_rewrite, refusal};
use crate::support::forward::{append, graph, info, network, node, perceptron, weight, with, write};
use assert_cmd::Command;
use gnp::onnx;
use gnp::onnx::DataType;
use gnp::onnx::proto::{AttributeProto, ModelProto, TensorProto};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const FLOAT: DataType = DataType::Float;

fn fixture(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/exports").join(file)
}

/// The report of a rewrite.
#[track_caller]
fn report(model: &Path, arguments: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let mut command = gnp_rewrite();
    command.arg(model).args(["--loss", "mse", "--json", "-o"]).arg(folder.path().join("step.onnx")).args(arguments);
    serde_json::from_slice(&command.assert().success().get_output().stdout).unwrap()
}

#[track_caller]
fn report_of(model: &ModelProto, arguments: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    report(&write(model, &folder.path().join("model.onnx")), arguments)
}

/// What it prints for a person.
#[track_caller]
fn printed(model: &Path, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = gnp_rewrite();
    command.arg(model).args(["--loss", "mse", "-o"]).arg(folder.path().join("step.onnx")).args(arguments);
    String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap()
}

fn trained(report: &Value) -> Vec<&str> {
    report["parameters"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

fn reason<'r>(report: &'r Value, name: &str) -> &'r str {
    let constants = report["constants"].as_array().unwrap();
    let verdict = constants.iter().find(|verdict| verdict["name"] == name).unwrap_or_else(|| panic!("no `{name}`"));
    verdict["reason"].as_str().unwrap()
}

/// A perceptron whose logits are multiplied by a vector, `temperature` or a name that tells nothing.
fn scaled(name: &str) -> ModelProto {
    let mut model = perceptron();
    append(&mut model, node("Mul", &["logits", name], "scaled"), info("scaled", FLOAT, "batch,3"));
    graph(&mut model).initializer.push(weight(name, &[3]));
    model
}

#[test]
fn all_is_said_where_all_train() {
    let folder = tempfile::tempdir().unwrap();
    let model = write(&perceptron(), &folder.path().join("model.onnx"));
    assert_says(&printed(&model, &[]), &["trains      all 4 float constants, 67 numbers"]);
    let some = printed(&model, &["--freeze", "fc1.*"]);
    assert_says(&some, &["trains      2 of 4 float constants, 27 numbers", "Does not train: 2 of 4", "--freeze"]);
    assert!(!some.contains("all 4"), "{some}");
}

#[test]
fn a_guess_is_said_and_flags_change_it() {
    let guessed = report_of(&scaled("v"), &[]);
    assert!(trained(&guessed).contains(&"v"));
    let warnings = guessed["warnings"].to_string();
    assert_says(&warnings, &["a guess: `v` (operand of Mul, behind weights) trains; --freeze 'v' says otherwise"]);
    let frozen = report_of(&scaled("v"), &["--freeze", "v"]);
    assert!(!trained(&frozen).contains(&"v"));
    assert_eq!(frozen["warnings"].to_string(), "[]");
    let sure = report_of(&scaled("temperature"), &[]);
    assert!(trained(&sure).contains(&"temperature"));
    assert_eq!(sure["warnings"].to_string(), "[]");
}

#[test]
fn more_may_train_than_is_inferred() {
    let model = scaled("shift.mask");
    let bare = report_of(&model, &[]);
    assert_eq!(reason(&bare, "shift.mask"), "buffer, by its name");
    let more = report_of(&model, &["--also-train", "*.mask"]);
    assert_eq!(trained(&more).len(), trained(&bare).len() + 1);
    assert_eq!(reason(&more, "shift.mask"), "--also-train");
    assert_eq!(reason(&more, "fc1.weight"), reason(&bare, "fc1.weight"));
}

#[test]
fn what_the_exporter_recorded_is_the_reason() {
    let report = report(&fixture("shifted.dy.onnx"), &[]);
    assert_eq!(reason(&report, "e.weight"), "parameter, as the exporter recorded");
    assert_eq!(reason(&report, "shift"), "buffer, as the exporter recorded");
}

#[test]
fn ties_are_said_and_flags_change_them() {
    let file = fixture("tied.ts.onnx");
    let tied = report(&file, &[]);
    assert_says(
        &tied["choices"].to_string(),
        &["`onnx::MatMul_16` is `wte.weight` transposed", "--untie onnx::MatMul_16"],
    );
    assert_eq!(trained(&report(&file, &["--untie", "onnx::MatMul_16"])).len(), trained(&tied).len() + 1);
    let refused = |arguments: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        refusal(
            gnp_rewrite()
                .arg(&file)
                .args(["--loss", "mse"])
                .args(arguments)
                .arg("-o")
                .arg(folder.path().join("step.onnx")),
        )
    };
    assert_says(&refused(&["--tie", "wte.weight"]), &["--tie", "A=B"]);
    assert_says(
        &refused(&["--tie", "wte.wei=fc.bias"]),
        &["no float constant `wte.wei`", "did you mean `wte.weight`?"],
    );
    assert_says(
        &refused(&["--tie", "wte.weight=fc.bias"]),
        &["their shapes are [5, 6] and [6]", "help: tie weights of one shape"],
    );
    assert_says(&refused(&["--untie", "fc.bias"]), &["--untie fc.bias: no float constant of this name is shared"]);
}

#[test]
fn normalisation_may_be_frozen_layer_by_layer() {
    let mut model = network();
    append(&mut model, node("Mul", &["logits", "gain"], "scaled"), info("scaled", FLOAT, "batch,3"));
    graph(&mut model).initializer.push(weight("gain", &[3]));
    let state = |arguments: &[&str]| -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let input = write(&model, &folder.path().join("model.onnx"));
        let output = folder.path().join("step.onnx");
        gnp_rewrite().arg(input).args(["--loss", "mse", "-o"]).arg(&output).args(arguments).assert().success();
        let step = onnx::read(&output).unwrap();
        step.graph.input.iter().map(|value| value.name().to_owned()).collect()
    };
    let follows = |names: Vec<String>| names.iter().any(|name| name == "bn.mean");
    assert!(follows(state(&["--batch-norm", "auto"])));
    assert!(!follows(state(&["--batch-norm", "auto", "--freeze", "bn.*"])));
    assert!(follows(state(&["--batch-norm", "train", "--freeze", "bn.*"])));
    assert!(!follows(state(&["--batch-norm", "frozen"])));
}

/// A rounded hidden layer: `straight_through` writes h + (round(h) − h), as a detached difference is exported.
fn rounded(straight_through: bool) -> ModelProto {
    let mut model = perceptron();
    let graph = graph(&mut model);
    let at = graph.node.iter().position(|node| node.output[0] == "hidden").unwrap() + 1;
    let mut nodes = vec![node("Round", &["hidden"], "rounded")];
    let mut read = "rounded";
    if straight_through {
        nodes.push(node("Sub", &["rounded", "hidden"], "difference"));
        nodes.push(node("Add", &["hidden", "difference"], "passed"));
        read = "passed";
    }
    graph.node.splice(at..at, nodes);
    graph.node.iter_mut().find(|node| node.output[0] == "fc2").unwrap().input[0] = read.into();
    model
}

#[test]
fn a_gradient_ends_or_passes_and_the_report_says_which() {
    let passed = report_of(&rounded(true), &[]);
    assert_says(&passed["choices"].to_string(), &["straight-through", "--straight-through"]);
    assert!(trained(&passed).contains(&"fc1.weight"));
    let off = report_of(&rounded(true), &["--straight-through", "off"]);
    assert!(!off["choices"].to_string().contains("--straight-through"), "{off}");
    let ended = report_of(&rounded(false), &[]);
    assert_says(&ended["warnings"].to_string(), &["`rounded` (Round)", "--straight-through all"]);
    let all = report_of(&rounded(false), &["--straight-through", "all"]);
    assert!(trained(&all).contains(&"fc1.weight"));
}

/// A perceptron whose first weight is stored in eight bits.
fn quantised() -> ModelProto {
    let mut model = perceptron();
    let graph = graph(&mut model);
    graph.initializer.retain(|tensor| tensor.name() != "fc1.weight");
    let bytes: Vec<u8> = (0..32_u8).map(|i| i.wrapping_mul(37)).collect();
    let scale = TensorProto::raw("fc1.scale", FLOAT, &[], 0.01_f32.to_le_bytes().to_vec().into());
    graph.initializer.extend([TensorProto::raw("fc1.q", DataType::Int8, &[4, 8], bytes.into()), scale]);
    graph.node.insert(0, node("DequantizeLinear", &["fc1.q", "fc1.scale"], "fc1.weight"));
    model
}

#[test]
fn weights_that_are_stored_in_eight_bits_train_as_floats() {
    let folder = tempfile::tempdir().unwrap();
    let model = write(&quantised(), &folder.path().join("model.onnx"));
    let report = report(&model, &[]);
    assert!(trained(&report).contains(&"fc1.weight"), "{report}");

    let rows: String = (0..16).map(|i| format!("{},{},{},{},{}\n", i % 3, i % 5, i % 7, i % 2, i % 3)).collect();
    let data = folder.path().join("data.csv");
    fs::write(&data, format!("a,b,c,d,label\n{rows}")).unwrap();
    let output = folder.path().join("trained.onnx");
    Command::cargo_bin("gnp-run")
        .unwrap()
        .arg(&model)
        .args([
            "--loss",
            "cross-entropy",
            "--engine",
            "tract",
            "--epochs",
            "2",
            "--lr",
            "0.1",
            "--quiet",
            "--target",
            "label",
            "--data",
        ])
        .arg(&data)
        .arg("-o")
        .arg(&output)
        .arg("--out")
        .arg(folder.path().join("run"))
        .assert()
        .success();
    let trained = onnx::read(&output).unwrap();
    assert!(trained.graph.node.iter().all(|node| node.op_type() != "DequantizeLinear"));
    let held = |name: &str| {
        let node = trained.graph.node.iter().find(|node| node.output[0] == name);
        let of_node = node.and_then(|node| node.attribute("value")).and_then(|a| a.t.as_deref());
        of_node.or_else(|| trained.graph.initializer.iter().find(|tensor| tensor.name() == name)).cloned()
    };
    let weight = held("fc1.weight").expect("the weight is a float constant");
    assert_eq!((weight.dims.as_slice(), weight.element()), (&[4, 8][..], Some(FLOAT)));
    let stored = |i: u8| f64::from(i.wrapping_mul(37) as i8) * f64::from(0.01_f32);
    let moved = weight.floats().unwrap().iter().zip(0..32).any(|(found, i)| (found - stored(i)).abs() > 1e-4);
    assert!(moved, "it did not train");
}

#[test]
fn a_number_of_a_layer_trains_and_a_literal_does_not() {
    let mut model = perceptron();
    let half = TensorProto::raw("/Constant_output_0", FLOAT, &[], 0.5_f32.to_le_bytes().to_vec().into());
    append(&mut model, node("Mul", &["logits", "logit_scale"], "scaled"), info("scaled", FLOAT, "batch,3"));
    append(&mut model, node("Mul", &["scaled", "/Constant_output_0"], "halved"), info("halved", FLOAT, "batch,3"));
    let flat = with(node("Flatten", &["halved"], "flat"), AttributeProto::int("axis", 1));
    append(&mut model, flat, info("flat", FLOAT, "batch,3"));
    graph(&mut model).initializer.extend([weight("logit_scale", &[]), half]);
    let report = report_of(&model, &[]);
    assert!(trained(&report).contains(&"logit_scale"));
    assert_eq!(reason(&report, "/Constant_output_0"), "literal, by its name");
}
