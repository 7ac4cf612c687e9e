//! Engines and their options.

use super::Follow::{AsSaid, With};
use super::{Row, row};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(run!("--device cuda"), "tract does not compute on `cuda:0`", "--device cpu", vec![AsSaid("--device")]),
        row(
            run!("--device cuda --ort-lib RUNTIME"),
            "tract does not compute on `cuda:0`",
            "--engine onnxruntime",
            vec![AsSaid("--engine")],
        )
        .then("CUDAExecutionProvider"),
        row(run!("--tf32 off"), "--tf32 is of no use", "--device cuda", vec![AsSaid("--device")])
            .then("tract does not compute on `cuda:0`"),
        row(
            run!("--ort-option session.intra_op.allow_spinning=0 --ort-lib RUNTIME"),
            "is of no use: the engine is tract",
            "--engine onnxruntime",
            vec![AsSaid("--engine")],
        ),
        row(
            "gnp-run classifier.onnx --data data.npz --epochs 1 --ort-lib RUNTIME --device cuda",
            "it has no CUDAExecutionProvider",
            "--device cpu",
            vec![AsSaid("--device")],
        ),
        row(
            "without-runtimes gnp-run classifier.onnx --data data.npz --epochs 1 --engine onnxruntime",
            "found no ONNX Runtime",
            "--ort-lib",
            vec![With("--ort-lib", "RUNTIME")],
        ),
        row(
            "gnp-run strange.onnx --data data.npz --epochs 1 --engine tract --loss mse",
            "tract",
            "--engine onnxruntime",
            vec![AsSaid("--engine")],
        ),
    ]
}
