//! The fifth stage: the new state.

use super::StepOptions;
use super::penalised::Penalised;
use crate::penalty::Metrics;
use crate::transform::{Hyperparameter, State};
use gnp_model::graph::Value;

/// What a step returns and what it takes: the graph has the new value of all that the training keeps.
pub(super) struct Updated {
    pub parameters: Vec<State>,
    /// What the optimizer keeps, zeros at first.
    pub slots: Vec<State>,
    pub hyperparameters: Vec<Hyperparameter>,
    /// The next number of the step, where steps are counted.
    pub step: Option<Value>,
    pub metrics: Metrics,
}

impl Penalised<'_> {
    /// Appends the optimizer's transformations and the update.
    pub fn update(self, options: &StepOptions) -> Updated {
        let Self { mut training, penalised, factors } = self;
        let chain = options.chain.clone().unwrap_or_else(|| options.optimizer.chain(factors));
        let rate = options.optimizer.default_learning_rate();
        let next = chain.update(&mut training, penalised.gradients, rate, &factors.lr);
        let state = |(name, next): (&Value, Value)| State { name: name.clone(), next };
        let parameters = training.parameters().iter().zip(next).map(state).collect();
        let (hyperparameters, slots, step) = training.finish();
        Updated { parameters, slots, hyperparameters, step, metrics: penalised.metrics }
    }
}
