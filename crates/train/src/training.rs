//! How a model is trained.

use crate::{CheckpointPolicy, Schedule, Span};
use gnp_step::penalty::Warmup;
use std::collections::BTreeMap;

/// How a model is trained. What is not given is the model's own: a step model has values of its inputs, artifacts those
/// that they were rewritten with.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingSettings {
    /// How often the training set is gone through.
    pub epochs: u64,
    /// Samples a step; an epoch's last batch has what is left.
    pub batch_size: usize,
    /// Leave out a last batch that is not whole.
    pub drop_last: bool,
    /// The peak of the learning rate; 0.001 for artifacts where none is given, since they have none of their own.
    pub learning_rate: Option<f32>,
    /// How the learning rate goes on after the warm-up.
    pub schedule: Schedule,
    /// How long the learning rate rises to its peak.
    pub warmup: Span,
    /// The perturbation's radius, for graphs with an input for it.
    pub r: Option<f32>,
    /// The mixing weight, for graphs with an input for it.
    pub alpha: Option<f32>,
    /// The probability of a step with the penalty; the others are plain, with r = 0.
    pub hybrid: Option<f64>,
    /// What of the penalty of artifacts is warmed up, which have inputs for r and α; a step model does it itself.
    pub penalty_warmup: Warmup,
    /// How long the penalty is warmed up.
    pub penalty_warmup_length: Option<Span>,
    /// Other hyperparameters of a step model, by the names of its inputs.
    pub others: BTreeMap<String, f32>,
    /// When it evaluates, saves, and ends before its last epoch.
    pub checkpoints: CheckpointPolicy,
}

impl Default for TrainingSettings {
    /// One epoch in batches of 64, with the model's own rates.
    fn default() -> Self {
        Self {
            epochs: 1,
            batch_size: 64,
            drop_last: false,
            learning_rate: None,
            schedule: Schedule::Constant,
            warmup: Span::default(),
            r: None,
            alpha: None,
            hybrid: None,
            penalty_warmup: Warmup::None,
            penalty_warmup_length: None,
            others: BTreeMap::new(),
            checkpoints: CheckpointPolicy::default(),
        }
    }
}
