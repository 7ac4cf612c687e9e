"""Keyword arguments, which are the programs' flags by their long names: ``clip_norm=1.0`` is ``--clip-norm 1.0``.

This file is written by ``crates/python/options.py``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict, Union

StrPath = Union[str, "os.PathLike[str]"]


class StepOptions(TypedDict, total=False):
    """What a step model is made with, besides its rates."""

    lambda_: float
    """The weight of the penalty in the loss, in place of alpha, which is then lambda/r."""
    mix: Literal["raw", "unit"]
    """How the gradient at w enters the mix [default: raw]."""
    perturb: Literal["l2", "adaptive"]
    """The direction in which the second gradient is taken [default: l2]."""
    loss: str | Sequence[str]
    """The loss; auto takes it from how the graph ends. OUTPUT=LOSS, or OUTPUT=LOSS*WEIGHT, puts it on an output;
    where several are given, their weighted sum is trained."""
    logits: str
    """The value that the loss is taken of, where the graph has several outputs."""
    loss_output: str
    """The scalar of the graph that is the loss already."""
    label_smoothing: float
    """Spread this share of each label over all classes."""
    class_axis: int
    """The axis of the logits that the classes are on [default: what names, shapes and operators tell]."""
    ignore_index: int
    """Labels of this number do not count: the loss is the mean over the others [default: -100]."""
    class_weights: Sequence[float]
    """What each class counts in cross-entropy, a number for each."""
    class_weights_file: StrPath
    """The same from a text file, where there are many: numbers between spaces, commas or line ends."""
    pos_weight: Sequence[float]
    """What labels of 1 count in binary cross-entropy: one number, or one for each output."""
    l2: float
    """Add C/2 * |w|^2 to the loss, and so to both passes."""
    l2_skip_1d: bool
    """Leave biases and scales (parameters of one axis or none) out of l2=."""
    train: str | Sequence[str]
    """Train the constants with such names, and no others (* and ? stand for anything)."""
    also_train: str | Sequence[str]
    """Train the constants with such names too."""
    freeze: str | Sequence[str]
    """Do not train the constants with such names."""
    lora: int
    """Freeze all weights but those that train= and also_train= name, and train adapters of this rank beside those
    of linear layers (LoRA)."""
    lora_target: str | Sequence[str]
    """Put adapters beside the weights with such names [default: those of all linear layers but the last]."""
    lora_alpha: float
    """What adapters add counts A/RANK times [default: the rank]."""
    lora_write: Literal["merge", "adapters"]
    """What becomes of adapters in the trained model [default: merge; adapters beside quantised weights]."""
    tie: Mapping[str, object]
    """Let the constant A be B, or its transpose, and train as one with it."""
    untie: str | Sequence[str]
    """Give every reader of this constant a weight of its own."""
    batch_norm: Literal["train", "frozen", "auto"]
    """How BatchNormalization trains [default: train]."""
    dropout: Literal["keep", "off"]
    """Whether Dropout drops [default: keep]."""
    random: Literal["counter", "engine"]
    """Where random numbers come from [default: counter]."""
    straight_through: Literal["auto", "all", "off"]
    """Where gradients pass straight through what rounds [default: auto]."""
    gradients: Literal["standard", "ort", "ort-cuda"]
    """The operators that gradients are made of: of artifacts, and of what the engine ort-training trains [default:
    standard]."""
    accumulate: int
    """Take each batch in N parts, one after the other, so that a step needs the memory of one."""
    perturb_per: Literal["batch", "micro"]
    """What has a perturbation of its own: the batch, or each of its parts [default: batch]."""
    recompute: bool
    """Compute activations again for the gradient in place of keeping them: less memory, up to a third more time."""
    precision: Literal["float32", "float16", "bfloat16"]
    """What forward and backward pass compute in; parameters, norms, loss and update are float32 in any case
    [default: float32]."""
    loss_scale: float | str
    """What the loss is multiplied with at first, so that small gradients are numbers of float16; it is halved after
    a step whose gradient overflows, which is not taken, and doubled after 2000 that were; or off [default: 65536
    with precision= float16, else off]."""
    flat: bool
    """Write the nodes of functions in place of their calls, for tools that know no functions."""
    dim: Mapping[str, object]
    """What an axis of the inputs is to be: batch=32 gives the dimension `batch` a size, 'x[0]=32' the first axis of
    input x; 'x[0]=batch' opens an axis that the model was exported with a fixed size of, as for batches of 1
    ('*[0]=batch': of every input). May be repeated."""
    rename: Mapping[str, object]
    """Give a value of the model another name in the step model, where its own is one that a step model needs (lr,
    step, labels); the trained model has the name that it had. May be repeated."""
    max_nodes: int
    """How many nodes the step model may have [default: 500000]."""
    max_constant_bytes: int
    """How many bytes of constants are computed from sizes in the file; what is larger is left to the engine
    [default: 268435456]."""
    max_depth: int
    """How deep functions and bodies may stand in each other [default: 100]."""
    optimizer: Literal["sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop"]
    """The optimizer, with PyTorch's formula and defaults; in artifacts that are there, in place of their own
    [default: momentum]."""
    momentum: float
    """Momentum, or the first beta of Adam [default: 0.9]."""
    weight_decay: float
    """Weight decay [default: 0; 0.01 with adamw]."""
    decay: Literal["coupled", "decoupled"]
    """Where weight decay enters [default: coupled; decoupled with adamw]."""
    decay_skip_1d: bool
    """Leave biases and scales out of weight decay."""
    lr_scale: Mapping[str, object]
    """Multiply the learning rate of the parameters with such names, the last that matches counts."""
    decay_scale: Mapping[str, object]
    """Multiply the weight decay of the parameters with such names, the last that matches counts."""
    clip_norm: float
    """Scale the gradient down to this norm where it is longer."""
    gr_warmup: Literal["none", "r", "lambda", "zero"]
    """Warm the penalty up: its radius, its weight, or by plain steps at first."""
    gr_warmup_steps: int
    """The length of the warm-up."""

class RewriteOptions(StepOptions, total=False):
    """What :func:`gnp.rewrite` takes."""

    r: float
    """The radius r of the perturbation; 0 is plain training [default: 0.1]."""
    alpha: float
    """The weight of the perturbed gradient: 1 is SAM, 0 is plain training (in the unit mix normalised gradient
    descent) [default: 0.8]."""
    lr: float
    """The learning rate where none is fed [default: 0.001; 0.01 with rmsprop]."""

class EngineOptions(TypedDict, total=False):
    """What computes, and how: what :class:`gnp.Trainer` takes."""

    engine: Literal["auto", "onnxruntime", "tract", "ort-training"]
    """What to train with."""
    device: str
    """Where to compute: cpu, cuda or cuda:N, the Nth device from 0."""
    ort_lib: StrPath
    """ONNX Runtime library to use, rather than the first that will do of those listed by `gnp-run engines`."""
    threads: int
    """Threads that one operator may use, no more than the machine runs at a time [default: one a core]."""
    layout: Literal["auto", "plain"]
    """How the graph is arranged while a step is computed: images, products, sums, norms [default: auto]."""
    kernels: Literal["auto", "none"]
    """What computes the functions that a step model calls."""
    tf32: Literal["on", "off"]
    """Whether products of matrices on NVIDIA's cards are of factors rounded to TF32 [default: on]."""
    half: Literal["native", "emulated"]
    """What computes in half precision, where the step model asks for that (precision=)."""
    cuda_graph: Literal["auto", "off"]
    """Whether the work of a step on NVIDIA's cards is recorded once, and then given to the card as a whole."""
    ort_option: Mapping[str, object]
    """Set an option of ONNX Runtime's own: of its sessions where the key has a dot, else of the device's execution
    provider."""

class ArtifactOptions(RewriteOptions, total=False):
    """What :func:`gnp.make_artifacts` and its like take."""

    expose: Literal["r", "alpha"]
    """Make these numbers inputs of the graph, `gnp.r` and `gnp.alpha` (float scalars after the labels); in a step
    model they are."""
    metrics: bool
    """Return `gnp.grad_norm`, `gnp.loss_perturbed`, `gnp.mixed_grad_norm` and `gnp.param_norm` after the outputs
    that the application knows; a step model does."""
    loss_alone: bool
    """With emit= ort-training, return the loss without the predictions."""
    artifact_prefix: str
    """What the names of the artifacts' files begin with."""
    force: bool
    """Replace existing files."""
    external_data: Literal["copy", "link", "keep"]
    """What becomes of external data when the output is in another folder."""
    dry_run: bool
    """Do everything but write."""
    check: bool
    """Read the result again and check its structure and types; load it in an engine that is found and try a step on
    made-up data."""
    ort_lib: StrPath
    """The ONNX Runtime library to load it in, rather than the first that is found."""

class SweepOptions(StepOptions, EngineOptions, total=False):
    """What :func:`gnp.sweep` takes for every run."""

    model: StrPath
    """An ONNX model, which is made a step model as gnp-rewrite does; a step model; or a folder of training
    artifacts."""
    forward: StrPath
    """The model that a step model was made of, to evaluate and to put the trained weights into [default: the file
    of its name beside the step model]."""
    artifact_prefix: str
    """What the names of the files in a folder of artifacts begin with."""
    data: StrPath
    """Training data: an .npz or .safetensors file or a folder of .npy files with x_train, y_train, x_test, y_test
    or with x, y, or with an array for each input of the model, by name, in place of x; a folder of images
    (train/CLASS/*.jpg, val/CLASS/*.jpg); a folder of CIFAR's .bin files or of IDX files named like MNIST's; a .csv,
    .jsonl or .parquet table with target=; an .npy or IDX file."""
    test_data: StrPath
    """Test data, where the training data come without or others are wanted."""
    labels: StrPath
    """Labels of the training data, where these are an .npy or IDX file."""
    test_labels: StrPath
    """Labels of the test data, where these are an .npy or IDX file."""
    test_split: float
    """Take the fraction P (0 to 1) of the training data, drawn by seed=, as test data."""
    train_samples: int
    """Train on N of the training samples, drawn by seed= once test_split= has taken its part [default: all]."""
    features: str | Sequence[str]
    """Columns of a table to predict from [default: all others that hold numbers]."""
    feature: Mapping[str, object]
    """What an input of the model is fed, where it has several: columns of a table side by side, a column of lists,
    or an array of an archive."""
    target: str | Sequence[str]
    """What to predict: columns of a table, of which text becomes classes in alphabetical order, or an array of an
    archive [default there: y or labels]; OUTPUT=COLUMN,... for each output, where several have a loss."""
    text: str | Sequence[str]
    """A column of a table that is text, or two whose texts make a pair."""
    tokenizer: StrPath
    """The tokenizer.json of the model, which makes token ids of the text."""
    max_length: int
    """Cut longer samples to N tokens, or items of a list."""
    pad: Mapping[str, object]
    """Fill shorter samples of an input up with NUMBER, to the length of the longest in their batch [default: the
    tokenizer's, else 0; for labels what does not count]."""
    pad_multiple: int
    """Fill up to a multiple of N: an engine may prepare itself for each length [default: 8]."""
    group_by_length: bool
    """Make batches of samples of about the same length: less is filled up."""
    image_size: int
    """Sides of the images in pixels, where the model leaves them open: the shorter side is resized, the middle
    cropped."""
    divisor: float
    """Divide the samples by N [default: 255 for bytes and images, 1 for all else]."""
    normalize: Literal["none", "data"]
    """Whether to bring the samples to mean 0 and standard deviation 1, after the division [default: none]."""
    mean: Sequence[float]
    """Subtract this after the division: one number, or one a channel."""
    std: Sequence[float]
    """Divide by this after mean=: one number, or one a channel."""
    label_noise: float
    """Redraw the fraction P (0 to 1) of the training labels at random, to see what training makes of it."""
    augment: Literal["none", "basic", "autoaugment", "random-resized-crop"]
    """What to do to the pixels of training images, at random [default: none]."""
    cutout: int
    """Cover a square of so many pixels a side of each training image, at a random place (Cutout)."""
    mixup: float
    """Mix each training sample and its label with another, by a share from Beta(ALPHA, ALPHA)."""
    cutmix: float
    """Put a box of another image into each training image, of an area from Beta(ALPHA, ALPHA), and mix the labels
    likewise; with mixup=, each batch has one of the two."""
    workers: int
    """Threads that prepare batches ahead of their use [default: 1 for arrays without augmentation, else one a
    core]."""
    epochs: int
    """Times that the training data are gone through."""
    batch_size: int
    """Samples a step."""
    drop_last: bool
    """Leave out an epoch's last batch where it is not whole."""
    set: Mapping[str, object]
    """Set another hyperparameter of a step model, by the name of its input."""
    lr: float
    """Learning rate at its peak [default: the step model's own, 0.001 for artifacts]."""
    schedule: Literal["constant", "stepped", "cosine", "exponential", "linear"]
    """How the learning rate goes on after the warm-up [default: constant]."""
    milestones: Sequence[float]
    """The epochs at whose end a stepped schedule multiplies the learning rate by gamma=: 60,120,160."""
    gamma: float
    """The factor of a stepped schedule [default: 0.1]."""
    final_lr: float
    """Where the learning rate ends, as a share of its peak [default: 0; 0.012 with exponential]."""
    warmup: str
    """How long the learning rate rises to its peak: a number of steps, or of epochs as in 5ep [default: 0]."""
    hybrid: float
    """Take each step with the penalty with this probability, else plainly."""
    gr_warmup_epochs: float
    """The length of the penalty's warm-up in epochs, in place of gr_warmup_steps=."""
    micro_batch: str
    """Take each batch in parts of N samples at most, one after the other: a step is that of the whole batch, and
    needs the memory of a part. `auto` takes the largest parts with which a step fits into the memory that is free,
    by an estimate that is made before anything runs [default: the whole batch]."""
    memory: str
    """What a step may take of the memory where micro_batch= is auto, as in 512MiB or 8GB [default: nine tenths of
    what is free on the device]."""
    checkpoint_every: int
    """Epochs from one checkpoint to the next; one is written too when the run is stopped, and when it ends."""
    keep: int
    """Checkpoints that are kept, the newest."""
    best: Literal["test-error", "test-loss", "loss", "test-f1", "test-mean-iou", "test-r2", "test-mae"]
    """Keep the checkpoint of the best epoch as well, and tell it by this."""
    patience: int
    """End the run after so many epochs without an improvement of the metric [default: never]."""
    min_delta: float
    """What the metric must fall by to be an improvement, for patience=; a test error is from 0 to 1."""
    evaluate_every: int
    """Epochs from one evaluation on the test data to the next; the last epoch is always evaluated."""
    output: StrPath
    """Write the trained model there: the model that was given, with trained weights."""
    external_data: Literal["copy", "link", "keep"]
    """What becomes of the model's external data when the result is in another folder."""
    profile: bool
    """Tell at the end which operators take the time of a step (ONNX Runtime, on the processor); the record of each
    is profile.json in the run's folder, which ui.perfetto.dev shows."""

class RunOptions(SweepOptions, total=False):
    """What :func:`gnp.run` takes."""

    init: Literal["keep", "shuffle"]
    """The weights to begin with."""
    seed: int
    """Decides everything random: runs with the same seed are equal."""
    r: float
    """The radius r of the perturbation; 0 is plain training [default: 0.1]."""
    alpha: float
    """The weight of the perturbed gradient: 1 is SAM, 0 is plain training (in the unit mix normalised gradient
    descent) [default: 0.8]."""
    out: StrPath
    """Folder for metrics, checkpoints, the report and the result [default: runs/ and the name of MODEL]."""
