//! `gnp-rewrite --check`: a step on made-up data, in every engine.
use crate::support::command::{assert_says, gnp_rewrite, refusal};
use crate::support::forward::{empty, graph, info, network, node, weight, with, write};
use crate::support::{models, training_runtime};
use assert_cmd::Command;
use gnp::engine::runtime;
use gnp::onnx::DataType;
use gnp::onnx::proto::{AttributeProto, ModelProto, TensorProto};
use serde_json::{Value, json};
use std::path::Path;

/// The check of a model in tract and in ONNX Runtime, of what was written and of what would be.
fn checks(model: &ModelProto, folder: &Path, arguments: &[&str]) -> Vec<Command> {
    write(model, &folder.join("model.onnx"));
    let library = runtime::install_onnxruntime(&mut |_| {}).unwrap().library;
    let check = |more: &[&str]| {
        let mut command = gnp_rewrite();
        command.current_dir(folder).args(["model.onnx", "-o", "step.onnx", "--check", "--force", "--json"]);
        // Without a library there is tract alone.
        command.env("GNP_CACHE_DIR", folder.join("cache")).env("PATH", folder).env_remove("ORT_DYLIB_PATH");
        command.args(arguments).args(more);
        command
    };
    let library = library.to_str().unwrap();
    vec![check(&[]), check(&["--dry-run"]), check(&["--ort-lib", library]), check(&["--ort-lib", library, "--dry-run"])]
}

/// The sizes that were made up, where the step comes to numbers.
#[track_caller]
fn sizes(command: &mut Command) -> Value {
    let report: Value = serde_json::from_slice(&command.assert().success().get_output().stdout).unwrap();
    let step = &report["checked"]["step"];
    assert!(step["loss"].as_f64().unwrap() > 0.0 && step["grad_norm"].as_f64().unwrap() > 0.0, "{report}");
    step["sizes"].clone()
}

fn shape(name: &str, sizes: &[i64]) -> TensorProto {
    let bytes: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
    TensorProto::raw(name, DataType::Int64, &[sizes.len() as i64], bytes.into())
}

/// `image` in any size → a class for every second pixel.
fn segmentation() -> ModelProto {
    let mut model = empty();
    let graph = graph(&mut model);
    graph.input = vec![info("image", DataType::Float, "batch,1,height,width")];
    graph.initializer.push(weight("conv.weight", &[3, 1, 3, 3]));
    let mut conv = with(node("Conv", &["image", "conv.weight"], "logits"), AttributeProto::ints("strides", &[2, 2]));
    conv.attribute.push(AttributeProto::ints("pads", &[1, 0, 0, 0]));
    graph.node.push(conv);
    graph.output.push(info("logits", DataType::Float, "batch,3,rows,columns"));
    model
}

/// Tokens of a table of so many rows → `y`.
fn tokens(rows: usize) -> ModelProto {
    let mut model = empty();
    let graph = graph(&mut model);
    graph.input = vec![info("tokens", DataType::Int64, "batch,length")];
    graph.initializer.push(weight("table", &[rows, 4]));
    graph.node.push(node("Gather", &["table", "tokens"], "y"));
    graph.output.push(info("y", DataType::Float, "batch,length,4"));
    model
}

/// Takes `samples` samples at a time, or twice as many and so on.
fn groups(samples: i64) -> ModelProto {
    let mut model = empty();
    let graph = graph(&mut model);
    let shapes = [shape("group", &[-1, 4 * samples]), shape("one", &[-1, 4])];
    graph.initializer.extend(shapes.into_iter().chain([weight("w", &[4, 1])]));
    graph.node.extend([
        node("Reshape", &["x", "group"], "grouped"),
        node("Reshape", &["grouped", "one"], "single"),
        node("MatMul", &["single", "w"], "y"),
    ]);
    graph.output.push(info("y", DataType::Float, "batch,1"));
    model
}

#[test]
fn open_sizes_are_made_up() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let check = |model: &ModelProto, loss: &str, expected: Value| {
        for mut command in checks(model, folder.path(), &["--loss", loss]) {
            assert_eq!(sizes(&mut command), expected, "{command:?}");
        }
    };
    check(&network(), "cross-entropy", json!({"batch": 2}));
    // The labels' rows and columns follow from height and width.
    let mut commands = checks(&segmentation(), folder.path(), &["--loss", "cross-entropy"]);
    for command in &mut commands {
        let sizes: Vec<_> = sizes(command).as_object().unwrap().values().map(|size| size.as_u64().unwrap()).collect();
        assert!([2, 16, 16, 8, 7].iter().all(|size| sizes.contains(size)) && sizes.len() == 5, "{sizes:?}");
    }
    check(&tokens(7), "mse", json!({"batch": 2, "length": 16}));
    check(&tokens(1), "mse", json!({"batch": 2, "length": 16}));
    check(&groups(4), "mse", json!({"batch": 8}));
}

#[test]
fn a_step_that_is_not_computed_is_told_with_its_node() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    for mut command in checks(&groups(3), folder.path(), &["--loss", "mse"]) {
        let said = refusal(&mut command);
        assert_says(&said, &[".onnx: ", "node `grouped` (Reshape): ", "this is a step on made-up data"]);
        assert_says(&said, &["the last of 2 guesses", "--dim NAME=SIZE"]);
    }
    for mut command in checks(&groups(3), folder.path(), &["--loss", "mse", "--dim", "batch=6"]) {
        assert_eq!(sizes(&mut command), json!({}));
    }
}

#[test]
fn a_step_that_comes_to_no_number_is_refused() {
    needs!(engines);
    let mut model = empty();
    let graph = graph(&mut model);
    graph.initializer.push(TensorProto::raw("w", DataType::Float, &[4, 1], vec![0; 16].into()));
    graph.node.extend([node("MatMul", &["x", "w"], "sum"), node("Sqrt", &["sum"], "y")]);
    graph.output.push(info("y", DataType::Float, "batch,1"));
    let folder = tempfile::tempdir().unwrap();
    for mut command in checks(&model, folder.path(), &["--loss", "mse"]) {
        assert_says(&refusal(&mut command), &[".onnx: a step comes to ", ": `gnp.grad_norm`"]);
    }
}

#[test]
fn artifacts_take_a_step_too() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let library = training_runtime().library;
    for (number, arguments) in [&["--metrics"][..], &["--metrics", "--expose", "r,alpha"]].into_iter().enumerate() {
        let mut command = gnp_rewrite();
        command.arg(models().join("cnn")).arg("-o").arg(folder.path().join(number.to_string()));
        command.args(["--check", "--json", "--ort-lib", library.to_str().unwrap()]).args(arguments);
        sizes(&mut command);
    }
}
