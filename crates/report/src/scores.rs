//! What else than loss and error tells how good a model is, by the task.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// A score on the test set.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Score {
    /// The mean over the classes of F1 = 2·precision·recall / (precision + recall); of probabilities of their own, over
    /// the outputs
    F1,
    /// The mean over the classes of intersection over union, of the pixels
    MeanIou,
    /// exp of the mean loss over the tokens
    Perplexity,
    /// The mean absolute error
    Mae,
    /// The coefficient of determination R² = 1 − Σ(y − ŷ)² / Σ(y − ȳ)²; the mean over the outputs
    R2,
}

impl Score {
    /// Its name in `metrics.jsonl`.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What people call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::F1 => "macro F1",
            Self::MeanIou => "mean IoU",
            Self::Perplexity => "perplexity",
            Self::Mae => "mean absolute error",
            Self::R2 => "R²",
        }
    }

    /// A score as a number of which less is better.
    pub fn as_cost(self, score: f64) -> f64 {
        match self {
            Self::F1 | Self::MeanIou | Self::R2 => -score,
            Self::Perplexity | Self::Mae => score,
        }
    }
}

/// The scores of an evaluation: those that the task has.
pub type Scores = BTreeMap<Score, f64>;
