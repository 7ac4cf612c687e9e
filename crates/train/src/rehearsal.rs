//! A look at whether a run will get through: a step and an evaluation of every size of batch that it has, before it
//! begins.

use crate::Plan;
use gnp_base::{Error, Result};
use gnp_data::Feed;
use gnp_engine::Engine;

/// Computes a step, with the penalty that later ones have, of the first batch that the run will have, of the last one of
/// its first epoch where that is smaller, and of the longest one; evaluates the test set's likewise. Changes nothing.
///
/// # Errors
/// Where the engine fails: the run would, too.
pub fn rehearse(engine: &mut dyn Engine, train: &Feed<'_>, test: Option<&Feed<'_>>, plan: &Plan) -> Result<()> {
    let (steps, batch_size) = (plan.steps_per_epoch(train)?, plan.training().batch_size);
    let rates = plan.steps(steps)?.whole_penalty();
    let order = train.epoch_order(plan.seed(), 0, batch_size);
    let batches: Vec<&[usize]> = train.batches(&order, batch_size)?.take(steps as usize).collect();
    for (number, other) in to_try(train, &batches) {
        let batch = train.augmented_batch(batches[number], 0, number)?;
        let stepped = engine.rehearse(&batch, &rates);
        stepped.map_err(|error| other.explain(error, "of an epoch"))?;
    }
    let Some(test) = test else { return Ok(()) };
    let all: Vec<usize> = (0..test.data().len()).collect();
    let batches: Vec<&[usize]> = test.batches(&all, batch_size)?.collect();
    for (number, other) in to_try(test, &batches) {
        let evaluated = engine.evaluate(&test.batch(batches[number])?);
        evaluated.map_err(|error| other.explain(error, "of the test data"))?;
    }
    Ok(())
}

/// How a batch differs from the first one.
#[derive(Clone, Copy)]
enum Other {
    /// It is the first one.
    Not,
    /// It has so many samples.
    Smaller(usize),
    /// Its samples are so long.
    Longer(usize),
}

/// The batches to try, by their numbers: the first one, the last one where it has another size, and the longest.
fn to_try(feed: &Feed<'_>, batches: &[&[usize]]) -> Vec<(usize, Other)> {
    let Some(first) = batches.first() else { return vec![] };
    let mut tried = vec![(0, Other::Not)];
    let last = batches.len() - 1;
    if batches[last].len() != first.len() {
        tried.push((last, Other::Smaller(batches[last].len())));
    }
    let lengths = batches.iter().map(|rows| feed.batch_length(rows)).enumerate();
    let longest = lengths.max_by_key(|&(number, length)| (length, std::cmp::Reverse(number)));
    let longest = longest.filter(|&(_, length)| length > feed.batch_length(first));
    tried.extend(longest.map(|(number, length)| (number, Other::Longer(length))));
    tried
}

impl Other {
    fn explain(self, error: Error, of: &str) -> Error {
        match self {
            Self::Not => error,
            Self::Smaller(samples) => error.more_help(&format!(
                "batches of the size of the first are no trouble, but the last {of} has {samples}: choose another \
                 --batch-size"
            )),
            Self::Longer(length) => error.more_help(&format!(
                "the first batch is no trouble, but the longest {of} has samples of {length}: cut them off with \
                 --max-length"
            )),
        }
    }
}
