//! A run, its data and its folders.

use super::Follow::{After, AsSaid, With, Without};
use super::{Row, row};

pub(super) fn rows() -> Vec<Row> {
    [running(), data(), folders()].into_iter().flatten().collect()
}

fn running() -> Vec<Row> {
    vec![
        row(
            "gnp-run classifier.onnx --data data.npz --epochs 1 --engine tract --schedule stepped",
            "a stepped schedule needs",
            "--milestones 60,120,160",
            vec![AsSaid("--milestones")],
        ),
        row(
            run!("--schedule stepped --milestones 9,3"),
            "the milestones must be",
            "--milestones 60,120,160",
            vec![AsSaid("--milestones")],
        ),
        row(
            run!("--schedule exponential --final-lr 0"),
            "the final learning rate of an exponential schedule",
            "--schedule linear",
            vec![AsSaid("--schedule")],
        ),
        row(
            run!("--gamma 0.5"),
            "--gamma is of no use",
            "--schedule stepped",
            vec![AsSaid("--schedule"), With("--milestones", "1")],
        ),
        row(
            run!("--gr-warmup-epochs 1"),
            "the penalty is not warmed up",
            "--gr-warmup",
            vec![With("--gr-warmup", "r")],
        ),
        row(
            run!("--gr-warmup r"),
            "the warm-up of the penalty has no length",
            "--gr-warmup-epochs",
            vec![With("--gr-warmup-epochs", "1")],
        ),
        row(
            "gnp-rewrite classifier.onnx -o s.onnx --gr-warmup r --gr-warmup-steps 5; gnp-run s.onnx --data data.npz --epochs 1 --engine tract --gr-warmup-epochs 0.001",
            "the warm-up of the penalty has no length",
            "--gr-warmup-epochs",
            vec![With("--gr-warmup-epochs", "1")],
        ),
        row(
            "gnp-rewrite classifier.onnx -o made/s.onnx; gnp-run made/s.onnx --data data.npz --epochs 1 --engine tract -o trained.onnx",
            "the trained model cannot be written",
            "--forward",
            vec![With("--forward", "classifier.onnx")],
        ),
        row(
            run!("--best test-error"),
            "the best epoch by test-error cannot be told",
            "--best loss",
            vec![With("--best", "loss")],
        ),
        row(
            run!("--batch-size 91 --drop-last"),
            "fewer than a batch of 91",
            "a smaller --batch-size",
            vec![With("--batch-size", "30")],
        ),
        row(
            run!("--batch-size 91 --drop-last"),
            "fewer than a batch of 91",
            "leave --drop-last out",
            vec![Without("--drop-last")],
        ),
        row(
            "gnp-run batched.onnx --data data.npz --epochs 1 --engine tract --batch-size 1",
            "batches have one sample",
            "a larger --batch-size",
            vec![With("--batch-size", "30")],
        ),
        row(
            "gnp-run batched.onnx --data data.npz --epochs 1 --engine tract --batch-size 89",
            "the last batch of an epoch has one sample",
            "--drop-last",
            vec![With("--drop-last", "")],
        ),
        row(
            "gnp-run batched.onnx --data data.npz --epochs 1 --engine tract --batch-size 89",
            "the last batch of an epoch has one sample",
            "--batch-norm frozen",
            vec![AsSaid("--batch-norm")],
        ),
        row(
            "gnp-run masked.onnx --data zeros.npz --epochs 1 --engine tract --loss cross-entropy --train '*'",
            "which is no number to go on with",
            "--freeze",
            vec![With("--freeze", "mask")],
        ),
        row(run!("--mixup 0.2"), "mixup and CutMix", "--loss soft-cross-entropy", vec![AsSaid("--loss")]),
        row(
            "gnp-run pixels.onnx --data images.npz --epochs 1 --engine tract --augment autoaugment",
            "AutoAugment needs images of bytes",
            "--augment basic",
            vec![AsSaid("--augment")],
        ),
    ]
}

fn data() -> Vec<Row> {
    vec![
        row(
            "gnp-run classifier.onnx --data x.npy --epochs 1 --engine tract",
            "an .npy file holds one array",
            "--labels",
            vec![With("--labels", "y.npy")],
        ),
        row(
            run!("--test-data x.npy"),
            "an .npy file holds one array",
            "--test-labels",
            vec![With("--test-labels", "y.npy")],
        ),
        row(
            "gnp-run classifier.onnx --data table.csv --epochs 1 --engine tract",
            "which column is to be predicted",
            "--target",
            vec![With("--target", "class")],
        ),
        row(
            "gnp-run classifier.onnx --data holes.csv --target class --epochs 1 --engine tract",
            "expected a number, found nothing",
            "--features",
            vec![With("--features", "b,c,d,e")],
        ),
        row(run!("--divisor 1e-39"), "once it is divided by 1e-39", "--divisor", vec![With("--divisor", "1")]),
        row(
            "gnp-run perceptron.onnx --data zeros.npz --epochs 1 --engine tract --loss cross-entropy --ignore-index 0",
            "all labels of the training data are 0",
            "--ignore-index",
            vec![With("--ignore-index", "-100")],
        ),
        row(
            "gnp-run pixels.onnx --data photos --epochs 1 --engine tract --image-size 9",
            "images of 9 pixels a side do not fit",
            "leave --image-size out",
            vec![Without("--image-size")],
        ),
        row(
            "gnp-run open_pixels.onnx --data photos --epochs 1 --engine tract",
            "the size of its images is open",
            "--image-size",
            vec![With("--image-size", "6")],
        ),
    ]
}

fn folders() -> Vec<Row> {
    vec![
        row(concat!(run!(""), ";", run!("")), "the output folder is not empty", "--resume", vec![With("--resume", "")]),
        row(concat!(run!(""), ";", run!("")), "the output folder is not empty", "--force", vec![With("--force", "")]),
        row(concat!(run!(""), ";", run!("")), "the output folder is not empty", "--out", vec![With("--out", "other")]),
        row(
            "gnp-run classifier.onnx --data data.npz --epochs 1 --engine tract --out results --resume",
            "there is no run to resume",
            "--out",
            vec![With("--out", "other")],
        ),
        row(
            concat!(run!(2, "--checkpoint-every 1"), "; spoil out/checkpoints;", run!(2, "--resume")),
            "no checkpoint is whole",
            "--force in place of --resume",
            vec![Without("--resume"), With("--force", "")],
        ),
        row(
            concat!(run!(""), "; lock out/metrics.jsonl;", run!(2, "--resume")),
            "another process trains in this folder",
            "--out",
            vec![With("--out", "other")],
        ),
        row(
            concat!(run!(""), "; spoil out/metrics.jsonl; gnp-run report out --output page.html"),
            "is not an event of a run",
            "--force",
            vec![After(run!("--force"))],
        ),
        row(
            "gnp-run report made -o taken.html",
            "the file exists",
            "give --force to replace it",
            vec![With("--force", "")],
        )
        .then("cannot read"),
        row(
            "gnp-run sweep sweep.toml --r 0.1 --alpha 0 --seeds 1 --out swept; gnp-run sweep sweep.toml --r 0.1 --alpha 0 --seeds 1 --out swept -- --lr 0.5",
            "made with another configuration",
            "--out",
            vec![With("--out", "other")],
        ),
        row(
            "gnp-run sweep sweep.toml --seeds 1 --out swept --arm plain",
            "expected a name, `=` and flags",
            "--arm 'plain, twice the epochs = --alpha 0 --epochs 40'",
            vec![Without("--arm"), AsSaid("--arm")],
        ),
    ]
}
