//! The fifth stage: the new state.

use super::StepOptions;
use super::penalised::Penalised;
use crate::penalty::Metrics;
use crate::precision::{LossScaling, Scaled};
use crate::transform::{Chain, Factors, Hyperparameter, State, Training};
use gnp_model::graph::Value;

/// What a step returns and what it takes: the graph has the new value of all that the training keeps.
pub(super) struct Updated {
    /// The parameters with their new values; in artifacts, with the directions of the step.
    pub parameters: Vec<State>,
    /// What the optimizer keeps, zeros at first.
    pub slots: Vec<State>,
    pub hyperparameters: Vec<Hyperparameter>,
    /// The next number of the step, where steps are counted.
    pub step: Option<Value>,
    pub metrics: Metrics,
    /// What follows for the scale of the loss, where it has one.
    pub scaled: Option<Scaled>,
}

impl Penalised<'_> {
    /// Appends the optimizer's transformations and the update.
    pub fn update(self, options: &StepOptions) -> Updated {
        let chain = options.chain.clone().unwrap_or_else(|| options.optimizer.chain(self.factors));
        let rate = options.optimizer.default_learning_rate();
        self.append(|training, gradients, factors| chain.update(training, gradients, rate, &factors.lr))
    }

    /// Appends `chain`, which ends with the direction of the optimizer's step.
    pub fn direct(self, chain: &Chain) -> Updated {
        self.append(|training, gradients, factors| chain.directions(training, gradients, &factors.lr))
    }

    fn append(self, make: impl FnOnce(&mut Training<'_>, Vec<Value>, &Factors) -> Vec<Value>) -> Updated {
        let Self { mut training, penalised, factors, scaling } = self;
        let scaled = scaling.map(|scaling| {
            let taken = LossScaling::is_taken(&training.builder, &penalised.metrics);
            training.take_if(taken.clone());
            scaling.append(&training, &taken)
        });
        let made = make(&mut training, penalised.gradients, factors);
        let made: Vec<Value> =
            made.iter().zip(training.parameters()).map(|(next, before)| training.if_taken(next, before)).collect();
        let parameters = training.by_name(&made);
        let (hyperparameters, slots, step) = training.finish();
        Updated { parameters, slots, hyperparameters, step, metrics: penalised.metrics, scaled }
    }
}
