//! Advice works: each help text of an error that names a flag is met through the programs, and followed.
//!
//! A row of [`rows`] is a command that fails, and how its advice is followed: with the words of the advice itself,
//! where it has a value (`--dim 'x[0]=batch'`), else with one that fits (`--logits NAME`). The command must then
//! succeed, or say something else. The last test reads the source: a help text with a flag that no row meets fails it,
//! unless it stands in [`BEYOND_REACH`] with the reason.
use crate::support::forward::{self, append, graph, info, node, weight, with};
use crate::support::models;
use gnp::onnx::DataType;
use gnp::onnx::proto::{AttributeProto, GraphProto, ModelProto, TensorProto};
use ndarray::{Array1, Array2, Array4};
use ndarray_npy::WriteNpyExt;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::{LazyLock, Mutex};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// How an advice is followed. The flags must be in the text.
enum Follow {
    /// With the value that the advice gives, each time that it names the flag.
    AsSaid(&'static str),
    /// With a value that fits, in place of the one that was given where there was one.
    With(&'static str, &'static str),
    /// Without the flag and its value.
    Without(&'static str),
    /// By another command before this one.
    After(&'static str),
    /// By another command in its place.
    Instead(&'static str),
}
use Follow::{After, AsSaid, Instead, With, Without};

struct Row {
    /// What fails, in a folder of the files of [`prepare`]; after other commands, where there are some before a `;`.
    command: &'static str,
    /// A part of the error.
    says: &'static str,
    /// A part of the help.
    helps: &'static str,
    follow: Vec<Follow>,
    /// A part of what is said then; none where the command then succeeds.
    then: Option<&'static str>,
}

fn row(command: &'static str, says: &'static str, helps: &'static str, follow: Vec<Follow>) -> Row {
    Row { command, says, helps, follow, then: None }
}

impl Row {
    /// Says something else once the advice is followed.
    fn then(self, says: &'static str) -> Self {
        Self { then: Some(says), ..self }
    }
}

fn rows() -> Vec<Row> {
    [rewriting(), sizes_and_names(), losses(), running(), data(), folders(), made_artifacts(), artifacts(), engines()]
        .into_iter()
        .flatten()
        .collect()
}

fn rewriting() -> Vec<Row> {
    vec![
        row(
            "gnp-rewrite classifier.onnx -o step.onnx; gnp-rewrite classifier.onnx -o step.onnx",
            "the file exists",
            "--force",
            vec![With("--force", "")],
        ),
        row(
            "gnp-rewrite classifier.onnx -o step.onnx; gnp-rewrite classifier.onnx -o step.onnx",
            "the file exists",
            "-o",
            vec![With("-o", "other.onnx")],
        ),
        row(
            "gnp-rewrite classifier.onnx -o s.onnx --freeze '*'",
            "no trainable parameter",
            "--freeze",
            vec![With("--freeze", "'fc1*'")],
        ),
        row(
            "gnp-rewrite scaled.onnx -o s.onnx --loss mse",
            "no trainable parameter",
            "--train GLOB",
            vec![With("--train", "temperature")],
        ),
        row(
            "gnp-rewrite whole.onnx -o s.onnx --loss mse",
            "depends on no trainable parameter",
            "--logits",
            vec![With("--logits", "logits")],
        ),
        row(
            "gnp-rewrite whole.onnx -o s.onnx --loss mse --train fc1.weight",
            "depends on no trainable parameter",
            "--train",
            vec![With("--logits", "hidden"), With("--train", "fc1.bias")],
        ),
        row("gnp-rewrite det.onnx -o s.onnx --loss mse", "no gradient rule", "--freeze", vec![With("--freeze", "w")])
            .then("no trainable parameter"),
        row(
            "gnp-rewrite det.onnx -o s.onnx --loss mse",
            "no gradient rule",
            "--logits",
            vec![With("--logits", "before")],
        ),
        row(
            "gnp-rewrite scatter.onnx -o s.onnx --loss mse",
            "`scattered` (ScatterElements)",
            "--freeze",
            vec![With("--freeze", "w")],
        )
        .then("no trainable parameter"),
        row(
            "gnp-rewrite crop.onnx -o s.onnx --loss mse",
            "tf_crop_and_resize",
            "--freeze",
            vec![With("--freeze", "w")],
        )
        .then("no trainable parameter"),
        row(
            "gnp-rewrite unranked.onnx -o s.onnx --loss mse",
            "number of axes",
            "--freeze",
            vec![With("--freeze", "w")],
        )
        .then("no trainable parameter"),
        row(
            "gnp-rewrite resized.onnx -o s.onnx --loss mse --train '*'",
            "its input 2 depends on a trained parameter",
            "--freeze",
            vec![With("--freeze", "scales")],
        ),
        row(
            "gnp-rewrite classifier.onnx -o s.onnx --l2 -1",
            "the weight of l2 is -1",
            "leave --l2 out",
            vec![Without("--l2")],
        ),
        row(
            "gnp-rewrite classifier.onnx -o s.onnx --momentum 2",
            "the momentum is 2",
            "leave --momentum out",
            vec![Without("--momentum")],
        ),
        row(
            "gnp-rewrite classifier.onnx -o s.onnx --decay-scale '*=2'",
            "--decay-scale is of no use",
            "--weight-decay",
            vec![With("--weight-decay", "0.1")],
        ),
        row(
            "gnp-rewrite classifier.onnx -o s.onnx --gr-warmup r",
            "the warm-up of the penalty has no length",
            "--gr-warmup-steps",
            vec![With("--gr-warmup-steps", "5")],
        ),
        row(
            "gnp-rewrite classifier.onnx -o s.onnx --r 0 --lambda 0.1",
            "--lambda needs a radius",
            "--r above 0",
            vec![With("--r", "0.1")],
        ),
        row(
            "gnp-rewrite classifier.onnx -o s.onnx --r 0 --lambda 0.1",
            "--lambda needs a radius",
            "--alpha in place of --lambda",
            vec![Without("--lambda"), With("--alpha", "0.5")],
        ),
        row(
            "gnp-rewrite statistics.onnx -o s.onnx",
            "its running statistic `bn.var` cannot move",
            "--batch-norm frozen",
            vec![AsSaid("--batch-norm")],
        ),
        row(
            "gnp-rewrite classifier.onnx -o s.onnx --max-nodes 20",
            "more than 20 nodes",
            "--max-nodes",
            vec![With("--max-nodes", "5000")],
        ),
        row(
            "gnp-rewrite body.onnx -o s.onnx --loss mse --dropout off --max-depth 1",
            "more than 1 deep",
            "--max-depth",
            vec![With("--max-depth", "2")],
        ),
        row(
            "gnp-rewrite multinomial.onnx -o s.onnx --loss mse",
            "cannot be made from the seed",
            "--random engine",
            vec![AsSaid("--random")],
        ),
        row(
            "gnp-rewrite body.onnx -o s.onnx --loss mse",
            "its body has a Dropout node",
            "--dropout off",
            vec![AsSaid("--dropout")],
        ),
    ]
}

fn sizes_and_names() -> Vec<Row> {
    vec![
        row(
            "gnp-run one.onnx --data data.npz --epochs 1 --engine tract",
            "batches of 1, not of 64",
            "--dim 'x[0]=batch'",
            vec![AsSaid("--dim")],
        ),
        row(
            "gnp-run one.onnx --data data.npz --epochs 1 --engine tract",
            "batches of 1, not of 64",
            "--batch-size 1",
            vec![AsSaid("--batch-size")],
        ),
        row(
            "gnp-rewrite one.onnx -o s.onnx; gnp-run s.onnx --data data.npz --epochs 1 --engine tract",
            "batches of 1, not of 64",
            "gnp-rewrite --dim 'x[0]=batch'",
            vec![After("gnp-rewrite one.onnx -o s.onnx --force --dim 'x[0]=batch'")],
        ),
        row(
            "gnp-rewrite one.onnx -o s.onnx --dim batch=8",
            "no dimension called `batch`",
            "--dim 'x[0]=batch'",
            vec![Without("--dim"), AsSaid("--dim")],
        ),
        row(
            "gnp-rewrite two.onnx -o s.onnx --logits probabilities --dim '*[0]=batch'",
            "they are not one size",
            "--dim 'x[0]=batch' --dim 'other[0]=batch2'",
            vec![Without("--dim"), AsSaid("--dim")],
        ),
        row(
            "gnp-rewrite classifier.onnx -o s.onnx --dim batch=n",
            "`batch` is open already",
            "--dim batch=32",
            vec![Without("--dim"), AsSaid("--dim")],
        ),
        row(
            "gnp-rewrite classifier.onnx -o s.onnx --dim batch=8 --dim 'x[0]=9'",
            "is to be",
            "leave one --dim out",
            vec![Without("--dim"), With("--dim", "batch=8")],
        ),
        row(
            "gnp-rewrite squeezed.onnx -o s.onnx --loss mse --dim 'x[0]=batch'",
            "node `y` (Squeeze)",
            "name that with --logits",
            vec![With("--logits", "logits")],
        ),
        row(
            "gnp-rewrite squeezed.onnx -o s.onnx --loss mse --dim 'x[0]=batch'",
            "node `y` (Squeeze)",
            "leave --dim out",
            vec![Without("--dim")],
        ),
        row(
            "gnp-rewrite rate.onnx -o s.onnx",
            "the model has an input `lr`",
            "--rename 'lr=",
            vec![AsSaid("--rename")],
        ),
        row(
            "gnp-rewrite labelled.onnx -o s.onnx --loss mse",
            "the model has an input `labels`",
            "--rename 'labels=",
            vec![AsSaid("--rename")],
        ),
        row(
            "gnp-rewrite own_loss.onnx -o s.onnx --loss mse --logits logits",
            "the model has an input `labels`",
            "--loss-output",
            vec![Without("--loss"), Without("--logits"), With("--loss-output", "own")],
        ),
        row(
            "gnp-rewrite slot.onnx -o s.onnx",
            "the model has a value `fc1.weight.momentum`",
            "--rename 'fc1.weight.momentum=",
            vec![AsSaid("--rename")],
        ),
    ]
}

fn losses() -> Vec<Row> {
    vec![
        row(
            "gnp-rewrite perceptron.onnx -o s.onnx",
            "nothing tells which loss",
            "--loss cross-entropy",
            vec![AsSaid("--loss")],
        ),
        row(
            "gnp-rewrite perceptron.onnx -o s.onnx --loss-output logits",
            "expected a float scalar",
            "--logits logits --loss cross-entropy",
            vec![Without("--loss-output"), AsSaid("--logits"), AsSaid("--loss")],
        ),
        row(
            "gnp-rewrite argmax.onnx -o s.onnx --loss mse",
            "no output of the graph is of floats",
            "--logits NAME",
            vec![With("--logits", "logits")],
        ),
        row(
            "gnp-rewrite several.onnx -o s.onnx",
            "several outputs",
            "--logits probabilities",
            vec![With("--logits", "probabilities")],
        ),
        row("gnp-rewrite mean.onnx -o s.onnx", "several outputs", "--loss-output", vec![With("--loss-output", "own")]),
        row(
            "gnp-rewrite perceptron.onnx -o s.onnx --loss mse --label-smoothing 0.1",
            "label smoothing is for losses over classes",
            "--loss cross-entropy",
            vec![AsSaid("--loss")],
        ),
        row(
            "gnp-rewrite perceptron.onnx -o s.onnx --loss mse --class-axis 1",
            "an axis of classes is for losses over classes",
            "--loss cross-entropy",
            vec![AsSaid("--loss")],
        ),
        row(
            "gnp-rewrite perceptron.onnx -o s.onnx --loss cross-entropy --class-weights 1,2",
            "--class-weights has 2 numbers",
            "give 3 numbers with --class-weights",
            vec![With("--class-weights", "1,2,3")],
        ),
        row(
            "gnp-rewrite perceptron.onnx -o s.onnx --loss cross-entropy --class-axis 7",
            "the classes are on axis 7",
            "--class-axis",
            vec![With("--class-axis", "1")],
        ),
        row(
            "gnp-rewrite perceptron.onnx -o s.onnx --loss cross-entropy --class-axis 7",
            "the classes are on axis 7",
            "--loss mse",
            vec![Without("--class-axis"), AsSaid("--loss")],
        ),
    ]
}

/// A training that succeeds as it is.
macro_rules! run {
    ($more:literal) => {
        run!(1, $more)
    };
    ($epochs:literal, $more:literal) => {
        concat!("gnp-run classifier.onnx --data data.npz --epochs ", $epochs, " --engine tract --out out ", $more)
    };
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

fn engines() -> Vec<Row> {
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

/// Help texts that name a flag and cannot be met here, each by a part of it, with the reason.
const BEYOND_REACH: [(&str, &str); 12] = [
    ("take the weights from the run's last checkpoint", "a model of more than 2 GiB"),
    (
        "or take the loss of another value (--logits)",
        "no operator that has a rule for one output has other outputs of floats",
    ),
    ("name a model or a folder of artifacts, --data and --epochs", "the arguments ask for them before"),
    ("name them with --data", "the arguments ask for them before"),
    ("build ONNX Runtime with training yourself", "on machines other than x86-64 Linux"),
    ("use --device cpu, or mend that", "a build for NVIDIA's cards, which is large: tests/running/cuda.rs"),
    ("once it can be written, the same command with --resume", "a full disk: tests/running/faults.rs"),
    ("name another folder with --out", "a folder that cannot be written to, which the tests may be allowed to"),
    ("give --alpha 0,0.8,1 and --seeds 3", "the arguments always ask for a run: for users of the library"),
    ("as a float32 initializer, or leave it out with --freeze", "what trains is made float32 before"),
    ("name their file with --test-data", "the arguments ask for it before: for users of the library"),
    (
        "--ignore-index leaves labels out",
        "labels are checked before the first step: for who feeds batches to an engine",
    ),
];

#[test]
fn advice_is_followed() {
    needs!(engines);
    assert!(MET.1.is_empty(), "{}", MET.1);
}

#[test]
fn all_advice_is_met() {
    needs!(engines);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut left = Vec::new();
    for text in ["src", "crates"].iter().flat_map(|folder| texts(&root.join(folder))) {
        let is_met = MET.0.iter().any(|help| matches(&text, help));
        let is_beyond = BEYOND_REACH.iter().any(|(part, _)| text.contains(part));
        if !is_met && !is_beyond {
            left.push(text);
        }
    }
    assert!(left.is_empty(), "no row meets these help texts:\n{}", left.join("\n"));
}

#[test]
fn what_a_rewrite_suggests_works() {
    let folder = prepare();
    let rewrite = |more: &[String]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gnp-rewrite"));
        command.current_dir(folder.path()).args(["one.onnx", "-o", "step.onnx", "--force"]).args(more);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let said = rewrite(&[]);
    assert!(said.contains("`x` takes batches of 1 only, as the model has it"), "{said}");
    let open = advised(&said, "--dim").remove(0);
    let said = rewrite(&["--dim".to_owned(), open]);
    assert!(said.contains("`x[0]` was 1 and may be any size") && !said.contains("batches of 1"), "{said}");
    let train = said.lines().find_map(|line| line.split_once("Train it: ")).unwrap().1;
    run(&format!("{} --engine tract", train.replace("DATA.npz", "data.npz")), &folder).unwrap();
}

/// The texts in the source that are given to `.help(` and name a flag.
fn texts(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(texts(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            found.extend(source.split(".help(").skip(1).filter_map(first_text).filter(|text| text.contains("--")));
        }
    }
    found
}

/// The first literal of an argument, if it is one, as the program has it.
fn first_text(argument: &str) -> Option<String> {
    let argument = argument.trim_start().trim_start_matches("format!(").trim_start();
    let mut text = String::new();
    let mut characters = argument.strip_prefix('"')?.chars();
    loop {
        match characters.next()? {
            '"' => return Some(text),
            '\\' => match characters.next()? {
                'n' => text.push('\n'),
                '\n' => {
                    let rest = characters.as_str().trim_start();
                    characters = rest.chars();
                }
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
}

/// Whether `said` is what `text` becomes, with anything for what is in braces.
fn matches(text: &str, said: &str) -> bool {
    let mut rest = said;
    text.split('{').enumerate().all(|(i, part)| {
        let literal = if i == 0 { part } else { part.split_once('}').map_or(part, |(_, literal)| literal) };
        match rest.find(literal) {
            Some(at) if i > 0 || at == 0 => {
                rest = &rest[at + literal.len()..];
                true
            }
            _ => false,
        }
    })
}

/// What the rows' helps were, and what failed; computed once for both tests.
static MET: LazyLock<(BTreeSet<String>, String)> = LazyLock::new(|| {
    crate::support::training_runtime();
    let (rows, met) = (Mutex::new(rows().into_iter()), Mutex::new((BTreeSet::new(), String::new())));
    let work = || {
        loop {
            // The lock must not be held while a row is met.
            let Some(row) = rows.lock().unwrap().next() else { return };
            let result = follow(&row);
            let mut met = met.lock().unwrap();
            match result {
                Ok(help) => _ = met.0.insert(help),
                Err(why) => met.1 += &format!("{}\n    {}\n", row.command, why.replace('\n', "\n    ")),
            }
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| _ = scope.spawn(work)));
    met.into_inner().unwrap()
});

/// Meets the error of a row, and follows its advice. Returns the help text.
fn follow(row: &Row) -> Result<String, String> {
    let folder = prepare();
    let (before, command) = row.command.rsplit_once(';').unwrap_or(("", row.command));
    for command in before.split(';').filter(|command| !command.trim().is_empty()) {
        run(command, &folder).map_err(|said| format!("`{command}` failed: {said}"))?;
    }
    let lock = before.split(';').find_map(|command| command.trim().strip_prefix("lock "));
    let lock = lock.map(|file| File::open(folder.path().join(file)).unwrap());
    lock.iter().for_each(|file| file.lock().unwrap());
    let said = run(command, &folder).err().ok_or("it succeeded, and was to fail")?;
    if !said.contains(row.says) {
        return Err(format!("it did not say `{}`: {said}", row.says));
    }
    let (error, help) = said.split_once("\n  help: ").ok_or_else(|| format!("there is no help: {said}"))?;
    let help = help.replace("\n        ", "\n");
    if !help.contains(row.helps) {
        return Err(format!("it did not advise `{}`: {said}", row.helps));
    }

    let mut words = words(command);
    for follow in &row.follow {
        let flag = match follow {
            AsSaid(flag) | With(flag, _) => Some(*flag),
            Without(_) | After(_) | Instead(_) => None,
        };
        if flag.is_some_and(|flag| !said.contains(flag)) && !matches!(follow, With("--milestones" | "--alpha", _)) {
            return Err(format!("{} is not in the advice: {said}", flag.unwrap_or_default()));
        }
        match follow {
            AsSaid(flag) => {
                let flags = words.iter().position(|word| word == "--").unwrap_or(words.len());
                let rest = words.split_off(flags);
                let values = advised(&help, flag);
                if values.is_empty() {
                    return Err(format!("the advice has no value for {flag}: {help}"));
                }
                without(&mut words, flag);
                words.extend(values.into_iter().flat_map(|value| [(*flag).to_owned(), value]).chain(rest));
            }
            With(flag, value) => {
                let flags = words.iter().position(|word| word == "--").unwrap_or(words.len());
                let rest = words.split_off(flags);
                without(&mut words, flag);
                words.push((*flag).to_owned());
                words.extend(self::words(value).into_iter().chain(rest));
            }
            Without(flag) => without(&mut words, flag),
            After(command) => _ = run(command, &folder).map_err(|said| format!("`{command}` failed: {said}"))?,
            Instead(command) => words = self::words(command),
        }
    }
    let followed = words.join(" ");
    match (run_words(&words, &folder), row.then) {
        (Ok(_), None) => Ok(help),
        (Err(said), Some(then)) if said.contains(then) && !said.starts_with(error) => Ok(help),
        (Ok(_), Some(then)) => Err(format!("followed, as `{followed}`, it succeeded, and was to say `{then}`")),
        (Err(said), _) => Err(format!("followed, as `{followed}`, it said: {said}")),
    }
}

/// The values that a text gives a flag.
fn advised(text: &str, flag: &str) -> Vec<String> {
    let after = text.match_indices(flag).map(|(at, _)| &text[at + flag.len()..]);
    let values = after.filter_map(|after| {
        let value = after.strip_prefix(' ')?;
        let value = match value.strip_prefix('\'') {
            Some(quoted) => quoted.split_once('\'')?.0,
            None => value.split([' ', ',', ';', ')', '\n']).next()?,
        };
        (!value.is_empty()).then(|| value.to_owned())
    });
    // The first of several ways; a flag that may be repeated is named twice in a row.
    let mut values: Vec<_> = values.collect();
    if !text.contains("they are not one size") && !text.contains("under different names") {
        values.truncate(1);
    }
    values
}

/// Takes a flag with its value out, wherever it stands.
fn without(words: &mut Vec<String>, flag: &str) {
    while let Some(at) = words.iter().position(|word| word == flag) {
        words.remove(at);
        if words.get(at).is_some_and(|word| !word.starts_with("--") || word.starts_with("-1")) {
            words.remove(at);
        }
    }
}

/// The words of a command, of which some are in quotes.
fn words(command: &str) -> Vec<String> {
    let parts = command.split('\'').enumerate();
    parts
        .flat_map(|(i, part)| match i % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

fn run(command: &str, folder: &TempDir) -> Result<String, String> {
    run_words(&words(command), folder)
}

/// Runs a command in a folder. Returns what it says: an error where it fails, with exit code 2 and without a panic.
fn run_words(words: &[String], folder: &TempDir) -> Result<String, String> {
    let (mut program, mut words) = words.split_first().ok_or("no command")?;
    let without_runtimes = program == "without-runtimes";
    if without_runtimes {
        (program, words) = words.split_first().ok_or("no command")?;
    }
    let at = |name: &String| folder.path().join(name);
    match (program.as_str(), words) {
        ("spoil", [name]) => return spoil(&at(name)).map_err(|error| error.to_string()),
        ("lock", _) => return Ok(String::new()),
        _ => {}
    }
    let program = match program.as_str() {
        "gnp-run" => env!("CARGO_BIN_EXE_gnp-run"),
        "gnp-rewrite" => env!("CARGO_BIN_EXE_gnp-rewrite"),
        program => return Err(format!("there is no program `{program}`")),
    };
    let mut command = Command::new(program);
    command.current_dir(folder.path()).env_remove("ORT_DYLIB_PATH");
    if without_runtimes {
        command.env("GNP_CACHE_DIR", folder.path().join("cache"));
    }
    let runtime = || crate::support::training_runtime().library.into_os_string();
    for word in words {
        if word == "RUNTIME" {
            command.arg(runtime())
        } else {
            command.arg(word)
        };
    }
    let output = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let error = said.find("error: ").map(|at| said[at..].trim_end().to_owned()).unwrap_or_else(|| said.clone());
    match output.status.code() {
        Some(0) => Ok(said),
        Some(2) if !said.contains("panicked") => Err(error),
        code => panic!("{words:?}: exit code {code:?}: {said}"),
    }
}

/// Makes files unreadable: all in a folder, or the first line of one.
fn spoil(path: &Path) -> std::io::Result<String> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            spoil(&entry?.path())?;
        }
    } else {
        fs::write(path, "spoiled\n")?;
    }
    Ok(String::new())
}

/// A folder of models and data.
fn prepare() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, model) in made_models() {
        forward::write(&model, &at(name));
    }
    for name in ["made", "results", "photos/train/dark", "photos/train/light"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    fs::write(at("results/model.onnx"), "a file").unwrap();
    fs::write(at("taken.html"), "a page").unwrap();
    fs::write(at("sweep.toml"), "model = 'classifier.onnx'\ndata = 'data.npz'\nepochs = 1\nengine = 'tract'\n")
        .unwrap();
    for (i, class) in ["dark", "light"].into_iter().cycle().take(8).enumerate() {
        let image = image::GrayImage::from_pixel(6, 6, image::Luma([if class == "dark" { 20 } else { 220 }]));
        image.save(at(&format!("photos/train/{class}/{i}.png"))).unwrap();
    }

    let x = Array2::from_shape_fn((90, 4), |(n, i)| ((n * 7 + i * 13) % 11) as f32 / 11.0 + (n % 3) as f32);
    let y = Array1::from_shape_fn(90, |n| (n % 3) as i64);
    npz(&at("data.npz"), &bytes(&x), &bytes(&y));
    npz(&at("zeros.npz"), &bytes(&x), &bytes(&Array1::<i64>::zeros(90)));
    fs::write(at("x.npy"), bytes(&x)).unwrap();
    fs::write(at("y.npy"), bytes(&y)).unwrap();
    let images = Array4::from_shape_fn((90, 1, 6, 6), |(n, _, i, j)| ((n * 3 + i * 5 + j) % 7) as f32 / 7.0);
    npz(&at("images.npz"), &bytes(&images), &bytes(&Array1::from_shape_fn(90, |n| (n % 3) as i64)));
    let line = |n: usize, first: &str| {
        format!("{first},{},{},{},{},{}\n", n % 5, n % 3, n % 2, n % 7, ["red", "green", "blue"][n % 3])
    };
    let table = |first: &dyn Fn(usize) -> String| -> String {
        let lines = (0..30).map(|n| line(n, &first(n)));
        std::iter::once("a,b,c,d,e,class\n".to_owned()).chain(lines).collect()
    };
    fs::write(at("table.csv"), table(&|n| format!("sample {n}"))).unwrap();
    fs::write(at("holes.csv"), table(&|n| if n == 7 { String::new() } else { n.to_string() })).unwrap();

    fs::copy(models().join("cnn/checkpoint"), at("cnn_checkpoint")).unwrap();
    fs::create_dir(at("artifacts")).unwrap();
    for entry in fs::read_dir(models().join("mlp")).unwrap() {
        let file = entry.unwrap().path();
        fs::copy(&file, at("artifacts").join(file.file_name().unwrap())).unwrap();
    }
    fs::copy(models().join("digits.npz"), at("digits.npz")).unwrap();
    folder
}

fn bytes<S: ndarray::Data<Elem: ndarray_npy::WritableElement>, D: ndarray::Dimension>(
    array: &ndarray::ArrayBase<S, D>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    array.write_npy(&mut bytes).unwrap();
    bytes
}

fn npz(path: &Path, x: &[u8], y: &[u8]) {
    let mut archive = ZipWriter::new(File::create(path).unwrap());
    for (name, array) in [("x_train", x), ("y_train", y)] {
        archive.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
        archive.write_all(array).unwrap();
    }
    archive.finish().unwrap();
}

const FLOAT: DataType = DataType::Float;

/// The models of the rows, by their file names.
fn made_models() -> Vec<(&'static str, ModelProto)> {
    let perceptron = forward::perceptron;
    let with_weight = |nodes: &[gnp::onnx::proto::NodeProto], constants: Vec<TensorProto>, output: &str| {
        let mut model = forward::empty();
        let graph = graph(&mut model);
        graph.initializer.push(weight("w", &[4, 4]));
        graph.initializer.extend(constants);
        graph.node = [&[node("MatMul", &["x", "w"], "before")], nodes].concat();
        graph.output = vec![info(output, FLOAT, "batch,4")];
        model
    };
    let untyped = |mut model: ModelProto| {
        graph(&mut model).output[0].r#type = None;
        model
    };
    let floats = |name: &str, numbers: &[f32]| {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        TensorProto::raw(name, FLOAT, &[numbers.len() as i64], bytes.into())
    };
    let int = |name: &str, number: i64| AttributeProto::int(name, number);

    let mut one = forward::classifier();
    graph(&mut one).input[0] = info("x", FLOAT, "1,4");
    graph(&mut one).output[0] = info("probabilities", FLOAT, "1,3");
    let mut two = one.clone();
    graph(&mut two).input.push(info("other", FLOAT, "2,4"));
    graph(&mut two).node.push(node("Relu", &["other"], "more"));
    graph(&mut two).output.push(info("more", FLOAT, "2,4"));
    let mut squeezed = perceptron();
    graph(&mut squeezed).input[0] = info("x", FLOAT, "1,4");
    graph(&mut squeezed).initializer.push(TensorProto::int64s("axes", &[0]));
    append(&mut squeezed, node("Squeeze", &["logits", "axes"], "y"), info("y", FLOAT, "3"));

    let mut rate = forward::classifier();
    graph(&mut rate).input.push(info("lr", FLOAT, ""));
    graph(&mut rate).node.insert(0, node("Mul", &["x", "lr"], "scaled"));
    graph(&mut rate).node[1].input[0] = "scaled".into();
    let mut labelled = perceptron();
    graph(&mut labelled).input[0] = info("labels", FLOAT, "batch,4");
    graph(&mut labelled).node[0].input[0] = "labels".into();
    let mut own_loss = perceptron();
    graph(&mut own_loss).input.push(info("labels", FLOAT, "batch,3"));
    append(&mut own_loss, node("Sub", &["logits", "labels"], "difference"), info("difference", FLOAT, ""));
    append(&mut own_loss, node("ReduceSumSquare", &["difference"], "kept"), info("kept", FLOAT, "1,1"));
    append(&mut own_loss, with(node("ReduceMean", &["kept"], "own"), int("keepdims", 0)), info("own", FLOAT, ""));
    let mut slot = forward::classifier();
    graph(&mut slot).initializer.push(weight("fc1.weight.momentum", &[3]));
    graph(&mut slot).node.last_mut().unwrap().input[0] = "shifted".into();
    let last = graph(&mut slot).node.len() - 1;
    graph(&mut slot).node.insert(last, node("Add", &["logits", "fc1.weight.momentum"], "shifted"));

    let mut whole = perceptron();
    let cast = |from: &str, to: &str, element: DataType| with(node("Cast", &[from], to), int("to", element as i64));
    append(&mut whole, cast("logits", "whole", DataType::Int64), info("whole", DataType::Int64, "batch,3"));
    append(&mut whole, cast("whole", "back", FLOAT), info("back", FLOAT, "batch,3"));
    let mut argmax = perceptron();
    let class = with(node("ArgMax", &["logits"], "class"), int("axis", 1));
    append(&mut argmax, class, info("class", DataType::Int64, "batch,1"));
    let mut several = forward::classifier();
    graph(&mut several).output.push(info("hidden", FLOAT, "batch,8"));
    let mut mean = perceptron();
    graph(&mut mean).node.push(with(node("ReduceMean", &["logits"], "own"), int("keepdims", 0)));
    graph(&mut mean).output.push(info("own", FLOAT, ""));
    let mut scaled = forward::empty();
    append(&mut scaled, node("Mul", &["x", "temperature"], "y"), info("y", FLOAT, "batch,4"));
    graph(&mut scaled).initializer.push(weight("temperature", &[]));

    let scattered = with(
        node("ScatterElements", &["before", "indices", "before"], "scattered"),
        AttributeProto::string("reduction", "mul"),
    );
    let indices = TensorProto { dims: vec![1, 4], ..TensorProto::int64s("indices", &[0, 0, 0, 0]) };
    let resize = |inputs: &[&str], attributes: Vec<AttributeProto>| gnp::onnx::proto::NodeProto {
        attribute: attributes,
        ..node("Resize", inputs, "large")
    };
    let crop = resize(
        &["before", "region", "", "sizes"],
        vec![
            AttributeProto::string("mode", "linear"),
            AttributeProto::string("coordinate_transformation_mode", "tf_crop_and_resize"),
            AttributeProto::string("keep_aspect_ratio_policy", "not_larger"),
        ],
    );
    let mut unranked = with_weight(
        &[
            gnp::onnx::proto::NodeProto { domain: Some("acme".into()), ..node("Magic", &["x"], "shape") },
            node("Reshape", &["before", "shape"], "loose"),
            resize(&["loose", "", "scales"], vec![AttributeProto::string("mode", "linear")]),
        ],
        vec![floats("scales", &[1.0, 1.0, 2.0])],
        "large",
    );
    unranked.opset_import.push(gnp::onnx::proto::OperatorSetIdProto { domain: Some("acme".into()), version: Some(1) });

    let flat = |from: &str| node("Flatten", &[from], "y");
    unranked.graph.get_or_insert_default().node.push(flat("large"));
    unranked.graph.get_or_insert_default().output = vec![info("y", FLOAT, "n,m")];
    let resized = with_weight(
        &[resize(&["before", "", "scales"], vec![AttributeProto::string("mode", "linear")]), flat("large")],
        vec![floats("scales", &[1.0, 2.0])],
        "y",
    );
    let mut batched = perceptron();
    for name in ["scale", "bias", "mean", "var"] {
        graph(&mut batched).initializer.push(floats(&format!("norm.{name}"), &[1.0; 3]));
    }
    append(
        &mut batched,
        node("BatchNormalization", &["logits", "norm.scale", "norm.bias", "norm.mean", "norm.var"], "normalised"),
        info("normalised", FLOAT, "batch,3"),
    );
    append(&mut batched, node("Softmax", &["normalised"], "probabilities"), info("probabilities", FLOAT, "batch,3"));
    graph(&mut batched).output = vec![info("probabilities", FLOAT, "batch,3")];
    let mut masked = perceptron();
    graph(&mut masked).initializer.push(floats("mask", &[0.0, 0.0, f32::NEG_INFINITY]));
    append(&mut masked, node("Add", &["logits", "mask"], "y"), info("y", FLOAT, "batch,3"));

    let branch = |nodes: Vec<gnp::onnx::proto::NodeProto>, output: &str| GraphProto {
        name: Some("branch".into()),
        node: nodes,
        output: vec![info(output, FLOAT, "")],
        ..Default::default()
    };
    let mut statistics = forward::network();
    let position = graph(&mut statistics).node.iter().position(|node| node.op_type() == "BatchNormalization").unwrap();
    graph(&mut statistics).input.push(info("choice", DataType::Bool, ""));
    let branches = ["Abs", "Neg"].map(|operator| branch(vec![node(operator, &["bn.var"], operator)], operator));
    let choice = AttributeProto::graph("then_branch", branches[0].clone());
    let mut choice = with(node("If", &["choice"], "variance"), choice);
    choice.attribute.push(AttributeProto::graph("else_branch", branches[1].clone()));
    graph(&mut statistics).node[position].input[2] = "shift".into();
    graph(&mut statistics).node.insert(0, node("Add", &["bn.bias", "variance"], "shift"));
    graph(&mut statistics).node.insert(0, choice);
    let mut multinomial = perceptron();
    let drawn = with(node("Multinomial", &["logits"], "drawn"), int("sample_size", 3));
    append(&mut multinomial, drawn, info("drawn", DataType::Int32, ""));
    append(&mut multinomial, cast("drawn", "numbers", FLOAT), info("numbers", FLOAT, ""));
    append(&mut multinomial, node("Mul", &["logits", "numbers"], "y"), info("y", FLOAT, "batch,3"));
    let mut body = perceptron();
    let dropped = branch(vec![node("Dropout", &["logits"], "dropped")], "dropped");
    let kept = branch(vec![node("Identity", &["logits"], "kept")], "kept");
    graph(&mut body).input.push(info("choice", DataType::Bool, ""));
    let mut choice = with(node("If", &["choice"], "y"), AttributeProto::graph("then_branch", dropped));
    choice.attribute.push(AttributeProto::graph("else_branch", kept));
    append(&mut body, choice, info("y", FLOAT, "batch,3"));

    let mut newer = perceptron();
    newer.opset_import[0].version = Some(24);
    append(&mut newer, node("Swish", &["logits"], "y"), info("y", FLOAT, "batch,3"));
    let mut grad = perceptron();
    graph(&mut grad).input[0] = info("x_grad", FLOAT, "batch,4");
    graph(&mut grad).node[0].input[0] = "x_grad".into();

    let mut pixels = forward::network();
    graph(&mut pixels).input[0] = info("image", FLOAT, "batch,1,6,6");
    let mut open_pixels = forward::network();
    graph(&mut open_pixels).input[0] = info("image", FLOAT, "batch,1,H,W");

    vec![
        ("newer.onnx", newer),
        ("grad.onnx", grad),
        ("classifier.onnx", forward::classifier()),
        ("perceptron.onnx", perceptron()),
        ("one.onnx", one),
        ("two.onnx", two),
        ("squeezed.onnx", squeezed),
        ("rate.onnx", rate),
        ("labelled.onnx", labelled),
        ("own_loss.onnx", own_loss),
        ("slot.onnx", slot),
        ("whole.onnx", whole),
        ("argmax.onnx", argmax),
        ("several.onnx", several),
        ("mean.onnx", mean),
        ("scaled.onnx", scaled),
        ("det.onnx", with_weight(&[node("Det", &["before"], "y")], vec![], "y")),
        ("scatter.onnx", with_weight(&[scattered], vec![indices], "scattered")),
        (
            "crop.onnx",
            untyped(with_weight(
                &[crop],
                vec![floats("region", &[0.0, 0.0, 1.0, 1.0]), TensorProto::int64s("sizes", &[2, 8])],
                "large",
            )),
        ),
        ("unranked.onnx", unranked),
        ("resized.onnx", resized),
        ("batched.onnx", batched),
        ("masked.onnx", masked),
        ("statistics.onnx", statistics),
        ("multinomial.onnx", multinomial),
        ("body.onnx", body),
        ("pixels.onnx", pixels),
        ("open_pixels.onnx", open_pixels),
        (
            "strange.onnx",
            with_weight(
                &[with(node("CenterCropPad", &["before", "size"], "y"), AttributeProto::ints("axes", &[1]))],
                vec![TensorProto::int64s("size", &[4])],
                "y",
            ),
        ),
    ]
}
