//! The fourth stage: the penalty in the graph.

use super::StepOptions;
use super::differentiated::Differentiated;
use crate::objective::Objective as _;
use crate::pass;
use crate::penalty::{self, Coefficient, Coefficients, Warmup};
use crate::transform::{Factors, Training};
use gnp_base::Result;
use gnp_base::contract::{ALPHA, LEARNING_RATE, R, WARMUP_STEPS};
use gnp_model::graph::Builder;

/// A training step under construction, whose graph has the penalised gradient. r and α are inputs of it, warmed up
/// where that is wanted.
pub(super) struct Penalised<'g> {
    pub training: Training<'g>,
    pub penalised: penalty::Penalised,
    pub factors: &'g Factors,
}

impl Differentiated {
    /// Appends the second pass and the mix.
    ///
    /// # Errors
    /// Where a node cannot be evaluated a second time.
    pub fn penalise(&mut self, options: &StepOptions) -> Result<Penalised<'_>> {
        let parameters = self.objective.parameters();
        let mut training = Training::new(Builder::new(&mut self.graph, pass::UPDATE), parameters);
        training.hyperparameter(LEARNING_RATE, options.optimizer.default_learning_rate());
        let coefficients = coefficients(&mut training, options);
        if self.lowered.draws {
            training.steps_done();
        }
        let graph = training.builder.graph_mut();
        let penalised = penalty::apply(graph, &self.objective, &options.penalty, &coefficients)?;
        for (parameter, gradient) in parameters.iter().zip(&penalised.gradients) {
            training.builder.declare(gradient, training.builder.fact(parameter));
        }
        Ok(Penalised { training, penalised, factors: &self.factors })
    }
}

/// r and α as inputs, warmed up where that is wanted.
fn coefficients(training: &mut Training<'_>, options: &StepOptions) -> Coefficients {
    let (r, alpha) =
        (training.hyperparameter(R, options.penalty.r), training.hyperparameter(ALPHA, options.penalty.alpha));
    let (r, alpha) = if options.warmup == Warmup::None {
        (r, alpha)
    } else {
        let steps = training.hyperparameter(WARMUP_STEPS, options.warmup_steps as f32);
        let done = training.steps_done();
        options.warmup.append(&training.builder, &r, &alpha, &done, &steps)
    };
    Coefficients { r: Coefficient::Value(r), alpha: Coefficient::Value(alpha), skip: true }
}
