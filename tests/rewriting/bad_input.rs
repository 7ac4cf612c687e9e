//! What `gnp-rewrite` says to input that it cannot use: one clear message, exit code 2, and no file touched.
use crate::support::command::{assert_says, contents, edited, external_table, gnp_rewrite, mlp, node, refusal};
use crate::support::models;
use gnp::onnx::DataType;
use gnp::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use gnp::onnx::proto::type_proto;
use gnp::onnx::proto::{ModelProto, NodeProto, TensorShapeProto};
use std::fs;
use std::path::Path;

/// Checks that `input` is refused, into a new file and over an existing one, with every one of `parts` in the message
/// and with a way out. Nothing in `folder`, which holds the input, may change.
#[track_caller]
fn refused_in(folder: &Path, input: &Path, parts: &[&str]) {
    fs::write(folder.join("old.onnx"), "old").unwrap();
    let before = contents(folder);
    for output in ["new.onnx", "old.onnx"] {
        let said = refusal(gnp_rewrite().arg(input).arg("--force").arg("-o").arg(folder.join(output)));
        println!("{said}");
        assert_says(&said, parts);
        assert_says(&said, &[input.file_name().unwrap().to_str().unwrap(), "help: "]);
        assert!(contents(folder) == before, "files changed: {said}");
    }
}

#[track_caller]
fn refused(bytes: &[u8], parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("model.onnx");
    fs::write(&input, bytes).unwrap();
    refused_in(folder.path(), &input, parts);
}

#[track_caller]
fn refused_when(edit: impl FnOnce(&mut ModelProto), parts: &[&str]) {
    refused(&edited(edit), parts);
}

#[test]
fn not_a_model() {
    let whole = fs::read(mlp()).unwrap();
    refused(b"hello world", &["not an ONNX model"]);
    refused(b"", &["the file is empty"]);
    refused(&whole[..whole.len() / 2], &["the file is cut short"]);
    refused(&fs::read(models().join("mlp/checkpoint")).unwrap(), &["not an ONNX model"]);
    refused(&fs::read(models().join("digits.npz")).unwrap(), &["not an ONNX model"]);
    refused_when(|m| m.graph = None, &["it has no graph"]);
}

#[test]
fn unknown_fields() {
    let mut bytes = fs::read(mlp()).unwrap();
    prost::encoding::string::encode(99, &"from the future".to_owned(), &mut bytes);
    refused(&bytes, &["field 99 of ModelProto", "newer gnp"]);
}

#[test]
fn another_part_of_the_artifacts() {
    let folder = tempfile::tempdir().unwrap();
    let part = |name: &str| models().join("mlp").join(name);
    let says = ["not a training model", "this is an optimizer model", "training_model.onnx"];
    refused_in(folder.path(), &part("optimizer_model.onnx"), &says);
    let says = ["no trainable parameter", "where the weights are inputs", "training_model.onnx"];
    refused_in(folder.path(), &part("eval_model.onnx"), &says);
    let accumulators = |m: &mut ModelProto| {
        let is_accumulator = |n: &NodeProto| n.op_type() == "InPlaceAccumulatorV2";
        m.graph.as_mut().unwrap().node.retain(|n| !is_accumulator(n));
        m.graph.as_mut().unwrap().output.truncate(1);
    };
    refused_when(accumulators, &["not a training model"]);
}

#[test]
fn its_own_output() {
    let folder = tempfile::tempdir().unwrap();
    let once = folder.path().join("once.onnx");
    gnp_rewrite().arg(mlp()).arg("-o").arg(&once).assert().success();
    refused_in(folder.path(), &once, &["has the penalty in it already", "original training model"]);
}

#[test]
fn a_damaged_graph() {
    refused_when(
        |m| node(m, "Relu").input[0] = "nowhere".into(),
        &["node `", "(Relu)", "`nowhere` is defined nowhere"],
    );
    let unnamed = |m: &mut ModelProto| {
        let relu = node(m, "Relu");
        relu.name = None;
        relu.output[0] = "made".into();
        relu.input[0] = "nowhere".into();
    };
    refused_when(unnamed, &["node `made` (Relu)", "`nowhere`"]);
    let second_value = |m: &mut ModelProto| {
        let taken = node(m, "Relu").output[0].clone();
        node(m, "InPlaceAccumulatorV2").output[0] = taken;
    };
    refused_when(second_value, &["node `", "(com.microsoft.InPlaceAccumulatorV2)", "is defined twice"]);
    let second_node = |m: &mut ModelProto| {
        let taken = node(m, "Relu").name.clone();
        node(m, "Gemm").name = taken;
    };
    refused_when(second_node, &["node `", "another node has the same name"]);
    let cycle = |m: &mut ModelProto| node(m, "Relu").input[0] = "relu2.output".into();
    refused_when(cycle, &["node `", "the node depends on its own output: the graph has a cycle"]);
    refused_when(|m| m.graph.as_mut().unwrap().output[0].name = Some("gone".into()), &["output `gone`"]);
}

/// Declares an input of the graph to be of another type.
fn declare(model: &mut ModelProto, name: &str, element: DataType, dims: &[i64]) {
    let dim = |&n: &i64| Dimension { value: Some(dimension::Value::DimValue(n)), ..Default::default() };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(element as i32), shape: Some(shape) };
    let input = model.graph.as_mut().unwrap().input.iter_mut().find(|i| i.name() == name).unwrap();
    input.r#type.as_mut().unwrap().value = Some(type_proto::Value::TensorType(tensor));
}

#[test]
fn a_training_model_that_cannot_be_rewritten() {
    let half = |m: &mut ModelProto| declare(m, "fc1.weight", DataType::Float16, &[256, 64]);
    refused_when(half, &["parameter `fc1.weight` is FLOAT16; expected FLOAT"]);
    let no_parameter = |m: &mut ModelProto| m.graph.as_mut().unwrap().input.retain(|i| i.name() != "fc1.weight");
    refused_when(no_parameter, &["node `", "(com.microsoft.InPlaceAccumulatorV2)", "`fc1.weight` is no input"]);
    let old =
        |m: &mut ModelProto| m.opset_import.iter_mut().filter(|o| o.domain() == "").for_each(|o| o.version = Some(8));
    refused_when(old, &["operator set is 8; expected 9 or newer"]);
    let no_domain = |m: &mut ModelProto| m.opset_import.retain(|o| o.domain() != "com.microsoft");
    refused_when(no_domain, &["node `", "no operator set for the domain `com.microsoft`"]);
    refused_when(|m| m.graph.as_mut().unwrap().output.clear(), &["no output for the loss"]);
    let second_accumulator = |m: &mut ModelProto| {
        let mut copy = node(m, "InPlaceAccumulatorV2").clone();
        copy.name = Some("again".into());
        copy.output[0] = "again".into();
        m.graph.as_mut().unwrap().node.push(copy);
    };
    refused_when(second_accumulator, &["node `again`", "`fc1.weight`", "has another accumulator"]);
}

#[test]
fn names_that_are_needed() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("model.onnx");
    for (name, argument) in [("gnp.r", "--expose=r"), ("gnp.grad_norm", "--metrics")] {
        let taken = |m: &mut ModelProto| m.graph.as_mut().unwrap().node.push(copy_of_loss(name));
        fs::write(&input, edited(taken)).unwrap();
        let output = folder.path().join("out.onnx");
        let said = refusal(gnp_rewrite().arg(&input).arg(argument).arg("-o").arg(&output));
        assert_says(&said, &["model.onnx: ", &format!("a value `{name}` already"), "help: "]);
        assert!(!output.exists());
        gnp_rewrite().arg(&input).arg("-o").arg(&output).arg("--force").assert().success();
        fs::remove_file(output).unwrap();
    }
}

fn copy_of_loss(name: &str) -> NodeProto {
    NodeProto {
        op_type: Some("Identity".into()),
        input: vec!["onnx::loss::2".into()],
        output: vec![name.into()],
        ..Default::default()
    }
}

#[test]
fn external_data() {
    refused_when(external_table("gone.bin"), &["tensor `table`", "`gone.bin`", "put the data file"]);
    for outside in ["../model.onnx", "/etc/hostname", "a/../../b"] {
        refused_when(external_table(outside), &["tensor `table`", outside, "outside the model's folder"]);
    }
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.onnx");
    fs::write(&model, edited(external_table("data.bin"))).unwrap();
    fs::write(folder.path().join("data.bin"), [0; 15]).unwrap();
    refused_in(folder.path(), &model, &["tensor `table`", "ends at byte 16 of `data.bin`, which has only 15"]);
    #[cfg(unix)]
    {
        fs::remove_file(folder.path().join("data.bin")).unwrap();
        std::os::unix::fs::symlink(mlp(), folder.path().join("data.bin")).unwrap();
        refused_in(folder.path(), &model, &["tensor `table`", "`data.bin` is outside the model's folder"]);
    }
}

#[test]
fn folders() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let said = refusal(gnp_rewrite().arg(folder.path()).arg("-o").arg(&out));
    assert_says(&said, &["the folder has no training_model.onnx", "help: "]);
    let file = folder.path().join("file");
    fs::write(&file, "old").unwrap();
    let said = refusal(gnp_rewrite().arg(models().join("mlp")).arg("--force").arg("-o").arg(&file));
    assert_says(&said, &["file: is a file; artifacts are written into a folder", "help: "]);
    let said = refusal(gnp_rewrite().arg(folder.path().join("gone")).arg("-o").arg(&out));
    assert_says(&said, &["gone: cannot open the file: No such file"]);
    assert_eq!(contents(folder.path()), [(file, b"old".to_vec())].into());
}

#[test]
fn outputs_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "old").unwrap();
    let before = contents(folder.path());
    for input in [mlp(), models().join("mlp")] {
        for output in [file.join("out"), folder.path().join("no/such/folder/out"), "/proc/out".into()] {
            let said = refusal(gnp_rewrite().arg(&input).arg("-o").arg(&output));
            println!("{said}");
            assert_says(&said, &["cannot write to the folder", "help: choose an output in a folder that exists"]);
        }
    }
    assert!(contents(folder.path()) == before);
}

#[test]
fn outputs_that_exist() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("training_model.onnx"), "old").unwrap();
    fs::write(folder.path().join("checkpoint"), "old").unwrap();
    let before = contents(folder.path());
    for (input, output) in [
        (mlp(), folder.path().join("checkpoint")),
        (mlp(), folder.path().into()),
        (models().join("mlp"), folder.path().into()),
    ] {
        for dry in [&[][..], &["--dry-run"]] {
            let said = refusal(gnp_rewrite().arg(&input).args(dry).arg("-o").arg(&output));
            assert_says(&said, &["the file exists already", "--force"]);
            assert!(contents(folder.path()) == before);
        }
    }
}

#[test]
fn numbers_out_of_range() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, says) in [
        (&["--r", "-0.1"][..], "r is -0.1; expected a finite number, zero or above"),
        (&["--r", "inf"], "r is inf"),
        (&["--alpha", "nan"], "alpha is NaN"),
        (&["--alpha=-1"], "alpha is -1"),
        (&["--lambda", "0.1", "--r", "0"], "--lambda needs a radius"),
        (&["--lambda", "0.1", "--r", "-1"], "r is -1"),
        (&["--lambda", "nan"], "lambda is NaN"),
        (&["--lambda=-1"], "lambda is -1"),
    ] {
        let said = refusal(gnp_rewrite().arg(mlp()).args(arguments).arg("-o").arg(folder.path().join("out")));
        println!("{said}");
        assert_says(&said, &[says, "help: "]);
    }
    assert!(contents(folder.path()).is_empty());
}

#[test]
fn wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, says) in [
        (&["--no-such-flag"][..], "unexpected argument '--no-such-flag'"),
        (&["--alpha", "1", "--lambda", "1"], "cannot be used with"),
        (&["--expose", "beta"], "[possible values: r, alpha]"),
        (&["--mix", "shaken"], "[possible values: raw, unit]"),
        (&["--r", "much"], "invalid value 'much' for '--r <R>'"),
        (&["--quiet", "--json"], "cannot be used with"),
    ] {
        let said = refusal(gnp_rewrite().arg(mlp()).args(arguments).arg("-o").arg(folder.path().join("out")));
        assert_says(&said, &[says, "--help"]);
    }
    assert_says(&refusal(gnp_rewrite().arg(mlp())), &["--output <OUTPUT>"]);
    assert_says(&refusal(gnp_rewrite().args(["--generate", "novel"])), &["complete-bash"]);
    assert!(contents(folder.path()).is_empty());
}
