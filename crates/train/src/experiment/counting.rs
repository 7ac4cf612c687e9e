//! What counts as an error in a run, and who tells it.

use gnp_base::contract::WRONG;
use gnp_gradient::loss::Loss;
use gnp_step::rewrite::StepConfig;

/// What counts as an error in a run.
pub(super) struct Counting {
    /// In words, where the loss has right and wrong.
    pub error: Option<String>,
    /// Whether there is an evaluation.
    pub evaluates: bool,
    /// Whether an evaluation tells it.
    pub tells_error: bool,
    /// Whether an evaluation tells the loss and nothing else.
    pub tells_loss_alone: bool,
}

impl Counting {
    /// That of a model that was made as `step` says, is evaluated to `outputs`, and has `classes` classes.
    pub fn of(step: Option<&StepConfig>, outputs: &[String], classes: Option<usize>) -> Self {
        let is_counted = outputs.iter().any(|output| output == WRONG);
        let losses = step.into_iter().flat_map(|step| step.loss.iter().chain(step.terms.iter().map(|term| &term.loss)));
        let error = losses.into_iter().find_map(Loss::error);
        let by_logits = classes.is_some() && outputs.len() > 1;
        Self {
            error,
            evaluates: !outputs.is_empty(),
            tells_error: is_counted || by_logits,
            tells_loss_alone: outputs.len() == 1,
        }
    }
}
