//! The names that callers of what is written know: inputs, outputs and metadata of a step model, and of a rewritten
//! artifact.
//!
//! A step model is an ordinary ONNX model that takes one whole training step.
//!
//! | | In this order |
//! |---|---|
//! | Inputs | the data inputs of the forward model; [`LABELS`], where the loss needs them; of several losses [`labels_of`] each output |
//! | | hyperparameters, float scalars: [`LEARNING_RATE`], [`R`], [`ALPHA`], what warm-up and optimizer have; [`SEED`], where anything is drawn |
//! | | state: parameters and statistics under their own names, slots of the optimizer (`<parameter>.momentum`), [`LOSS_SCALE`] and [`LOSS_SCALE_STEPS`], where the loss has a scale, and [`STEP`], where steps are counted |
//! | Outputs | [`LOSS`], [`GRAD_NORM`], [`LOSS_PERTURBED`], [`MIXED_GRAD_NORM`], [`PARAM_NORM`] |
//! | | [`SCALED_BY`] and [`SKIPPED`], where the loss has a scale |
//! | | [`COUNTED`] and [`WRONG`], where the labels are right or wrong; [`WEIGHT`], where the classes have weights; of several losses the counts of the first that has such, and [`loss_of`] each output |
//! | | the logits under their own name, where the loss is over classes and they have two axes, batch and classes |
//! | | the [`next`] of each state, in the order of the inputs |
//! | Metadata | [`VERSION_KEY`], [`CONFIG_KEY`], [`STATE_KEY`], [`RANGES_KEY`] |
//!
//! Hyperparameters and state carry initializers, so each may be left out: the file holds its own starting point. To
//! train is to feed a batch and the state, and to feed what is returned as the next state. A rewritten artifact has
//! [`R`], [`ALPHA`] and the outputs from [`GRAD_NORM`] to [`PARAM_NORM`] where that is asked for. All outputs but the
//! [`next`]s are of θ, the parameters before the step.
//!
//! Labels that are class numbers are int64 in the shape of the logits without the axis of the classes. Those of the
//! number to be ignored (-100 where no other was chosen) do not count: the loss is the mean over the others, and 0 with
//! a gradient of 0 where there are no others. A label that is neither a class nor to be ignored makes the loss NaN;
//! [`RANGES_KEY`] tells what labels and other whole numbers may be.

pub mod artifacts;
pub mod functions;
mod range;

pub use range::{Outside, Part, Range, Ranges};

/// The input that holds the labels; the loss decides on their type and shape.
pub const LABELS: &str = "labels";
/// The input that is the learning rate, a float scalar.
pub const LEARNING_RATE: &str = "lr";
/// The input that is the radius r of the perturbation, a float scalar.
pub const R: &str = "gnp.r";
/// The input that is the weight α of the perturbed gradient, a float scalar.
pub const ALPHA: &str = "gnp.alpha";
/// The input that is the length of the penalty's warm-up in steps, a float scalar.
pub const WARMUP_STEPS: &str = "gnp.warmup_steps";
/// The input that what is drawn at random depends on, an int64 scalar.
pub const SEED: &str = "gnp.seed";
/// The state that counts the steps done, an int64 scalar, 0 at first.
pub const STEP: &str = "step";

/// The state that the loss is multiplied with for its gradient, a float scalar, where the step is computed in float16.
pub const LOSS_SCALE: &str = "gnp.loss_scale";
/// The state that counts the steps taken since [`LOSS_SCALE`] has changed, an int64 scalar.
pub const LOSS_SCALE_STEPS: &str = "gnp.loss_scale_steps";

/// The output L(θ), a float scalar.
pub const LOSS: &str = "loss";
/// The output ‖∇L(θ)‖₂, a float scalar.
pub const GRAD_NORM: &str = "gnp.grad_norm";
/// The output L(θ + ε), a float scalar; L(θ) where there is no second pass.
pub const LOSS_PERTURBED: &str = "gnp.loss_perturbed";
/// The output ‖g‖₂ of the mix g of both gradients, before it is clipped, a float scalar; ‖∇L(θ)‖₂ where there is no
/// second pass, except in normalised gradient descent.
pub const MIXED_GRAD_NORM: &str = "gnp.mixed_grad_norm";
/// The output ‖θ‖₂ over all trainable parameters, before the step, a float scalar.
pub const PARAM_NORM: &str = "gnp.param_norm";
/// The output that is [`LOSS_SCALE`] as this step had it, a float scalar.
pub const SCALED_BY: &str = "gnp.scaled_by";
/// The output that is 1 where a gradient of the step was not finite at this scale, so that the next state is the one
/// that was given, but for a smaller scale, and running statistics; else 0. A float scalar.
pub const SKIPPED: &str = "gnp.skipped";
/// The output that is the number of labels that count, a float scalar: all of the batch, but those to be ignored.
pub const COUNTED: &str = "gnp.counted";
/// The output that is how many of them the model gets wrong, a float scalar. Of classes, one is right whose logit is
/// larger than all others; of probabilities (binary cross-entropy), one is right that is on the side of ½ that its
/// label is on.
pub const WRONG: &str = "gnp.wrong";
/// The output that is the sum of the weights by which the loss is a mean, a float scalar: that of the class of each
/// label that counts.
pub const WEIGHT: &str = "gnp.weight";

/// The key of the metadata under which the version stands that wrote the model.
pub const VERSION_KEY: &str = "gnp.version";
/// The key of the metadata under which every choice stands, as JSON.
pub const CONFIG_KEY: &str = "gnp.config";
/// The key of the metadata under which the pairs of a state's input and output stand, as JSON: `[["w", "w.next"], …]`.
pub const STATE_KEY: &str = "gnp.state";
/// The key of the metadata under which stands, as JSON, which whole numbers the inputs may hold by which the model
/// looks something up: `{"ids": [{"last": 30521}], "labels": [{"last": 9, "ignored": -100}]}`, numbers from 0 to the
/// last, and the one that is ignored ([`Range`]).
pub const RANGES_KEY: &str = "gnp.ranges";

/// The key of the metadata of a training model under which stands, as JSON, what is fed to the inputs that are numbers
/// where nothing else is given: `{"gnp.momentum": 0.9}`.
pub const NUMBERS_KEY: &str = "gnp.numbers";

const NEXT_SUFFIX: &str = ".next";
const LABELS_PREFIX: &str = "labels.";

/// The input that holds the labels of an output, where the model has several losses.
///
/// ```
/// assert_eq!(gnp_base::contract::labels_of("box"), "labels.box");
/// ```
pub fn labels_of(output: &str) -> String {
    format!("{LABELS_PREFIX}{output}")
}

/// The output whose labels the input `name` holds, where it is one of several losses.
pub fn output_of(name: &str) -> Option<&str> {
    name.strip_prefix(LABELS_PREFIX)
}

/// Whether the input `name` holds labels.
pub fn are_labels(name: &str) -> bool {
    name == LABELS || output_of(name).is_some()
}

/// The output that is the loss of an output of the model before it is weighted, where there are several.
pub fn loss_of(output: &str) -> String {
    format!("gnp.loss.{output}")
}

/// The output that is the state `name` after the step.
///
/// ```
/// assert_eq!(gnp_base::contract::next("fc1.weight"), "fc1.weight.next");
/// ```
pub fn next(name: &str) -> String {
    format!("{name}{NEXT_SUFFIX}")
}

/// Whether `name` may be that of an output that [`next`] names.
pub fn is_next(name: &str) -> bool {
    name.ends_with(NEXT_SUFFIX)
}

/// Whether a step model gives a meaning to this name, whatever its state is.
pub fn is_reserved(name: &str) -> bool {
    [LABELS, LEARNING_RATE, STEP, LOSS].contains(&name) || name.starts_with("gnp.")
}
