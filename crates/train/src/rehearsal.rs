//! A look at whether a run will get through: a step and an evaluation of every size of batch that it has, before it
//! begins.

use crate::Plan;
use gnp_base::{Error, Result};
use gnp_data::Feed;
use gnp_engine::Engine;

/// Computes a step, with the penalty that later ones have, of the first batch that the run will have, and of the last
/// one of its first epoch where that is smaller; evaluates the test set's first and last batch likewise. Changes
/// nothing.
///
/// # Errors
/// Where the engine fails: the run would, too.
pub fn rehearse(engine: &mut dyn Engine, train: &Feed<'_>, test: Option<&Feed<'_>>, plan: &Plan) -> Result<()> {
    let (steps, batch_size) = (plan.steps_per_epoch(train)?, plan.training().batch_size);
    let rates = plan.steps(steps)?.whole_penalty();
    let order = train.epoch_order(plan.seed(), 0, batch_size);
    let batches: Vec<&[usize]> = train.batches(&order, batch_size)?.take(steps as usize).collect();
    for number in first_and_last(&batches) {
        let rows = batches[number];
        let batch = train.augmented_batch(rows, 0, number)?;
        let stepped = engine.rehearse(&batch, &rates);
        stepped.map_err(|error| smaller(error, number, rows.len(), "of an epoch"))?;
    }
    let Some(test) = test else { return Ok(()) };
    let all: Vec<usize> = (0..test.data().len()).collect();
    let batches: Vec<&[usize]> = test.batches(&all, batch_size)?.collect();
    for number in first_and_last(&batches) {
        let rows = batches[number];
        let evaluated = engine.evaluate(&test.batch(rows)?);
        evaluated.map_err(|error| smaller(error, number, rows.len(), "of the test data"))?;
    }
    Ok(())
}

/// The first batch, and the last one where it has another size.
fn first_and_last(batches: &[&[usize]]) -> impl Iterator<Item = usize> {
    let last = batches.len().checked_sub(1).filter(|&last| batches[last].len() != batches[0].len());
    (!batches.is_empty()).then_some(0).into_iter().chain(last)
}

fn smaller(error: Error, number: usize, samples: usize, of: &str) -> Error {
    if number == 0 {
        return error;
    }
    error.more_help(&format!(
        "batches of the size of the first are no trouble, but the last {of} has {samples}: choose another --batch-size"
    ))
}
