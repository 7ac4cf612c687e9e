//! The last stage: the step model, or the training model of artifacts.

use super::differentiated::Differentiated;
use super::updated::Updated;
use super::{StepConfig, StepOptions, StepReport};
use crate::emit::step::{self, Parts};
use crate::emit::training::{self, Interface};
use crate::transform::{FusedOptimizer, State};
use gnp_base::{Error, Result};
use gnp_checkpoint::Checkpoint;
use gnp_gradient::autodiff::Gradients;
use gnp_gradient::lowering::{self, Computes};
use gnp_model::graph::Graph;
use gnp_model::onnx::Model;
use gnp_model::onnx::proto::MICROSOFT;

/// All that a model of one training step is put together from.
struct Whole {
    graph: Graph,
    parts: Parts,
    config: StepConfig,
    report: StepReport,
}

impl Differentiated {
    /// Puts the step model, whose update has been appended, into `model`: a model in standard operators, with inputs,
    /// outputs and metadata as [`gnp_base::contract`] says. Returns the whole report.
    ///
    /// # Errors
    /// Where a name of the state is taken already.
    pub fn assemble(self, updated: Updated, model: &mut Model, options: &StepOptions) -> Result<StepReport> {
        let returns_logits = self.labelled.returns_logits;
        let Whole { graph, mut parts, config, mut report } = self.whole(updated, model, options, Computes::Any)?;
        if !returns_logits {
            parts.logits.clear();
        }
        step::assemble(model, graph, &parts, &config)?;
        if options.gradients != Gradients::Standard {
            model.import(MICROSOFT, 1);
        }
        report.config = config;
        report.hyperparameters = parts.hyperparameters;
        report.finish(model);
        Ok(report)
    }

    /// Puts the training model of artifacts, whose directions have been appended, into `model`. Returns the checkpoint
    /// too, and the choices for the evaluation model.
    ///
    /// # Errors
    /// As [`training::assemble`].
    pub fn assemble_training(
        self,
        updated: Updated,
        model: &mut Model,
        options: &StepOptions,
        interface: &Interface,
        fused: FusedOptimizer,
    ) -> Result<(Checkpoint, training::Config, StepReport)> {
        let Whole { graph, parts, config, mut report } = self.whole(updated, model, options, Computes::OnnxRuntime)?;
        let config = training::Config { step: config, interface: *interface, fused };
        let checkpoint = training::assemble(model, graph, &parts, &config)?;
        report.config = config.step.clone();
        report.hyperparameters = parts.hyperparameters;
        report.hyperparameters.retain(|number| interface.exposes(number.name));
        report.finish_training(model, &checkpoint);
        Ok((checkpoint, config, report))
    }

    fn whole(self, updated: Updated, model: &Model, options: &StepOptions, computes: Computes) -> Result<Whole> {
        let Self { mut graph, objective, lowered, labelled, ranges, edits, report, .. } = self;
        lowering::expand(&mut graph, computes)?;
        let slots = updated.slots.into_iter().map(|slot| {
            let fact = graph.facts().get(&slot.name).cloned();
            fact.map(|fact| (slot, fact)).ok_or_else(|| Error::internal("a slot without a shape"))
        });
        let slots = slots.collect::<Result<_>>()?;
        let parts = Parts {
            labels: labelled.labels,
            loss: objective.here().loss.clone(),
            metrics: updated.metrics,
            scaled: updated.scaled,
            tally: labelled.tally,
            losses: labelled.losses,
            logits: labelled.predictions,
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
            logits: labelled.of,
            terms: labelled.terms,
            over_samples: lowered.over_samples,
            edits,
            ..StepConfig::asked(model, options)
        };
        Ok(Whole { graph, parts, config, report })
    }
}
