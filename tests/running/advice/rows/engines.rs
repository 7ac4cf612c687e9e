//! Engines and their options.

use super::Follow::{AsSaid, With, Without};
use super::{Row, row};

/// A training with ONNX Runtime on the processor.
macro_rules! of_half {
    ($more:literal) => {
        concat!(
            "gnp-run classifier.onnx --data data.npz --epochs 1 --out out --engine onnxruntime --ort-lib RUNTIME ",
            $more
        )
    };
}

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
            run!("--profile --ort-lib RUNTIME"),
            "--profile is of no use: tract records no times",
            "--engine onnxruntime",
            vec![AsSaid("--engine")],
        ),
        row(
            "gnp-run classifier.onnx --data data.npz --epochs 1 --engine tract --precision float16 --ort-lib RUNTIME",
            "half precision, for which tract has no kernels",
            "--engine onnxruntime",
            vec![AsSaid("--engine")],
        )
        .then("ONNX Runtime has no kernels on this processor"),
        row(
            of_half!("--precision float16"),
            "float16, for which ONNX Runtime has no kernels on this processor",
            "--half emulated",
            vec![AsSaid("--half")],
        ),
        row(
            of_half!("--precision bfloat16"),
            "bfloat16, for which ONNX Runtime has no kernels on processors",
            "leave --precision out",
            vec![Without("--precision")],
        ),
        row(
            of_half!("--precision float16 --half emulated --divisor 0.000001 --force"),
            "the loss is NaN at step 1",
            "--precision bfloat16",
            vec![AsSaid("--precision")],
        )
        .then("ONNX Runtime has no kernels on processors"),
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
