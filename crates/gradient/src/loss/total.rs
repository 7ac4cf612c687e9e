//! What is trained: a loss of one output, or the weighted sum of those of several.

use super::{Appended, Loss, Tally};
use crate::autodiff::Gradients;
use gnp_base::contract::{LABELS, Range, labels_of, loss_of};
use gnp_base::{Error, Result};
use gnp_model::graph::{Builder, Fact, Value};
use gnp_model::onnx::DataType;
use serde::{Deserialize, Serialize};

/// One of the losses whose weighted sum is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Term {
    /// The value that it is taken of.
    pub value: String,
    /// The output that it was asked for, which its labels are named after.
    pub output: String,
    /// The loss.
    pub loss: Loss,
    /// Its weight in the sum.
    pub weight: f32,
}

impl Term {
    /// The loss in words: ``huber of `box`, times 0.5``.
    pub fn describe(&self) -> String {
        let weight = if self.weight == 1.0 { String::new() } else { format!(", times {}", self.weight) };
        format!("{}{weight}", self.loss.describe(&self.value))
    }
}

/// The loss that is trained, in a graph.
#[derive(Clone, Debug)]
pub struct Total {
    /// L, a float scalar.
    pub loss: Value,
    /// Each of several losses before it is weighted, under the name that it is returned under.
    pub each: Vec<(String, Value)>,
    /// The inputs of the labels, and the numbers that they may be.
    pub labels: Vec<(String, Fact, Option<Range>)>,
    /// What is counted, of the first that has right and wrong.
    pub tally: Option<Tally>,
    /// The values that losses are taken of.
    pub predictions: Vec<(Value, Fact)>,
}

/// The share, a float scalar, that what the graph is fed has in the mean that a loss is, by the name of its labels.
/// None where it is all that the mean is over.
pub type ShareOf<'a> = &'a mut dyn FnMut(&Loss, &str) -> Option<Value>;

impl Total {
    /// Appends `loss` of `logits`, times its share; its labels are the input [`LABELS`].
    ///
    /// # Errors
    /// As [`Loss::append`].
    pub fn of(b: &Builder<'_>, loss: &Loss, logits: Value, gradients: Gradients, share: ShareOf<'_>) -> Result<Self> {
        let fact = Fact::clone(&b.fact(&logits));
        let Appended { loss: mean, labels, range, tally } = loss.append(b, &logits, gradients)?;
        let loss = times(b, mean, share(loss, LABELS));
        let labels = vec![(LABELS.to_owned(), labels, range)];
        Ok(Self { loss, each: vec![], labels, tally, predictions: vec![(logits, fact)] })
    }

    /// Appends the losses `terms`, each times its share, and their weighted sum; `in_graph` tells what a value is
    /// called in the graph. A batch weighs as many as it has samples, as the losses are means over different things.
    ///
    /// # Errors
    /// Where there is none, or a loss does not fit what it is taken of.
    pub fn sum(
        b: &Builder<'_>,
        terms: &[Term],
        in_graph: impl Fn(&str) -> Value,
        gradients: Gradients,
        share: ShareOf<'_>,
    ) -> Result<Self> {
        let (mut weighted, mut each, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        let (mut tally, mut predictions) = (None, Vec::new());
        for Term { value, output, loss, weight } in terms {
            let logits = in_graph(value);
            let fact = Fact::clone(&b.fact(&logits));
            let name = labels_of(output);
            let appended = loss.append_with(b, &logits, &name, gradients)?;
            let term = times(b, appended.loss, share(loss, &name));
            weighted.push(b.scale(&term, f64::from(*weight)));
            each.push((loss_of(output), term));
            labels.push((name, appended.labels, appended.range));
            if tally.is_none() {
                let samples = || b.cast(b.squeeze(b.size_of(&logits, 0), &[0]), DataType::Float);
                tally = appended.tally.map(|tally| Tally { weight: Some(samples()), ..tally });
            }
            predictions.push((logits, fact));
        }
        if weighted.is_empty() {
            return Err(Error::internal("a sum of no losses"));
        }
        Ok(Self { loss: b.sum(&weighted), each, labels, tally, predictions })
    }

    /// What is counted, and each of several losses: float scalars under the names that they are returned under.
    pub fn told(&self) -> impl Iterator<Item = (&Value, String)> {
        let tally = self.tally.iter().flat_map(Tally::named).map(|(name, value)| (value, name.to_owned()));
        tally.chain(self.each.iter().map(|(name, value)| (value, name.clone())))
    }
}

fn times(b: &Builder<'_>, mean: Value, share: Option<Value>) -> Value {
    share.map_or_else(|| mean.clone(), |share| b.mul(&mean, share))
}
