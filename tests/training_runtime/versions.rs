//! ONNX Runtime 1.19.2 ends with operator set 21 and file format 10: newer models become artifacts that it reads, or
//! the node is named that it lacks.
use crate::support::command::{assert_says, gnp_rewrite, refusal};
use crate::support::forward::{append, graph, info, network, node, perceptron, weight, write};
use crate::support::{models, training_runtime};
use gnp::engine::ort_training::Artifacts;
use gnp::engine::{Engine as _, EngineOptions, OrtTraining, Rates};
use gnp::onnx::proto::{ModelProto, TensorProto};
use gnp::onnx::{self, DataType, WriteOptions};
use gnp::tensor::Tensor;
use ndarray::ArrayD;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};

const FILES: [&str; 3] = ["training_model.onnx", "eval_model.onnx", "optimizer_model.onnx"];

/// The losses of three steps on noise, then of an evaluation.
fn losses(folder: &Path, sample: &[usize], classes: usize) -> Vec<f32> {
    let options = EngineOptions { threads: NonZero::new(1), ..EngineOptions::default() };
    let mut engine = OrtTraining::load(&training_runtime(), &Artifacts::in_folder(folder), &options).unwrap();
    let shape = [&[6], sample].concat();
    let noise = (0..shape.iter().product()).map(|i| (i * 7919 % 1009) as f32 / 1009.0 - 0.5).collect();
    let labels = (0..6).map(|i| (i % classes) as i64).collect();
    let batch = [
        Tensor::F32(ArrayD::from_shape_vec(shape, noise).unwrap()),
        Tensor::I64(ArrayD::from_shape_vec(vec![6], labels).unwrap()),
    ];
    let loss = |returned: Vec<Tensor>| returned[0].to_scalar().unwrap();
    let mut losses: Vec<f32> = (0..3).map(|_| loss(engine.step(&batch, &Rates::new(0.1)).unwrap())).collect();
    losses.push(loss(engine.evaluate(&batch).unwrap()));
    losses
}

fn of_versions(mut model: ModelProto, operator_set: i64, file_format: i64) -> ModelProto {
    model.opset_import[0].version = Some(operator_set);
    model.ir_version = Some(file_format);
    model
}

/// `gnp-rewrite` to artifacts in `folder`/artifacts.
fn make(model: &ModelProto, folder: &Path) -> (assert_cmd::Command, PathBuf) {
    let (model, out) = (write(model, &folder.join("model.onnx")), folder.join("artifacts"));
    let mut command = gnp_rewrite();
    command
        .arg(model)
        .args(["--emit", "ort-training", "--loss", "cross-entropy", "--quiet", "--force", "-o"])
        .arg(&out);
    (command, out)
}

#[track_caller]
fn assert_readable(folder: &Path) {
    for name in FILES {
        let model = onnx::read(folder.join(name)).unwrap();
        assert!(model.header.ir_version() <= 10 && model.opset("").unwrap() <= 21, "{name}");
    }
}

#[test]
fn newer_forward_models_become_artifacts_of_versions_that_the_runtime_reads() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let mut network = network();
    let variance = graph(&mut network).initializer.iter_mut().find(|tensor| tensor.name() == "bn.var").unwrap();
    *variance = TensorProto::raw("bn.var", DataType::Float, &[2], [1.0_f32, 0.5].map(f32::to_le_bytes).concat().into());
    let mut expected = None;
    for (operator_set, file_format) in [(18, 8), (22, 10), (23, 11), (25, 13)] {
        let (mut command, artifacts) = make(&of_versions(network.clone(), operator_set, file_format), folder.path());
        command.assert().success();
        assert_readable(&artifacts);
        let found = losses(&artifacts, &[1, 6, 6], 3);
        assert_eq!(&found, expected.get_or_insert(found.clone()), "{operator_set}");
    }
}

#[test]
fn an_operator_that_the_runtime_lacks_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (operator, inputs, since) in [("Swish", &["logits"][..], 24), ("RMSNormalization", &["logits", "scale"], 23)] {
        let mut model = of_versions(perceptron(), 25, 13);
        graph(&mut model).initializer.push(weight("scale", &[3]));
        append(&mut model, node(operator, inputs, "newer"), info("newer", DataType::Float, "batch,3"));
        let (mut command, artifacts) = make(&model, folder.path());
        let lacks = format!("it is an operator of operator set {since}, which 21 does not have");
        let said = refusal(&mut command);
        assert_says(&said, &[&format!("node `newer` ({operator}): {lacks}"), "ends with operator set 21"]);
        assert!(!artifacts.exists());
    }
}

#[test]
fn existing_artifacts_of_newer_versions_are_lowered() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let rewritten = |given: &Path, out: &str, more: &[&str]| {
        let out = folder.path().join(out);
        let mut command = gnp_rewrite();
        command.arg(given).arg("-o").arg(&out).args(more).arg("--force");
        (String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap(), out)
    };
    for more in [&[][..], &["--optimizer", "momentum"]] {
        let (said, plain) = rewritten(&models().join("mlp"), "plain", more);
        assert!(!said.contains("Lowered"));
        let expected = losses(&plain, &[64], 10);
        for newer in FILES {
            let given = folder.path().join("given");
            fs::create_dir_all(&given).unwrap();
            for name in FILES.iter().chain(&["checkpoint"]) {
                fs::copy(models().join("mlp").join(name), given.join(name)).unwrap();
            }
            let mut model = onnx::read(given.join(newer)).unwrap();
            model.header.ir_version = Some(13);
            model.header.opset_import.iter_mut().filter(|import| import.domain().is_empty()).for_each(|import| {
                import.version = Some(23);
            });
            onnx::write(model, given.join(newer), &WriteOptions { force: true, ..WriteOptions::default() }).unwrap();
            let (said, out) = rewritten(&given, "out", more);
            // The optimizer model is another where there is an optimizer inside.
            let is_replaced = newer == FILES[2] && !more.is_empty();
            let lowered = format!("{newer}: file format 13 to 10; {newer}: operator set 23 to 21");
            assert!(is_replaced || said.contains(&lowered), "{said}");
            assert_readable(&out);
            assert_eq!(losses(&out, &[64], 10), expected, "{newer}");
        }
    }
}
