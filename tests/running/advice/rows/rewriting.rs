//! A model that is rewritten, its sizes and names, its loss.

use super::Follow::{After, AsSaid, With, Without};
use super::{Row, row};

pub(super) fn rows() -> Vec<Row> {
    [rewriting(), adapters_and_parts(), sizes_and_names(), losses()].into_iter().flatten().collect()
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
        row("gnp-rewrite magic.onnx -o s.onnx --loss mse", "no gradient rule", "--freeze", vec![With("--freeze", "w")])
            .then("no trainable parameter"),
        row(
            "gnp-rewrite magic.onnx -o s.onnx --loss mse",
            "no gradient rule",
            "--logits",
            vec![With("--logits", "before")],
        ),
        row("gnp-rewrite unpool.onnx -o s.onnx --loss mse", "`y` (MaxUnpool)", "--freeze", vec![With("--freeze", "w")])
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

fn adapters_and_parts() -> Vec<Row> {
    vec![
        row(
            "gnp-rewrite pixels.onnx -o s.onnx --lora 2",
            "no weight that adapters go beside",
            "name some with --lora-target",
            vec![With("--lora-target", "fc.weight")],
        ),
        row(
            "gnp-rewrite blocked.onnx -o s.onnx --loss mse --lora 2 --lora-write merge",
            "quantised in a form that takes no adapters up",
            "leave --lora-write out",
            vec![Without("--lora-write")],
        ),
        row(
            "gnp-rewrite classifier.onnx -o s.onnx --precision float16 --loss-scale 0",
            "the scale of the loss is 0",
            "leave --loss-scale out",
            vec![Without("--loss-scale")],
        ),
        row(
            "gnp-rewrite one.onnx -o s.onnx --accumulate 2",
            "the batch has a fixed size",
            "--dim 'x[0]=batch'",
            vec![AsSaid("--dim")],
        ),
        row(
            "gnp-rewrite apart.onnx -o s.onnx --loss-output own --accumulate 2",
            "it is not told which axis of `labels`",
            "--dim 'labels[0]=batch'",
            vec![AsSaid("--dim")],
        ),
        row(
            "gnp-rewrite pixels.onnx -o s.onnx --accumulate 2 --random engine",
            "it draws by itself",
            "leave --random out",
            vec![Without("--random")],
        ),
        row(
            "gnp-run classifier.onnx --data data.npz --epochs 1 --engine tract --accumulate 2",
            "tract has no loops",
            "--engine onnxruntime",
            vec![AsSaid("--engine")],
        ),
        row(
            "gnp-run classifier.onnx --data data.npz --epochs 1 --engine tract --accumulate 2",
            "tract has no loops",
            "leave --accumulate out",
            vec![Without("--accumulate")],
        ),
        row(
            "gnp-rewrite classifier.onnx -o s.onnx --perturb-per micro",
            "how the parts of a batch are perturbed",
            "--accumulate 4",
            vec![AsSaid("--accumulate")],
        ),
        row(
            "gnp-run classifier.onnx --data data.npz --epochs 1 --engine tract --micro-batch auto --memory 1kB",
            "a step of one sample takes",
            "--memory",
            vec![With("--memory", "1GB")],
        ),
        row(
            "gnp-run classifier.onnx --data data.npz --epochs 1 --engine tract --micro-batch 1000 --memory 1GB",
            "--memory is of no use",
            "--micro-batch auto",
            vec![AsSaid("--micro-batch")],
        ),
        row(
            "gnp-run one.onnx --data data.npz --epochs 1 --engine tract --micro-batch auto",
            "the batch has a fixed size",
            "--dim 'x[0]=batch'",
            vec![AsSaid("--dim")],
        ),
        row(
            "gnp-run sentences.onnx --data texts.csv --target kind --text review --tokenizer tokenizer.json --epochs 1 \
             --engine tract --loss logits=cross-entropy --micro-batch auto",
            "is open, and how much memory",
            "--dim",
            vec![AsSaid("--dim")],
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
            "gnp-rewrite classifier.onnx -o s.onnx --dim batch=0",
            "which has no elements",
            "leave others out",
            vec![Without("--dim")],
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
