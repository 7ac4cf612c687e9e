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

/// What the graph's caller may feed of the penalty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    /// All of it, and the learning rate: a step model.
    Fed,
    /// Some of it; the learning rate is the business of another graph.
    Exposed { r: bool, alpha: bool },
}

/// A training step under construction, whose graph has the penalised gradient, warmed up where that is wanted.
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
    pub fn penalise(&mut self, options: &StepOptions, numbers: Numbers) -> Result<Penalised<'_>> {
        let parameters = self.objective.parameters();
        let mut training = Training::new(Builder::new(&mut self.graph, pass::UPDATE), parameters);
        if numbers == Numbers::Fed {
            training.hyperparameter(LEARNING_RATE, options.optimizer.default_learning_rate());
        }
        let coefficients = coefficients(&mut training, options, numbers);
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

/// r and α: inputs or constants, warmed up where that is wanted.
fn coefficients(training: &mut Training<'_>, options: &StepOptions, numbers: Numbers) -> Coefficients {
    let is_warmed_up = options.warmup != Warmup::None;
    let (is_r_fed, is_alpha_fed) = match numbers {
        Numbers::Fed => (true, true),
        Numbers::Exposed { r, alpha } => (r, alpha),
    };
    let mut number = |name, default, is_fed: bool| match is_fed || is_warmed_up {
        true => Coefficient::Value(training.hyperparameter(name, default)),
        false => Coefficient::Constant(default),
    };
    let (mut r, mut alpha) =
        (number(R, options.penalty.r, is_r_fed), number(ALPHA, options.penalty.alpha, is_alpha_fed));
    if let (true, Coefficient::Value(full_r), Coefficient::Value(full_alpha)) = (is_warmed_up, &r, &alpha) {
        let steps = training.hyperparameter(WARMUP_STEPS, options.warmup_steps as f32);
        let done = training.steps_done();
        let (r_now, alpha_now) = options.warmup.append(&training.builder, full_r, full_alpha, &done, &steps);
        (r, alpha) = (Coefficient::Value(r_now), Coefficient::Value(alpha_now));
    }
    let may_be_plain = [&r, &alpha].iter().any(|number| matches!(number, Coefficient::Value(_)));
    Coefficients { r, alpha, skip: may_be_plain }
}
