//! A model above 2 GiB, which is more than one protobuf message or one flatbuffer holds.
use crate::support::forward::{empty, graph, info, node, weight, write};
use crate::support::training_runtime;
use gnp::checkpoint::Checkpoint;
use gnp::engine::ort_training::Artifacts;
use gnp::engine::{Engine as _, EngineOptions, OrtTraining, Rates};
use gnp::onnx::DataType;
use gnp::onnx::proto::tensor_proto::DataLocation;
use gnp::onnx::proto::{StringStringEntryProto, TensorProto};
use gnp::tensor::Tensor;
use ndarray::ArrayD;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

const WIDTH: usize = 10_240;
const LAYERS: usize = 6;
const BYTES: usize = WIDTH * WIDTH * size_of::<f32>();
/// What `gnp-rewrite` may allocate: a small part of a layer.
const KIB: usize = 128 << 10;

/// A tensor of a layer, whose elements are in the file `weights.bin`.
fn outside(layer: usize) -> TensorProto {
    let entry = |key: &str, value: String| StringStringEntryProto { key: Some(key.into()), value: Some(value) };
    TensorProto {
        name: Some(format!("w{layer}")),
        dims: vec![WIDTH as i64; 2],
        data_type: Some(DataType::Float as i32),
        data_location: Some(DataLocation::External as i32),
        external_data: vec![
            entry("location", "weights.bin".into()),
            entry("offset", (layer * BYTES).to_string()),
            entry("length", BYTES.to_string()),
        ],
        ..Default::default()
    }
}

/// Writes layers that hand the first eight values on, and a head. The file of their weights is a hole but for these.
fn write_model(folder: &Path) {
    let file = File::create(folder.join("weights.bin")).unwrap();
    file.set_len((LAYERS * BYTES) as u64).unwrap();
    let mut model = empty();
    let graph = graph(&mut model);
    graph.input = vec![info("x", DataType::Float, &format!("batch,{WIDTH}"))];
    let mut value = "x".to_owned();
    for layer in 0..LAYERS {
        for i in 0..8 {
            let at = layer * BYTES + i * (WIDTH + 1) * size_of::<f32>();
            file.write_all_at(&1.0_f32.to_le_bytes(), at as u64).unwrap();
        }
        let next = format!("h{layer}");
        graph.node.push(node("MatMul", &[&value, &format!("w{layer}")], &next));
        graph.initializer.push(outside(layer));
        value = next;
    }
    graph.node.push(node("Gemm", &[&value, "head", "bias"], "logits"));
    graph.initializer.extend([weight("head", &[WIDTH, 3]), weight("bias", &[3])]);
    graph.output = vec![info("logits", DataType::Float, "batch,3")];
    write(&model, &folder.join("model.onnx"));
}

/// Under a limit of what it may allocate: weights are not brought into memory, where they are in files.
#[test]
#[ignore = "takes 9 GB of memory and 3 GB of disk: cargo test --test training_runtime -- --ignored 2_gib"]
fn a_model_above_2_gib_becomes_artifacts_and_trains() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path());
    let mut command = Command::new("sh");
    let limited = format!("ulimit -d {KIB} && exec \"$@\"");
    command.current_dir(folder.path()).args(["-c", &limited, "sh", env!("CARGO_BIN_EXE_gnp-rewrite"), "model.onnx"]);
    command.args(["--emit", "ort-training", "-o", "artifacts", "--loss", "cross-entropy", "--r", "0"]);
    command.args(["--optimizer", "sgd", "--quiet"]);
    assert!(command.status().unwrap().success());
    let artifacts = folder.path().join("artifacts");
    assert!(artifacts.join("checkpoint.data").metadata().unwrap().len() > 2 << 30);
    assert_eq!(Checkpoint::read(&artifacts.join("checkpoint")).unwrap().trainable.len(), LAYERS + 2);

    let files = Artifacts { eval_model: None, ..Artifacts::in_folder(&artifacts) };
    let mut engine = OrtTraining::load(&training_runtime(), &files, &EngineOptions::default()).unwrap();
    let sample = (0..2 * WIDTH).map(|i| if i % WIDTH < 8 { (i % 5) as f32 } else { 0.0 }).collect();
    let batch = [
        Tensor::F32(ArrayD::from_shape_vec(vec![2, WIDTH], sample).unwrap()),
        Tensor::I64(ArrayD::from_shape_vec(vec![2], vec![1, 2]).unwrap()),
    ];
    let first = |engine: &OrtTraining| engine.parameter("w0").unwrap().as_f32().unwrap()[[1, 1]];
    assert_eq!(first(&engine), 1.0);
    let losses: Vec<f32> =
        (0..2).map(|_| engine.step(&batch, &Rates::new(1e-4)).unwrap()[0].to_scalar().unwrap()).collect();
    assert!(losses[1] < losses[0], "{losses:?}");
    assert_ne!(first(&engine), 1.0);
}
