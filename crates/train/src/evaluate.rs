//! Loss and error on a data set.

use crate::counts::{count, logits, only_labels};
use crate::scores::Scoring;
use gnp_base::{Error, Result};
use gnp_data::{Batch, Feed};
use gnp_engine::Engine;
use gnp_report::Counts;
use gnp_report::Mean;
use gnp_report::Scores;
use gnp_tensor::Tensor;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// What [`evaluate`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The mean loss over the labels that count.
    pub loss: f64,
    /// The fraction of them that is wrong, where the evaluation graph counts them, or returns logits and the labels are
    /// classes.
    pub error: Option<f64>,
    /// The fraction of them whose class is not among the five largest logits, where there are six classes or more.
    pub top5_error: Option<f64>,
    /// What else tells how good the model is, by its task.
    pub scores: Scores,
    /// The samples looked at: all of them, unless the graph's batch is fixed and they cannot all be fed.
    pub samples: usize,
}

/// Runs the evaluation graph over a data set in its own order. None where `stop` was set meanwhile.
///
/// # Errors
/// Where the engine cannot evaluate, or no label counts.
pub fn evaluate(
    engine: &mut dyn Engine,
    feed: &Feed<'_>,
    batch_size: usize,
    stop: &AtomicBool,
) -> Result<Option<Evaluation>> {
    let rows: Vec<usize> = (0..feed.data().len()).collect();
    let (mut loss, mut counts, mut scoring) = (Mean::default(), Counts::default(), Scoring::default());
    let is_over = thread::scope(|scope| {
        for batch in feed.load(scope, &rows, batch_size)? {
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let Batch { rows, tensors, .. } = batch?;
            let outputs = engine.evaluate(&tensors)?;
            let (labels, port) = only_labels(&tensors, engine.batch_ports());
            let batch = count(&outputs, engine.evaluate_outputs(), labels, port, rows.len())?;
            scoring.add(&outputs, engine.evaluate_outputs(), labels, port);
            loss.add(loss_of(&outputs)?, batch.weight);
            counts.add(&batch);
        }
        Ok::<_, Error>(true)
    })?;
    if !is_over {
        return Ok(None);
    }
    let loss = loss.value().ok_or_else(|| Error::input("no label of the data that are evaluated counts"))?;
    let (error, top5_error) = (counts.error(), counts.top5_error());
    Ok(Some(Evaluation { loss, error, top5_error, scores: scoring.scores(loss), samples: counts.samples }))
}

/// How many classes the model tells apart; none where the labels are no classes, or neither its graph says nor the
/// logits that its evaluation graph returns.
///
/// # Errors
/// Where the engine cannot evaluate, or not in batches of that size.
pub fn class_count(engine: &mut dyn Engine, feed: &Feed<'_>, batch_size: usize) -> Result<Option<usize>> {
    let Some(port) = only_labels(&[], engine.batch_ports()).1 else { return Ok(None) };
    if let Some(classes) = port.classes() {
        return Ok(Some(classes));
    }
    if feed.data().labels().classes().is_none() || engine.evaluate_outputs().is_empty() {
        return Ok(None);
    }
    let first: Vec<usize> = (0..feed.data().len().min(batch_size)).collect();
    let Some(rows) = feed.batches(&first, batch_size)?.next() else { return Ok(None) };
    let outputs = engine.evaluate(&feed.batch_without_labels(rows)?)?;
    Ok(logits(&outputs, rows.len()).map(|logits| logits.ncols()))
}

/// The loss among the outputs of a graph.
pub(super) fn loss_of(outputs: &[Tensor]) -> Result<f32> {
    outputs.first().and_then(Tensor::to_scalar).ok_or_else(|| {
        Error::input("the graph's first output is not a loss: expected one float")
            .help("make the artifacts with a loss that is averaged over the batch")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{ArrayD, IxDyn};

    fn zeros(shape: &[usize]) -> Tensor {
        Tensor::F32(ArrayD::zeros(IxDyn(shape)))
    }

    #[test]
    fn a_loss_is_one_float() {
        assert_eq!(loss_of(&[zeros(&[1])]).unwrap(), 0.0);
        assert!(loss_of(&[zeros(&[4])]).is_err());
        assert!(loss_of(&[]).is_err());
    }
}
