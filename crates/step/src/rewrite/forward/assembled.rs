//! The last stage: the step model.

use super::differentiated::Differentiated;
use super::updated::Updated;
use super::{StepConfig, StepOptions, StepReport};
use crate::emit::step::{self, Parts};
use crate::transform::State;
use gnp_base::{Error, Result};
use gnp_gradient::autodiff::Gradients;
use gnp_gradient::lowering;
use gnp_model::onnx::Model;
use gnp_model::onnx::proto::MICROSOFT;

impl Differentiated {
    /// Puts the step model, whose update has been appended, into `model`: a model in standard operators, with inputs,
    /// outputs and metadata as [`gnp_base::contract`] says. Returns the whole report.
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
        if options.gradients != Gradients::Standard {
            model.import(MICROSOFT, 1);
        }
        report.config = config;
        report.hyperparameters = parts.hyperparameters;
        report.finish(model);
        Ok(report)
    }
}
