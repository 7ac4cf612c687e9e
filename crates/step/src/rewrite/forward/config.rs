//! What a step model says of how it was made.

use super::StepOptions;
use crate::accumulate::Accumulate;
use crate::emit::step::Renames;
use crate::penalty::{Penalty, Warmup};
use crate::precision::{LossScale, Precision};
use crate::transform::{Chain, Optimizer};
use crate::weights::{Edit, LoraWrite};
use gnp_base::contract::CONFIG_KEY;
use gnp_base::{Error, Result};
use gnp_gradient::autodiff::Gradients;
use gnp_gradient::{loss, lowering};
use gnp_model::onnx::Model;
use gnp_model::opening::Dims;
use serde::{Deserialize, Serialize};

/// Every choice made, as it stands in the metadata of a step model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepConfig {
    /// The forward model, by its file name.
    pub model: String,
    /// The loss; none where the model has its own.
    pub loss: Option<loss::Loss>,
    /// What axes of the inputs are to be.
    pub dims: Dims,
    /// The names of values that have others in the model's file, by those.
    #[serde(default, skip_serializing_if = "Renames::is_empty")]
    pub renames: Renames,
    /// The value that the loss is taken of, or that is the loss.
    pub logits: String,
    /// Several losses, whose weighted sum is trained; then there is neither `loss` nor `logits`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub terms: Vec<loss::Term>,
    /// c of ½·c·Σ‖w‖² in the loss.
    pub l2: f32,
    /// How BatchNormalization, Dropout and random draws train.
    #[serde(flatten)]
    pub lowering: lowering::Settings,
    /// A BatchNormalization whose statistics are of one number a sample, where there is one: batches need two samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_samples: Option<String>,
    /// Whether activations are computed again for the gradient.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recompute: bool,
    /// In how many parts it takes a batch, where not at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accumulate: Option<Accumulate>,
    /// What forward and backward pass compute in.
    #[serde(default, skip_serializing_if = "is_single")]
    pub precision: Precision,
    /// What the loss is multiplied with for its gradient, where that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
    /// What its gradient is made of.
    #[serde(default, skip_serializing_if = "is_standard")]
    pub gradients: Gradients,
    /// The penalty.
    #[serde(flatten)]
    pub penalty: Penalty,
    /// What of it is warmed up.
    pub warmup: Warmup,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// The gradient transformations in place of the optimizer's, where a program gave some, as they describe
    /// themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
    /// What was changed in the forward model before it was differentiated, so that its weights are those of the
    /// network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Edit>,
    /// What becomes of adapters in the trained model, where that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora_write: Option<LoraWrite>,
}

fn is_standard(gradients: &Gradients) -> bool {
    *gradients == Gradients::Standard
}

fn is_single(precision: &Precision) -> bool {
    *precision == Precision::Float32
}

impl StepConfig {
    /// What the optimizer is called: its name, or what the transformations in its place say of themselves.
    pub fn optimizer_name(&self) -> String {
        if self.chain.is_empty() { self.optimizer.kind.name().to_owned() } else { self.chain.join(", ") }
    }

    /// The loss in words.
    pub fn describe_loss(&self) -> String {
        match (&self.loss, &self.terms[..]) {
            (Some(loss), _) => loss.describe(&self.logits),
            (None, []) => format!("the model's own, `{}`", self.logits),
            (None, terms) => terms.iter().map(loss::Term::describe).collect::<Vec<_>>().join(" + "),
        }
    }

    /// The value that the loss is taken of, where it is of one.
    pub(in crate::rewrite) fn end(&self) -> Option<&str> {
        Some(&*self.logits).filter(|_| self.terms.is_empty())
    }

    /// What `options` ask for; what was found out of the model is left out.
    pub(super) fn asked(model: &Model, options: &StepOptions) -> Self {
        Self {
            model: model.path().file_name().unwrap_or_default().to_string_lossy().into_owned(),
            dims: options.dims.clone(),
            renames: options.renames.clone(),
            l2: options.l2,
            lowering: options.lowering,
            gradients: options.gradients,
            penalty: options.penalty,
            warmup: options.warmup,
            optimizer: options.optimizer.clone(),
            chain: options.chain.as_ref().map(Chain::names).unwrap_or_default(),
            lora_write: options.lora.as_ref().and_then(|lora| lora.write),
            recompute: options.recompute,
            accumulate: options.accumulate,
            precision: options.precision,
            loss_scale: options.loss_scale,
            ..Self::default()
        }
    }

    /// The choices that stand in the metadata of a step model.
    ///
    /// # Errors
    /// Where there are none, or they are damaged.
    pub fn of(model: &Model) -> Result<Self> {
        let config = model.metadata(CONFIG_KEY).ok_or_else(|| format!("it lacks the metadata `{CONFIG_KEY}`"));
        config
            .and_then(|config| {
                serde_json::from_str(config).map_err(|e| format!("its metadata `{CONFIG_KEY}` are damaged: {e}"))
            })
            .map_err(|what| Error::input(what).in_file(model.path()).help("make the step model again with gnp-rewrite"))
    }
}
