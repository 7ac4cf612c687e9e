//! Training artifacts: made, and given.

use super::Follow::{After, AsSaid, Instead, With, Without};
use super::{Row, row};

pub(super) fn rows() -> Vec<Row> {
    [made_artifacts(), artifacts()].into_iter().flatten().collect()
}

fn made_artifacts() -> Vec<Row> {
    let make = |more: &str| -> &'static str {
        Box::leak(format!("gnp-rewrite {more} --emit ort-training -o made_artifacts").into_boxed_str())
    };
    vec![
        row(
            "gnp-rewrite classifier.onnx --emit ort-training --loss-alone -o alone; \
             gnp-run alone --data data.npz --epochs 1 -o trained.onnx",
            "the evaluation model returns nothing but the loss",
            "leave -o out",
            vec![Without("-o")],
        ),
        row(
            make("classifier.onnx --lr 0.1"),
            "artifacts have no learning rate",
            "leave --lr out",
            vec![Without("--lr")],
        ),
        row(make("classifier.onnx --flat"), "artifacts have no functions", "leave --flat out", vec![Without("--flat")]),
        row(
            make("pixels.onnx --random counter"),
            "counter-based draws need a seed and the number of the step",
            "leave --random out",
            vec![Without("--random")],
        ),
        row(
            "gnp-rewrite classifier.onnx -o s --loss-alone",
            "--loss-alone is for training artifacts",
            "make artifacts: --emit ort-training",
            vec![AsSaid("--emit")],
        ),
        row(
            make("newer.onnx --loss mse"),
            "it is an operator of operator set 24",
            "without --emit ort-training",
            vec![Without("--emit")],
        ),
        row(
            make("classifier.onnx --artifact-prefix ../a"),
            "no beginning of a file's name",
            "--artifact-prefix letters and digits",
            vec![With("--artifact-prefix", "a")],
        ),
        row(
            make("grad.onnx --loss mse"),
            "which ONNX Runtime takes for a gradient",
            "--rename 'x_grad=",
            vec![AsSaid("--rename")],
        ),
        row(
            "gnp-run classifier.onnx --data data.npz --epochs 1 --engine tract --gradients ort",
            "has other operators than the standard's",
            "leave --gradients out",
            vec![Without("--gradients")],
        ),
    ]
}

fn artifacts() -> Vec<Row> {
    const MLP: &str = "gnp-run artifacts --data digits.npz --epochs 1 ";
    let mlp = |more: &str| -> &'static str { Box::leak(format!("{MLP}{more}").into_boxed_str()) };
    vec![
        row(
            "gnp-run artifacts --data digits.npz --epochs 1 --forward classifier.onnx",
            "a forward model is of no use",
            "leave --forward out",
            vec![Without("--forward")],
        ),
        row(
            "gnp-run artifacts --data digits.npz --epochs 1 --engine tract",
            "by the engine ort-training only",
            "leave --engine out",
            vec![Without("--engine")],
        ),
        row(
            "gnp-rewrite classifier.onnx -o s.onnx; gnp-run s.onnx --data data.npz --epochs 1 --engine ort-training",
            "by the engines onnxruntime and tract",
            "leave --engine out",
            vec![Without("--engine")],
        ),
        row(
            "gnp-run checkpoint convert artifacts/checkpoint w.safetensors --like artifacts/checkpoint",
            "a safetensors file is made of it",
            "leave --like out",
            vec![Without("--like")],
        ),
        row(
            "gnp-run checkpoint convert artifacts/checkpoint w.safetensors; \
             gnp-run checkpoint convert artifacts/checkpoint w.safetensors",
            "the file exists already",
            "give --force to replace it, or name another file",
            vec![With("--force", "")],
        ),
        row(
            "gnp-run checkpoint convert artifacts/checkpoint w.safetensors; \
             gnp-run checkpoint convert w.safetensors new",
            "what trains cannot be told from it alone",
            "give --like a checkpoint of the same model",
            vec![With("--like", "artifacts/checkpoint")],
        ),
        row(
            "gnp-run checkpoint convert artifacts/checkpoint w.safetensors; \
             gnp-run checkpoint convert w.safetensors new --like cnn_checkpoint",
            "`bn1.bias` is missing",
            "give with --like a checkpoint of the same model",
            vec![With("--like", "artifacts/checkpoint")],
        ),
        row(
            mlp("--r 0.2"),
            "--r is of no use",
            "gnp-rewrite --expose r",
            vec![
                After("gnp-rewrite artifacts -o exposed --expose r"),
                Instead("gnp-run exposed --data digits.npz --epochs 1 --r 0.2"),
            ],
        ),
        row(
            mlp("--gr-warmup r --gr-warmup-epochs 1"),
            "needs a graph with an input for r",
            "gnp-rewrite --expose r",
            vec![
                After("gnp-rewrite artifacts -o exposed --expose r"),
                Instead("gnp-run exposed --data digits.npz --epochs 1 --gr-warmup r --gr-warmup-epochs 1"),
            ],
        ),
        row(
            mlp("--hybrid 0.5"),
            "needs a graph with an input for r",
            "gnp-rewrite --expose r",
            vec![
                After("gnp-rewrite artifacts -o exposed --expose r"),
                Instead("gnp-run exposed --data digits.npz --epochs 1 --hybrid 0.5"),
            ],
        ),
    ]
}
