//! What a caller asks of a step model.

use crate::accumulate::Accumulate;
use crate::emit::step::Renames;
use crate::penalty::{Penalty, Warmup};
use crate::precision::{LossScale, Precision};
use crate::transform::{Chain, Optimizer};
use crate::weights::{Lora, Selection, Sharing};
use gnp_base::limits::Limits;
use gnp_base::{Error, Result};
use gnp_gradient::autodiff::Gradients;
use gnp_gradient::loss::Wanted;
use gnp_gradient::lowering;
use gnp_model::opening::Dims;

/// What to make of a forward model.
#[derive(Clone, Debug, Default)]
pub struct StepOptions {
    /// What the loss is.
    pub loss: Wanted,
    /// c of ½·c·Σ‖w‖² in the loss.
    pub l2: f32,
    /// Leave parameters of rank 1 and below out of it.
    pub l2_skip_vectors: bool,
    /// What trains.
    pub selection: Selection,
    /// Which weights are one.
    pub sharing: Sharing,
    /// Low-rank adapters that train in place of the weights.
    pub lora: Option<Lora>,
    /// What forward and backward pass compute in.
    pub precision: Precision,
    /// What the loss is multiplied with for its gradient; what the precision needs where nothing is said.
    pub loss_scale: Option<LossScale>,
    /// Compute activations again for the gradient, in place of keeping them.
    pub recompute: bool,
    /// In how many parts a batch is taken; at once where nothing is said.
    pub accumulate: Option<Accumulate>,
    /// How what trains differently from how it infers trains.
    pub lowering: lowering::Settings,
    /// What the gradient is made of.
    pub gradients: Gradients,
    /// The penalty; its r and α are the defaults of the inputs.
    pub penalty: Penalty,
    /// What of the penalty is warmed up.
    pub warmup: Warmup,
    /// For so many steps.
    pub warmup_steps: u32,
    /// From the gradient to the parameters.
    pub optimizer: Optimizer,
    /// Gradient transformations of a program's own, in place of those that the optimizer is: of `optimizer` the
    /// learning rate and its factors are then all that counts.
    pub chain: Option<Chain>,
    /// What axes of the inputs are to be.
    pub dims: Dims,
    /// Other names for values of the model, in the step model and the evaluation model.
    pub renames: Renames,
    /// Write the nodes of functions in place of their calls.
    pub flat: bool,
    /// How large the step model may become.
    pub limits: Limits,
}

impl StepOptions {
    /// Refuses what is of a step model alone.
    pub(super) fn refuse_for_artifacts(&self) -> Result<()> {
        if self.recompute {
            return Err(Error::input("--recompute is of a step model: the training API's runtime has its own way")
                .help("leave it out, and set the runtime's memory optimizer; or let another engine train"));
        }
        if self.precision != Precision::Float32 {
            return Err(Error::input(format!(
                "--precision {} is of a step model: artifacts are in float32",
                self.precision.name()
            ))
            .help("leave it out, or let another engine train"));
        }
        if self.accumulate.is_some() {
            return Err(Error::input("--accumulate is of a step model: artifacts add up gradients by themselves")
                .help(
                    "leave it out: the application calls TrainStep several times, and then the optimizer and \
                     LazyResetGrad; or let another engine train",
                ));
        }
        Ok(())
    }

    /// What the loss is multiplied with for its gradient.
    pub(super) fn loss_scale(&self) -> LossScale {
        self.loss_scale.unwrap_or(LossScale::of(self.precision))
    }

    pub(super) fn validate(&self) -> Result<()> {
        self.loss_scale().validate()?;
        self.penalty.validate()?;
        self.optimizer.validate()?;
        if !(self.l2.is_finite() && self.l2 >= 0.0) {
            return Err(Error::input(format!(
                "the weight of l2 is {}; expected a finite number, zero or above",
                self.l2
            ))
            .help("leave --l2 out for none"));
        }
        self.lora.as_ref().map_or(Ok(()), Lora::validate)?;
        self.warmup.check_length(self.warmup_steps)
    }
}
