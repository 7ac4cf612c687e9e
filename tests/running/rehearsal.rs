//! What would end a run after an epoch ends it before it has begun.
use crate::support::command::{assert_says, refusal};
use crate::support::forward;
use assert_cmd::Command;
use gnp::engine::runtime;
use gnp::onnx::DataType;
use gnp::onnx::proto::TensorProto;
use ndarray::Array2;
use ndarray_npy::WriteNpyExt;
use std::fs;
use std::path::{Path, PathBuf};

/// A linear model that takes its samples in fours.
fn model_of_fours(folder: &Path) -> PathBuf {
    let mut model = forward::empty();
    let graph = forward::graph(&mut model);
    let shape = |name: &str, shape: [i64; 2]| {
        let bytes: Vec<u8> = shape.iter().flat_map(|size| size.to_le_bytes()).collect();
        TensorProto::raw(name, DataType::Int64, &[2], bytes.into())
    };
    graph.initializer.extend([shape("fours", [-1, 16]), shape("ones", [-1, 4]), forward::weight("w", &[4, 1])]);
    graph.node.extend([
        forward::node("Reshape", &["x", "fours"], "four_a_row"),
        forward::node("Reshape", &["four_a_row", "ones"], "one_a_row"),
        forward::node("MatMul", &["one_a_row", "w"], "y"),
    ]);
    graph.output.push(forward::info("y", DataType::Float, "batch,1"));
    forward::write(&model, &folder.join("model.onnx"))
}

fn write(folder: &Path, part: &str, samples: usize) {
    fs::create_dir_all(folder).unwrap();
    for (name, width) in [("x", 4), ("y", 1)] {
        let array = Array2::from_shape_fn((samples, width), |(n, i)| ((n * 31 + i * 17) % 23) as f32 / 23.0);
        array.write_npy(fs::File::create(folder.join(format!("{name}_{part}.npy"))).unwrap()).unwrap();
    }
}

#[test]
fn a_last_batch_that_does_not_pass_is_told_first() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let model = model_of_fours(folder.path());
    let stock = runtime::install_onnxruntime(&mut |_| {}).unwrap();
    let engines = [vec!["--engine", "tract"], vec!["--ort-lib", stock.library.to_str().unwrap()]];
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    for engine in engines {
        let run = || {
            let mut command = Command::cargo_bin("gnp-run").unwrap();
            command.arg(&model).arg("--data").arg(&data).arg("--out").arg(&out).args(&engine);
            command.args(["--loss", "mse", "--epochs", "2", "--batch-size", "8", "--quiet", "--force"]);
            command
        };
        write(&data, "train", 22);
        write(&data, "test", 24);
        assert_says(&refusal(&mut run()), &["the last of an epoch has 6: choose another --batch-size"]);
        write(&data, "train", 24);
        write(&data, "test", 22);
        assert_says(&refusal(&mut run()), &["the last of the test data has 6: choose another --batch-size"]);
        assert!(!out.exists());
        write(&data, "test", 20);
        run().assert().success();
        fs::remove_dir_all(&out).unwrap();
    }
}
