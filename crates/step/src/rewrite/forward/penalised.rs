//! The fourth stage: the penalty in the graph.

use super::StepOptions;
use super::differentiated::Differentiated;
use crate::accumulate::PerturbPer;
use crate::objective::effects::draws;
use crate::objective::{Evaluation, Objective as _};
use crate::pass;
use crate::penalty;
use crate::precision::LossScaling;
use crate::stack::Stacks;
use crate::transform::{Factors, Fed, Training};
use gnp_base::Result;
use gnp_base::contract::LEARNING_RATE;
use gnp_model::graph::Builder;

/// A training step under construction, whose graph has the penalised gradient, warmed up where that is wanted.
pub(super) struct Penalised<'g> {
    pub training: Training<'g>,
    pub penalised: penalty::Penalised,
    pub factors: &'g Factors,
    pub scaling: Option<LossScaling>,
}

impl Differentiated {
    /// Appends the second pass and the mix. A batch that is taken in parts is so from here on.
    ///
    /// # Errors
    /// Where a node cannot be evaluated a second time, or a batch cannot be taken in parts.
    pub fn penalise(&mut self, options: &StepOptions, fed: Fed) -> Result<Penalised<'_>> {
        let in_parts = self.in_parts.take();
        let per = |wanted| in_parts.as_ref().filter(|in_parts| in_parts.perturb_per == wanted);
        if let Some(in_parts) = per(PerturbPer::Batch) {
            self.evaluate_in_parts(in_parts)?;
        }
        let parameters = self.objective.parameters();
        // What a chain from outside does to a parameter may depend on all of it.
        let stacks = match &options.chain {
            Some(_) => Stacks::single(&self.graph, parameters),
            None => Stacks::of(&mut self.graph, parameters, &self.factors.kinds()),
        };
        let mut training = Training::stacked(Builder::new(&mut self.graph, pass::UPDATE), parameters, stacks);
        if fed.learning_rate {
            training.hyperparameter(LEARNING_RATE, options.optimizer.default_learning_rate());
        }
        let mut coefficients = training.coefficients(&options.penalty, options.warmup, options.warmup_steps, fed);
        coefficients.may_overflow = self.scaling.is_some();
        // What the runtime draws of artifacts follows from a count of the steps that their caller may keep.
        let is_counted = self.lowered.draws || !fed.learning_rate && training.builder.graph().nodes().iter().any(draws);
        if is_counted {
            training.steps_done();
        }
        let graph = training.builder.graph_mut();
        let mut penalised = penalty::apply(graph, &self.objective, &options.penalty, &coefficients, &training.stacks)?;
        if let Some(in_parts) = per(PerturbPer::Micro) {
            let kept = [training.values(), self.objective.parameters().to_vec()].concat();
            let returned = (&mut self.labelled, &mut self.lowered);
            let graph = training.builder.graph_mut();
            let loss = in_parts.enter_penalised(graph, returned, &self.objective.here().loss, &mut penalised, kept)?;
            penalised.measure_mix(graph, training.stacks.joined());
            self.objective = self.objective.clone().evaluated(Evaluation { loss, gradients: vec![] });
        }
        for (parameter, gradient) in training.parameters().iter().zip(&penalised.gradients) {
            training.builder.declare(gradient, training.builder.fact(parameter));
        }
        Ok(Penalised { training, penalised, factors: &self.factors, scaling: self.scaling })
    }
}
