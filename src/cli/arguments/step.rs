//! What becomes of a forward model: its loss, what trains, the optimizer.

use super::bounded::{LARGE, MANY, at_most};
use super::loss::{LossChoice, LossParser, losses};
use super::named::named;
use crate::accumulate::{Accumulate, PerturbPer};
use crate::autodiff::Gradients;
use crate::limits::Limits;
use crate::loss::Wanted;
use crate::lowering::{self, BatchNorm, Dropout, Random, StraightThrough};
use crate::opening::Size;
use crate::penalty::{Penalty, Warmup};
use crate::precision::{LossScale, Precision};
use crate::rewrite::StepOptions;
use crate::transform::{Decay, Optimizer, OptimizerKind, Scale};
use crate::weights::{Lora, LoraWrite, Selection, Sharing, Tie};
use crate::{Error, Result, files};
use clap::Args;
use std::num::NonZero;
use std::path::{Path, PathBuf};

/// The arguments that are of a loss which is put on a model.
const OF_A_LOSS_PUT_ON: [&str; 8] = [
    "loss",
    "logits",
    "label_smoothing",
    "class_axis",
    "ignore_index",
    "class_weights",
    "class_weights_file",
    "pos_weight",
];

/// How a forward model is made into a step model.
#[derive(Args, Clone, Debug, Default)]
pub struct StepArguments {
    /// The loss; auto takes it from how the graph ends. OUTPUT=LOSS, or OUTPUT=LOSS*WEIGHT, puts it on an output; where
    /// several are given, their weighted sum is trained
    #[arg(long, value_parser = LossParser, value_name = "LOSS", help_heading = "Loss (forward models)")]
    loss: Vec<LossChoice>,
    /// The value that the loss is taken of, where the graph has several outputs
    #[arg(long, value_name = "NAME", help_heading = "Loss (forward models)")]
    logits: Option<String>,
    /// The scalar of the graph that is the loss already
    #[arg(long, value_name = "NAME", conflicts_with_all = OF_A_LOSS_PUT_ON, help_heading = "Loss (forward models)")]
    loss_output: Option<String>,
    /// Spread this share of each label over all classes
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, help_heading = "Loss (forward models)")]
    label_smoothing: Option<f32>,
    /// The axis of the logits that the classes are on [default: what names, shapes and operators tell]
    #[arg(long, value_name = "AXIS", allow_negative_numbers = true, help_heading = "Loss (forward models)")]
    class_axis: Option<i64>,
    /// Labels of this number do not count: the loss is the mean over the others [default: -100]
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Loss (forward models)")]
    ignore_index: Option<i64>,
    /// What each class counts in cross-entropy, a number for each
    #[arg(
        long,
        value_name = "W,...",
        value_delimiter = ',',
        allow_negative_numbers = true,
        help_heading = "Loss (forward models)"
    )]
    class_weights: Vec<f32>,
    /// The same from a text file, where there are many: numbers between spaces, commas or line ends
    #[arg(long, value_name = "FILE", conflicts_with = "class_weights", help_heading = "Loss (forward models)")]
    class_weights_file: Option<PathBuf>,
    /// What labels of 1 count in binary cross-entropy: one number, or one for each output
    #[arg(
        long,
        value_name = "W,...",
        value_delimiter = ',',
        allow_negative_numbers = true,
        help_heading = "Loss (forward models)"
    )]
    pos_weight: Vec<f32>,
    /// Add C/2 * |w|^2 to the loss, and so to both passes
    #[arg(long, value_name = "C", allow_negative_numbers = true, help_heading = "Loss (forward models)")]
    l2: Option<f32>,
    /// Leave biases and scales (parameters of one axis or none) out of --l2
    #[arg(long, requires = "l2", help_heading = "Loss (forward models)")]
    l2_skip_1d: bool,

    /// Train the constants with such names, and no others (* and ? stand for anything); may be repeated
    #[arg(long, value_name = "GLOB", help_heading = "What trains (forward models)")]
    train: Vec<String>,
    /// Train the constants with such names too; may be repeated
    #[arg(long, value_name = "GLOB", help_heading = "What trains (forward models)")]
    also_train: Vec<String>,
    /// Do not train the constants with such names; may be repeated
    #[arg(long, value_name = "GLOB", help_heading = "What trains (forward models)")]
    freeze: Vec<String>,
    /// Freeze all weights but those that --train and --also-train name, and train adapters of this rank beside those of
    /// linear layers (LoRA)
    #[arg(long, value_name = "RANK", value_parser = at_most::<usize, MANY>, help_heading = "What trains (forward models)")]
    lora: Option<usize>,
    /// Put adapters beside the weights with such names [default: those of all linear layers but the last]; may be
    /// repeated
    #[arg(long, value_name = "GLOB", requires = "lora", help_heading = "What trains (forward models)")]
    lora_target: Vec<String>,
    /// What adapters add counts A/RANK times [default: the rank]
    #[arg(
        long,
        value_name = "A",
        requires = "lora",
        allow_negative_numbers = true,
        help_heading = "What trains (forward models)"
    )]
    lora_alpha: Option<f32>,
    /// What becomes of adapters in the trained model [default: merge; adapters beside quantised weights]
    #[arg(
        long,
        value_parser = named::<LoraWrite>(),
        value_name = "HOW",
        requires = "lora",
        help_heading = "What trains (forward models)"
    )]
    lora_write: Option<LoraWrite>,
    /// Let the constant A be B, or its transpose, and train as one with it; may be repeated
    #[arg(long, value_name = "A=B", value_parser = parse_tie, help_heading = "What trains (forward models)")]
    tie: Vec<Tie>,
    /// Give every reader of this constant a weight of its own; may be repeated
    #[arg(long, value_name = "NAME", help_heading = "What trains (forward models)")]
    untie: Vec<String>,
    /// How BatchNormalization trains [default: train]
    #[arg(long, value_parser = named::<BatchNorm>(), value_name = "HOW", help_heading = "What trains (forward models)")]
    batch_norm: Option<BatchNorm>,
    /// Whether Dropout drops [default: keep]
    #[arg(long, value_parser = named::<Dropout>(), value_name = "WHETHER", help_heading = "What trains (forward models)")]
    dropout: Option<Dropout>,
    /// Where random numbers come from [default: counter]
    #[arg(long, value_parser = named::<Random>(), value_name = "SOURCE", help_heading = "What trains (forward models)")]
    random: Option<Random>,
    /// Where gradients pass straight through what rounds [default: auto]
    #[arg(long, value_parser = named::<StraightThrough>(), value_name = "WHERE", help_heading = "What trains (forward models)")]
    straight_through: Option<StraightThrough>,
    /// The operators that gradients are made of: of artifacts, and of what the engine ort-training trains [default:
    /// standard]
    #[arg(long, value_parser = named::<Gradients>(), value_name = "OPERATORS", help_heading = "What trains (forward models)")]
    gradients: Option<Gradients>,
    /// Take each batch in N parts, one after the other, so that a step needs the memory of one
    #[arg(
        long,
        value_name = "N",
        value_parser = at_most::<NonZero<u32>, LARGE>,
        help_heading = "Memory (forward models)"
    )]
    accumulate: Option<NonZero<u32>>,
    /// What has a perturbation of its own: the batch, or each of its parts [default: batch]
    #[arg(
        long,
        value_parser = named::<PerturbPer>(),
        value_name = "WHAT",
        help_heading = "Memory (forward models)"
    )]
    perturb_per: Option<PerturbPer>,
    /// Compute activations again for the gradient in place of keeping them: less memory, up to a third more time
    #[arg(long, help_heading = "Memory (forward models)")]
    recompute: bool,

    /// What forward and backward pass compute in; parameters, norms, loss and update are float32 in any case
    /// [default: float32]
    #[arg(
        long,
        value_parser = named::<Precision>(),
        value_name = "TYPE",
        help_heading = "Precision (forward models)"
    )]
    precision: Option<Precision>,
    /// What the loss is multiplied with at first, so that small gradients are numbers of float16; it is halved after a
    /// step whose gradient overflows, which is not taken, and doubled after 2000 that were; or off [default: 65536
    /// with --precision float16, else off]
    #[arg(
        long,
        value_name = "N",
        value_parser = parse_scale,
        requires = "precision",
        help_heading = "Precision (forward models)"
    )]
    loss_scale: Option<LossScale>,

    /// Write the nodes of functions in place of their calls, for tools that know no functions
    #[arg(long, help_heading = "What trains (forward models)")]
    flat: bool,
    /// What an axis of the inputs is to be: batch=32 gives the dimension `batch` a size, 'x[0]=32' the first axis of
    /// input x; 'x[0]=batch' opens an axis that the model was exported with a fixed size of, as for batches of 1
    /// ('*[0]=batch': of every input). May be repeated
    #[arg(long, value_name = "AXIS=SIZE", value_parser = parse_dim, help_heading = "What trains (forward models)")]
    dim: Vec<(String, Size)>,
    /// Give a value of the model another name in the step model, where its own is one that a step model needs (lr,
    /// step, labels); the trained model has the name that it had. May be repeated
    #[arg(long, value_name = "NAME=NEW", value_parser = parse_rename, help_heading = "What trains (forward models)")]
    rename: Vec<(String, String)>,

    /// How many nodes the step model may have [default: 500000]
    #[arg(long, value_name = "N", help_heading = "Limits (forward models)")]
    max_nodes: Option<usize>,
    /// How many bytes of constants are computed from sizes in the file; what is larger is left to the engine [default:
    /// 268435456]
    #[arg(long, value_name = "N", help_heading = "Limits (forward models)")]
    max_constant_bytes: Option<usize>,
    /// How deep functions and bodies may stand in each other [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000), help_heading = "Limits (forward models)")]
    max_depth: Option<u16>,

    /// The optimizer, with PyTorch's formula and defaults; in artifacts that are there, in place of their own [default:
    /// momentum]
    #[arg(long, value_parser = named::<OptimizerKind>(), help_heading = "Optimizer")]
    optimizer: Option<OptimizerKind>,
    /// Momentum, or the first beta of Adam [default: 0.9]
    #[arg(long, value_name = "MU", allow_negative_numbers = true, help_heading = "Optimizer")]
    momentum: Option<f32>,
    /// Weight decay [default: 0; 0.01 with adamw]
    #[arg(long, value_name = "W", allow_negative_numbers = true, help_heading = "Optimizer")]
    weight_decay: Option<f32>,
    /// Where weight decay enters [default: coupled; decoupled with adamw]
    #[arg(long, value_parser = named::<Decay>(), value_name = "WHERE", help_heading = "Optimizer")]
    decay: Option<Decay>,
    /// Leave biases and scales out of weight decay
    #[arg(long, requires = "weight_decay", help_heading = "Optimizer")]
    decay_skip_1d: bool,
    /// Multiply the learning rate of the parameters with such names; may be repeated, the last that matches counts
    #[arg(long, value_name = "GLOB=FACTOR", help_heading = "Optimizer")]
    lr_scale: Vec<Scale>,
    /// Multiply the weight decay of the parameters with such names; may be repeated, the last that matches counts
    #[arg(long, value_name = "GLOB=FACTOR", help_heading = "Optimizer")]
    decay_scale: Vec<Scale>,
    /// Scale the gradient down to this norm where it is longer
    #[arg(long, value_name = "NORM", allow_negative_numbers = true, help_heading = "Optimizer")]
    clip_norm: Option<f32>,

    /// Warm the penalty up: its radius, its weight, or by plain steps at first
    #[arg(long, value_parser = named::<Warmup>(), value_name = "WHAT", help_heading = "Penalty")]
    gr_warmup: Option<Warmup>,
    /// The length of the warm-up
    #[arg(
        long,
        value_name = "STEPS",
        requires = "gr_warmup",
        value_parser = at_most::<u32, MANY>,
        help_heading = "Penalty"
    )]
    gr_warmup_steps: Option<u32>,
}

fn parse_scale(text: &str) -> Result<LossScale, String> {
    match text.parse() {
        _ if text == "off" => Ok(LossScale::Off),
        Ok(number) => Ok(LossScale::Dynamic(number)),
        Err(_) => Err(format!("expected a number, or off, and not `{text}`")),
    }
}

fn parse_tie(text: &str) -> Result<Tie, String> {
    match text.split_once('=') {
        Some((name, to)) if !name.is_empty() && !to.is_empty() => Ok(Tie { name: name.to_owned(), to: to.to_owned() }),
        _ => Err(format!("expected two names, as in head.weight=embedding.weight, and not `{text}`")),
    }
}

fn parse_dim(text: &str) -> Result<(String, Size), String> {
    let parts = text.rsplit_once('=').filter(|(axis, _)| !axis.is_empty());
    let (axis, size) =
        parts.ok_or_else(|| format!("expected AXIS=SIZE, as in batch=32 or 'x[0]=batch', and not `{text}`"))?;
    Ok((axis.to_owned(), size.parse()?))
}

fn parse_rename(text: &str) -> Result<(String, String), String> {
    let names = text.rsplit_once('=').filter(|(name, new)| !name.is_empty() && !new.is_empty());
    let (name, new) = names.ok_or_else(|| format!("expected NAME=NEW, as in lr=model_lr, and not `{text}`"))?;
    Ok((name.to_owned(), new.to_owned()))
}

/// The numbers in a text file.
fn numbers_in(file: &Path) -> Result<Vec<f32>> {
    let text = files::read_to_string(file).map_err(|error| Error::io("read the class weights", file, &error))?;
    let words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
    let number = |word: &str| {
        word.parse().map_err(|_| {
            let word: String = word.chars().take(40).collect();
            Error::input(format!("`{word}` is no number"))
                .in_file(file)
                .help("write a number for each class, between spaces, commas or line ends: numpy.savetxt does")
        })
    };
    let numbers = words.map(number).collect::<Result<Vec<f32>>>()?;
    if numbers.is_empty() { Err(Error::input("there are no numbers in it").in_file(file)) } else { Ok(numbers) }
}

impl StepArguments {
    /// The options that are asked for; `learning_rate` is the default of the input `lr`.
    ///
    /// # Errors
    /// Where the file of class weights cannot be read, or holds anything but numbers; where parts are asked for something
    /// that there are no parts of.
    pub fn options(&self, penalty: Penalty, learning_rate: Option<f32>) -> Result<StepOptions> {
        self.options_in(penalty, learning_rate, None)
    }

    /// The same with a batch in so many parts, where no others are asked for.
    ///
    /// # Errors
    /// As [`StepArguments::options`].
    pub fn options_in(
        &self,
        penalty: Penalty,
        learning_rate: Option<f32>,
        parts: Option<NonZero<u32>>,
    ) -> Result<StepOptions> {
        let parts = self.accumulate.or(parts);
        if parts.is_none() && self.perturb_per.is_some() {
            return Err(Error::input("--perturb-per tells how the parts of a batch are perturbed, and there are none")
                .help("say how many: --accumulate 4"));
        }
        let (loss, logits, several) = losses(&self.loss, self.logits.as_deref())?;
        Ok(StepOptions {
            loss: Wanted {
                several,
                loss,
                logits,
                loss_output: self.loss_output.clone(),
                label_smoothing: self.label_smoothing.unwrap_or(0.0),
                class_axis: self.class_axis,
                ignore_index: self.ignore_index,
                class_weights: match &self.class_weights_file {
                    Some(file) => numbers_in(file)?,
                    None => self.class_weights.clone(),
                },
                pos_weight: self.pos_weight.clone(),
            },
            l2: self.l2.unwrap_or(0.0),
            l2_skip_vectors: self.l2_skip_1d,
            selection: Selection {
                train: self.train.clone(),
                also_train: self.also_train.clone(),
                freeze: self.freeze.clone(),
            },
            sharing: Sharing { tie: self.tie.clone(), untie: self.untie.clone() },
            lora: self.lora.map(|rank| Lora {
                rank,
                alpha: self.lora_alpha,
                targets: self.lora_target.clone(),
                write: self.lora_write,
            }),
            precision: self.precision.unwrap_or_default(),
            loss_scale: self.loss_scale,
            recompute: self.recompute,
            accumulate: parts
                .filter(|parts| parts.get() > 1)
                .map(|parts| Accumulate { parts, perturb_per: self.perturb_per.unwrap_or_default() }),
            gradients: self.gradients.unwrap_or_default(),
            flat: self.flat,
            lowering: lowering::Settings {
                // What adapters are trained beside stays as it is, statistics too.
                batch_norm: self.batch_norm.unwrap_or(match self.lora {
                    Some(_) => BatchNorm::Auto,
                    None => BatchNorm::default(),
                }),
                dropout: self.dropout.unwrap_or_default(),
                random: self.random.unwrap_or_default(),
                straight_through: self.straight_through.unwrap_or_default(),
            },
            penalty,
            warmup: self.gr_warmup.unwrap_or_default(),
            warmup_steps: self.gr_warmup_steps.unwrap_or(0),
            chain: None,
            optimizer: Optimizer {
                kind: self.optimizer.unwrap_or_default(),
                learning_rate,
                momentum: self.momentum,
                weight_decay: self.weight_decay,
                decay: self.decay,
                decay_skip_vectors: self.decay_skip_1d,
                clip_norm: self.clip_norm,
                lr_scale: self.lr_scale.clone(),
                decay_scale: self.decay_scale.clone(),
            },
            dims: self.dim.iter().cloned().collect(),
            renames: self.rename.iter().cloned().collect(),
            limits: self.limits(),
        })
    }

    fn limits(&self) -> Limits {
        let limits = Limits::default();
        Limits {
            nodes: self.max_nodes.unwrap_or(limits.nodes),
            constant_bytes: self.max_constant_bytes.unwrap_or(limits.constant_bytes),
            depth: self.max_depth.map_or(limits.depth, usize::from),
        }
    }

    /// The file of class weights, where there is one.
    pub fn class_weights_file(&self) -> Option<&Path> {
        self.class_weights_file.as_deref()
    }

    /// The operators that gradients are made of.
    pub fn gradients(&self) -> Gradients {
        self.gradients.unwrap_or_default()
    }

    /// Whether a step model has the nodes of functions in place of their calls.
    pub fn flat(&self) -> bool {
        self.flat
    }

    /// Where random numbers come from, where that was said.
    pub fn random(&self) -> Option<Random> {
        self.random
    }

    /// What of the penalty is warmed up.
    pub fn gr_warmup(&self) -> Warmup {
        self.gr_warmup.unwrap_or_default()
    }

    /// The length of the penalty's warm-up, where it is given in steps.
    pub fn gr_warmup_steps(&self) -> Option<u32> {
        self.gr_warmup_steps
    }
}
