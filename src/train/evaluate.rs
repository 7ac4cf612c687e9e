//! Loss and error on a data set.

use super::data::{Batch, Feed};
use super::metrics::{Mean, count_in_top};
use crate::engine::{Engine, Tensor};
use crate::{Error, Result};
use ndarray::{ArrayView2, Ix2};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// What [`evaluate`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// The mean loss over the samples.
    pub loss: f64,
    /// The fraction of the samples that is classified wrong, where the labels are classes and the evaluation graph returns
    /// logits.
    pub error: Option<f64>,
    /// The fraction of the samples whose class is not among the five largest logits, where there are six classes or more.
    pub top5_error: Option<f64>,
    /// The samples looked at: all of them, unless the graph's batch is fixed and they cannot all be fed.
    pub samples: usize,
}

/// Runs the evaluation graph over a data set in its own order. None where `stop` was set meanwhile.
///
/// # Errors
/// Where the engine cannot evaluate.
pub fn evaluate(
    engine: &mut dyn Engine,
    feed: &Feed<'_>,
    batch_size: usize,
    stop: &AtomicBool,
) -> Result<Option<Evaluation>> {
    let rows: Vec<usize> = (0..feed.data().len()).collect();
    let (mut loss, mut hits) = (Mean::default(), Hits::default());
    let is_over = thread::scope(|scope| {
        for batch in feed.load(scope, &rows, batch_size)? {
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let Batch { rows, tensors, .. } = batch?;
            let outputs = engine.evaluate(&tensors)?;
            loss.add(loss_of(&outputs)?, rows.len());
            if let Some(classes) = feed.data().labels().classes() {
                hits.add(&outputs, &classes[rows[0]..][..rows.len()]);
            }
        }
        Ok::<_, Error>(true)
    })?;
    if !is_over {
        return Ok(None);
    }
    let samples = loss.samples() as usize;
    Ok(loss.value().map(|loss| Evaluation { loss, error: hits.error(), top5_error: hits.top5_error(), samples }))
}

/// How many samples were classified right so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hits {
    samples: usize,
    top1: usize,
    /// None where there are so few classes that it says nothing.
    top5: Option<usize>,
}

impl Hits {
    /// Counts the samples of a batch, by the logits among the `outputs` of its graph; does nothing where there are none.
    pub(super) fn add(&mut self, outputs: &[Tensor], labels: &[i64]) {
        let Some(logits) = logits(outputs, labels.len()) else { return };
        self.samples += labels.len();
        self.top1 += count_in_top(1, logits, labels);
        if logits.ncols() > 5 {
            *self.top5.get_or_insert(0) += count_in_top(5, logits, labels);
        }
    }

    pub(super) fn error(&self) -> Option<f64> {
        (self.samples > 0).then(|| 1.0 - self.top1 as f64 / self.samples as f64)
    }

    pub(super) fn top5_error(&self) -> Option<f64> {
        self.top5.map(|hits| 1.0 - hits as f64 / self.samples as f64)
    }
}

/// How many classes the model tells apart; none where the labels are no classes, or its evaluation graph returns no
/// logits.
///
/// # Errors
/// Where the engine cannot evaluate, or not in batches of that size.
pub fn class_count(engine: &mut dyn Engine, feed: &Feed<'_>, batch_size: usize) -> Result<Option<usize>> {
    if feed.data().labels().classes().is_none() || engine.evaluate_outputs().is_empty() {
        return Ok(None);
    }
    let first: Vec<usize> = (0..feed.data().len().min(batch_size)).collect();
    let Some(rows) = feed.batches(&first, batch_size)?.next() else { return Ok(None) };
    let outputs = engine.evaluate(&feed.batch_without_labels(rows)?)?;
    Ok(logits(&outputs, rows.len()).map(|logits| logits.ncols()))
}

/// The first output after the loss that has a row of at least two floats for every sample.
fn logits(outputs: &[Tensor], samples: usize) -> Option<ArrayView2<'_, f32>> {
    let tables = outputs.iter().skip(1).filter_map(|output| output.as_f32()?.into_dimensionality::<Ix2>().ok());
    tables.into_iter().find(|table| table.nrows() == samples && table.ncols() >= 2)
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
    fn logits_are_told_by_their_shape() {
        let columns = |outputs: &[Tensor]| logits(outputs, 4).map(|logits| logits.ncols());
        assert_eq!(columns(&[zeros(&[]), zeros(&[4, 10])]), Some(10));
        assert_eq!(columns(&[zeros(&[]), zeros(&[4]), zeros(&[4, 1]), zeros(&[4, 3])]), Some(3));
        assert_eq!(columns(&[zeros(&[])]), None);
        assert_eq!(columns(&[zeros(&[4, 10])]), None);
    }

    #[test]
    fn a_loss_is_one_float() {
        assert_eq!(loss_of(&[zeros(&[1])]).unwrap(), 0.0);
        assert!(loss_of(&[zeros(&[4])]).is_err());
        assert!(loss_of(&[]).is_err());
    }
}
