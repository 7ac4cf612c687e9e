//! Between the stages: what depends on the batch moves into a loop over its parts.

use super::StepOptions;
use super::differentiated::Differentiated;
use super::with_loss::Labelled;
use crate::accumulate::{Accumulate, Over, Parts, PerturbPer, Samples, draw_by_part, over_parts};
use crate::objective::{Evaluation, Objective as _};
use crate::pass;
use crate::penalty::Penalised;
use foldhash::HashMap;
use gnp_base::{Error, Result};
use gnp_gradient::loss::{LossKind, Tally};
use gnp_gradient::lowering::Lowered;
use gnp_model::graph::{Dim, Graph, Value};
use std::num::NonZero;

/// A loop to come: where the samples are.
pub(super) struct InParts {
    samples: Samples,
    count: NonZero<u32>,
}

impl InParts {
    /// Prepares the graph for it: draws follow from the part.
    ///
    /// # Errors
    /// Where it is not told where the samples are.
    pub fn prepare(graph: &mut Graph, labelled: &Labelled, lowered: &Lowered, count: NonZero<u32>) -> Result<Self> {
        if !labelled.terms.is_empty() {
            // Each is a mean by a weight of its own, and a part has one weight.
            return Err(Error::unsupported("--accumulate: the parts of a batch are weighed by one loss, not several")
                .help("let the model add its losses up, and name the sum with --loss-output"));
        }
        let labels = labelled.labels.first().map(|(name, fact)| (Value::from(name.as_str()), fact));
        let samples = Samples::of(graph, labels.as_ref().map(|(name, fact)| (name, *fact)))?;
        if lowered.draws {
            draw_by_part(graph);
        }
        Ok(Self { samples, count })
    }

    /// Moves what depends on the batch into the loop: all that `labelled` and `lowered` return, which stand for the
    /// whole batch from now on, and `means`, for which is returned what stands for them. `kept` is what else is needed.
    ///
    /// # Errors
    /// As [`over_parts`].
    pub fn enter(
        &self,
        graph: &mut Graph,
        labelled: &mut Labelled,
        lowered: &mut Lowered,
        means: Vec<Value>,
        kept: &[Value],
    ) -> Result<Vec<Value>> {
        // The logits are returned under their name, which what a part has of them gives up.
        let rows = labelled.predictions.first().filter(|_| labelled.returns_logits).map(|(value, _)| value.clone());
        let of_part = rows.as_ref().map(|rows| give_up_name(graph, rows)).transpose()?;
        let count = means.len();
        let mut results: Vec<(Value, Over)> = means.into_iter().map(|value| (value, Over::Mean)).collect();
        let sums = labelled.tally.iter().flat_map(Tally::named).map(|(_, value)| (value.clone(), Over::Sum));
        results.extend(sums);
        results.extend(of_part.map(|value| (value, Over::Rows)));
        results.extend(lowered.state.iter().map(|pair| (pair.next.clone(), Over::State(pair.state.clone()))));
        let weight = weight_of(labelled);
        let parts = Parts { samples: &self.samples, count: self.count, weight, results: &results, kept };
        let mut whole = over_parts(graph, &parts)?.into_iter();
        let means = whole.by_ref().take(count).collect();
        let mut next = || whole.next().ok_or_else(|| Error::internal("a loop returned too little"));
        if let Some(tally) = &mut labelled.tally {
            (tally.counted, tally.wrong) = (next()?, next()?);
            if let Some(weight) = &mut tally.weight {
                *weight = next()?;
            }
        }
        if let Some(rows) = rows {
            let made = next()?;
            graph.rename(&HashMap::from_iter([(made.to_string(), rows.to_string())]));
        }
        for pair in &mut lowered.state {
            pair.next = next()?;
        }
        Ok(means)
    }
}

impl InParts {
    /// The same of all that the penalty has made. Returns L.
    pub fn enter_penalised(
        &self,
        graph: &mut Graph,
        (labelled, lowered): (&mut Labelled, &mut Lowered),
        loss: &Value,
        penalised: &mut Penalised,
        mut kept: Vec<Value>,
    ) -> Result<Value> {
        let metrics = &mut penalised.metrics;
        kept.push(metrics.parameter_norm.clone());
        let scalars = [loss, &metrics.gradient_norm, &metrics.perturbed_loss].map(Value::clone);
        let means = [scalars.to_vec(), std::mem::take(&mut penalised.gradients)].concat();
        let mut means = self.enter(graph, labelled, lowered, means, &kept)?;
        penalised.gradients = means.split_off(scalars.len());
        let [loss, gradient_norm, perturbed_loss] = &means[..] else {
            return Err(Error::internal("a loop returned too little"));
        };
        (metrics.gradient_norm, metrics.perturbed_loss) = (gradient_norm.clone(), perturbed_loss.clone());
        Ok(loss.clone())
    }
}

impl Differentiated {
    /// What a batch is taken in parts with, where it is.
    pub(super) fn prepare_parts(&mut self, options: &StepOptions) -> Result<Option<(InParts, PerturbPer)>> {
        let Some(Accumulate { parts, perturb_per }) = options.accumulate else { return Ok(None) };
        let in_parts = InParts::prepare(&mut self.graph, &self.labelled, &self.lowered, parts)?;
        Ok(Some((in_parts, perturb_per)))
    }

    /// Evaluates the objective over the parts of a batch.
    pub(super) fn evaluate_in_parts(&mut self, in_parts: &InParts) -> Result<()> {
        let Evaluation { loss, gradients } = self.objective.here().clone();
        let means = [vec![loss], gradients].concat();
        let kept = self.objective.parameters().to_vec();
        let mut means = in_parts.enter(&mut self.graph, &mut self.labelled, &mut self.lowered, means, &kept)?;
        let gradients = means.split_off(1);
        self.objective = self.objective.clone().evaluated(Evaluation { loss: means.swap_remove(0), gradients });
        Ok(())
    }
}

/// What the mean over a batch is by, where not by samples alone.
fn weight_of(labelled: &Labelled) -> Option<&Value> {
    let tally = labelled.tally.as_ref()?;
    let is_counted = labelled.loss.as_ref().is_some_and(|loss| loss.kind == LossKind::CrossEntropy);
    tally.weight.as_ref().or_else(|| Some(&tally.counted).filter(|_| is_counted))
}

/// Gives a value another name, which is returned.
fn give_up_name(graph: &mut Graph, value: &Value) -> Result<Value> {
    if graph.facts().get(value).and_then(|fact| fact.dim(1)).and_then(Dim::known).is_none() {
        return Err(Error::unsupported(format!("--accumulate: the number of classes of `{value}` is not known"))
            .help("export the model with the shape of its output"));
    }
    let own = format!("gnp/{}/{value}", pass::PARTS);
    graph.rename(&HashMap::from_iter([(value.to_string(), own.clone())]));
    Ok(own.as_str().into())
}
