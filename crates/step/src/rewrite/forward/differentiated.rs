//! The third stage: a graph with its gradient; and the last, which the step model is assembled of.

use super::updated::Updated;
use super::with_loss::{Labelled, WithLoss};
use super::{StepConfig, StepOptions, StepReport};
use crate::emit::step::{self, Parts};
use crate::objective::{Forward, Objective as _};
use crate::transform::{Factors, State};
use crate::weights::Edit;
use gnp_base::contract::Ranges;
use gnp_base::{Error, Result};
use gnp_gradient::lowering::{self, Lowered};
use gnp_model::graph::Graph;
use gnp_model::onnx::Model;

/// A graph with L(θ) and ∇L(θ), of one trainable parameter at least. The report says what trains.
pub(super) struct Differentiated {
    pub graph: Graph,
    pub objective: Forward,
    /// Those of the learning rate and of the weight decay, for each parameter.
    pub factors: Factors,
    pub lowered: Lowered,
    labelled: Labelled,
    ranges: Ranges,
    edits: Vec<Edit>,
    report: StepReport,
}

impl WithLoss {
    /// Appends the gradient of the loss.
    ///
    /// # Errors
    /// Where an operator on the way has no gradient rule, the loss depends on no parameter, or `options` name
    /// parameters that there are not.
    pub fn differentiate(self, options: &StepOptions) -> Result<Differentiated> {
        let Self { mut graph, loss, candidates, labelled, lowered, names, verdicts, ranges, restored, mut report } =
            self;
        let objective = Forward::differentiate(&mut graph, &loss, &candidates)?;
        if objective.parameters().is_empty() {
            return Err(Error::input(format!("the loss `{}` depends on no trainable parameter", labelled.of)).help(
                "every way from one to it leads through whole numbers, or operators without slope such as ArgMax and Round; \
                 choose another value with --logits, or other parameters with --train",
            ));
        }
        let in_file: Vec<String> = objective.parameters().iter().map(|value| names.in_file(value).to_owned()).collect();
        report.judge(verdicts, &in_file, &restored.lost);
        let factors = options.optimizer.factors(&in_file.iter().map(String::as_str).collect::<Vec<_>>())?;
        let edits = restored.edits;
        Ok(Differentiated { graph, objective, factors, lowered, labelled, ranges, edits, report })
    }
}

impl Differentiated {
    /// Puts the step model, whose update has been appended, into `model`.
    ///
    /// # Errors
    /// Where a name of the state is taken already.
    pub fn assemble(self, updated: Updated, model: &mut Model, options: &StepOptions) -> Result<StepReport> {
        let Self { mut graph, objective, lowered, labelled, ranges, edits, mut report, .. } = self;
        lowering::expand(&mut graph)?;
        let slots = updated.slots.into_iter().map(|slot| {
            let fact = graph.facts().get(&slot.name).cloned();
            fact.map(|fact| (slot, fact)).ok_or_else(|| Error::internal("a slot without a shape"))
        });
        let slots = slots.collect::<Result<_>>()?;
        let parts = Parts {
            labels: labelled.labels,
            loss: objective.here().loss.clone(),
            metrics: updated.metrics,
            tally: labelled.tally,
            logits: labelled.logits,
            hyperparameters: updated.hyperparameters,
            seeded: lowered.draws,
            parameters: updated.parameters,
            statistics: lowered.state.into_iter().map(|pair| State { name: pair.state, next: pair.next }).collect(),
            slots,
            step: updated.step,
            ranges,
        };
        let config = StepConfig {
            loss: labelled.loss,
            logits: labelled.of.to_string(),
            over_samples: lowered.over_samples,
            edits,
            ..StepConfig::asked(model, options)
        };
        step::assemble(model, graph, &parts, &config)?;
        report.config = config;
        report.hyperparameters = parts.hyperparameters;
        report.finish(model);
        Ok(report)
    }
}
