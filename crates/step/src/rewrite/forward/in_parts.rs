//! Between the stages: what depends on the batch moves into a loop over its parts.

use super::differentiated::Differentiated;
use super::with_loss::Labelled;
use crate::accumulate::{Accumulate, Over, Parts, PerturbPer, Samples, Shares, draw_by_part, over_parts};
use crate::objective::{Evaluation, Objective as _};
use crate::pass;
use crate::penalty::Penalised;
use foldhash::HashMap;
use gnp_base::{Error, Result};
use gnp_gradient::loss::Tally;
use gnp_gradient::lowering::Lowered;
use gnp_model::graph::{Dim, Graph, Value};
use std::num::NonZero;

/// A loop to come: where the samples are, and what stands for the shares of a part.
pub(super) struct InParts {
    samples: Samples,
    shares: Shares,
    count: NonZero<u32>,
    pub perturb_per: PerturbPer,
}

impl InParts {
    /// Prepares the graph for it: draws follow from the part.
    ///
    /// # Errors
    /// Where it is not told where the samples are.
    pub fn prepare(
        graph: &mut Graph,
        labelled: &Labelled,
        lowered: &Lowered,
        shares: Shares,
        accumulate: Accumulate,
    ) -> Result<Self> {
        let samples = Samples::of(graph, &labelled.labels)?;
        if lowered.draws {
            draw_by_part(graph);
        }
        let Accumulate { parts: count, perturb_per } = accumulate;
        Ok(Self { samples, shares, count, perturb_per })
    }

    /// Moves what depends on the batch into the loop: all that `labelled` and `lowered` return, which stand for the
    /// whole batch from now on, and `sums`, for which is returned what stands for them. `kept` is what else is needed.
    ///
    /// # Errors
    /// As [`over_parts`].
    pub fn enter(
        &self,
        graph: &mut Graph,
        labelled: &mut Labelled,
        lowered: &mut Lowered,
        sums: Vec<Value>,
        kept: &[Value],
    ) -> Result<Vec<Value>> {
        // The logits are returned under their name, which what a part has of them gives up.
        let rows = labelled.predictions.first().filter(|_| labelled.returns_logits).map(|(value, _)| value.clone());
        let of_part = rows.as_ref().map(|rows| give_up_name(graph, rows)).transpose()?;
        let count = sums.len();
        let tally = labelled.tally.iter().flat_map(Tally::named).map(|(_, value)| value.clone());
        let each = labelled.losses.iter().map(|(_, value)| value.clone());
        let sums = sums.into_iter().chain(tally).chain(each);
        let mut results: Vec<(Value, Over)> = sums.map(|value| (value, Over::Sum)).collect();
        results.extend(of_part.map(|value| (value, Over::Rows)));
        results.extend(lowered.state.iter().map(|pair| (pair.next.clone(), Over::State(pair.state.clone()))));
        let parts = Parts { samples: &self.samples, count: self.count, shares: &self.shares, results: &results, kept };
        let mut whole = over_parts(graph, &parts)?.into_iter();
        let sums = whole.by_ref().take(count).collect();
        let mut next = || whole.next().ok_or_else(|| Error::internal("a loop returned too little"));
        if let Some(tally) = &mut labelled.tally {
            (tally.counted, tally.wrong) = (next()?, next()?);
            if let Some(weight) = &mut tally.weight {
                *weight = next()?;
            }
        }
        for (_, value) in &mut labelled.losses {
            *value = next()?;
        }
        if let Some(rows) = rows {
            let made = next()?;
            graph.rename(&HashMap::from_iter([(made.to_string(), rows.to_string())]));
        }
        for pair in &mut lowered.state {
            pair.next = next()?;
        }
        Ok(sums)
    }

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
        let sums = [scalars.to_vec(), std::mem::take(&mut penalised.gradients)].concat();
        let mut sums = self.enter(graph, labelled, lowered, sums, &kept)?;
        penalised.gradients = sums.split_off(scalars.len());
        let [loss, gradient_norm, perturbed_loss] = &sums[..] else {
            return Err(Error::internal("a loop returned too little"));
        };
        (metrics.gradient_norm, metrics.perturbed_loss) = (gradient_norm.clone(), perturbed_loss.clone());
        Ok(loss.clone())
    }
}

impl Differentiated {
    /// Evaluates the objective over the parts of a batch.
    pub(super) fn evaluate_in_parts(&mut self, in_parts: &InParts) -> Result<()> {
        let Evaluation { loss, gradients } = self.objective.here().clone();
        let sums = [vec![loss], gradients].concat();
        let kept = self.objective.parameters().to_vec();
        let mut sums = in_parts.enter(&mut self.graph, &mut self.labelled, &mut self.lowered, sums, &kept)?;
        let gradients = sums.split_off(1);
        self.objective = self.objective.clone().evaluated(Evaluation { loss: sums.swap_remove(0), gradients });
        Ok(())
    }
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
