//! The third stage: a graph with its gradient.

use super::in_parts::InParts;
use super::with_loss::{Labelled, WithLoss};
use super::{StepOptions, StepReport};
use crate::objective::{Forward, Objective as _};
use crate::precision::LossScaling;
use crate::recompute::{Recomputed, recompute};
use crate::transform::Factors;
use crate::weights::Edit;
use gnp_base::choice::Choice;
use gnp_base::contract::{LOSS_SCALE, Ranges};
use gnp_base::{Error, Result};
use gnp_gradient::lowering::Lowered;
use gnp_model::graph::{Graph, Value};

/// A graph with L(θ) and ∇L(θ), of one trainable parameter at least. The report says what trains.
pub(super) struct Differentiated {
    pub graph: Graph,
    pub objective: Forward,
    /// What the loss is multiplied with for its gradient.
    pub scaling: Option<LossScaling>,
    /// Those of the learning rate and of the weight decay, for each parameter.
    pub factors: Factors,
    pub lowered: Lowered,
    pub labelled: Labelled,
    /// How the batch is to be taken in parts, until it is.
    pub in_parts: Option<InParts>,
    pub ranges: Ranges,
    /// What was changed in the forward model before it was normalised.
    pub edits: Vec<Edit>,
    pub report: StepReport,
}

impl WithLoss {
    /// Appends the gradient of the loss.
    ///
    /// # Errors
    /// Where an operator on the way has no gradient rule, the loss depends on no parameter, or `options` name
    /// parameters that there are not.
    pub fn differentiate(self, options: &StepOptions) -> Result<Differentiated> {
        let Self {
            mut graph,
            loss,
            candidates,
            labelled,
            lowered,
            in_parts,
            names,
            verdicts,
            ranges,
            restored,
            mut report,
        } = self;
        let begin = graph.nodes().len();
        let scaling = LossScaling::of(options.loss_scale(), &mut graph);
        let scale = scaling.map(|_| Value::from(LOSS_SCALE));
        let objective = Forward::differentiate(&mut graph, &loss, &candidates, options.gradients, scale.as_ref())?;
        if objective.parameters().is_empty() {
            return Err(Error::input(format!("the loss `{}` depends on no trainable parameter", labelled.of)).help(
                "every way from one to it leads through whole numbers, or operators without slope such as ArgMax and Round; \
                 choose another value with --logits, or other parameters with --train",
            ));
        }
        if options.recompute {
            let gradients = &objective.here().gradients;
            let recomputed = recompute(&mut graph, begin, objective.parameters(), gradients);
            report.choices.push(told(recomputed));
        }
        let in_file: Vec<String> = objective.parameters().iter().map(|value| names.in_file(value).to_owned()).collect();
        report.judge(verdicts, &in_file, &restored.lost);
        let factors = options.optimizer.factors(&in_file.iter().map(String::as_str).collect::<Vec<_>>())?;
        let edits = restored.edits;
        Ok(Differentiated { graph, objective, scaling, factors, lowered, labelled, in_parts, ranges, edits, report })
    }
}

/// What is computed again, in words.
fn told(recomputed: Option<Recomputed>) -> Choice {
    let what = match recomputed {
        Some(Recomputed { segments, nodes }) => format!(
            "the forward pass has {segments} segments, of which all but the last are computed again for the gradient: \
             {nodes} nodes"
        ),
        None => {
            "nothing is computed again: no cut of the forward pass has less across it than is kept anyway".to_owned()
        }
    };
    Choice::new(what, "--recompute")
}
