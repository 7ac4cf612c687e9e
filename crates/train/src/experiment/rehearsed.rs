//! The third stage of a run: it will get through.

use super::counting::Counting;
use super::loaded::Loaded;
use super::setup::Setup;
use super::trainee::InEngine;
use crate::{Plan, rehearse};
use gnp_base::{Error, Result};
use gnp_data::Feed;
use gnp_gradient::lowering::Random;

/// A run whose data are joined to the engine's inputs, and whose first step and evaluation were computed, unless it
/// goes on. Nothing was written yet.
pub struct Rehearsed<'a> {
    pub(super) setup: &'a Setup,
    pub(super) engine: &'a mut InEngine,
    pub(super) train: Feed<'a>,
    pub(super) test: Option<Feed<'a>>,
    pub(super) counting: Counting,
}

impl<'a> Rehearsed<'a> {
    /// Joins data and engine, and computes a step and an evaluation that change nothing.
    ///
    /// # Errors
    /// Where the data cannot be prepared as the settings say, or the engine computes no step of them.
    pub fn new(loaded: &'a mut Loaded) -> Result<Self> {
        let (setup, in_engine) = (&loaded.setup, &mut loaded.engine);
        let Setup { run, plan, data, step_config, classes, .. } = setup;
        let in_model = |error| setup.in_model(error);
        let engine = in_engine.engine();
        let train = Feed::new(&data.train, engine.batch_ports(), &run.data.preparation, run.seed).map_err(in_model)?;
        let parts = step_config.as_ref().and_then(|config| config.accumulate).map_or(1, |parts| parts.parts.get());
        check_statistics(setup.over_samples.as_deref(), plan, &train, parts as usize).map_err(in_model)?;
        let evaluates = !engine.evaluate_outputs().is_empty();
        let test = data.test.as_ref().filter(|_| evaluates);
        let test = test.map(|test| train.for_test(test).map_err(in_model)).transpose()?;
        let counting = Counting::of(step_config.as_ref(), engine.evaluate_outputs(), *classes);
        run.training.checkpoints.check(test.is_some(), counting.tells_error)?;
        // An engine that draws would draw something else after a rehearsal.
        let draws_by_engine = step_config.as_ref().is_some_and(|config| config.lowering.random == Random::Engine);
        if setup.checkpoint.is_none() && !draws_by_engine {
            rehearse(engine, &train, test.as_ref(), plan).map_err(in_model)?;
        }
        Ok(Self { setup, engine: in_engine, train, test, counting })
    }
}

/// Refuses batches of one sample where the BatchNormalization `over_samples` would take statistics of a single number,
/// as PyTorch does: all that it returned would be its bias, and the running variance would move towards 0.
fn check_statistics(over_samples: Option<&str>, plan: &Plan, train: &Feed<'_>, parts: usize) -> Result<()> {
    let last = plan.last_batch(train)?;
    let (Some(node), 0 | 1) = (over_samples, last / parts) else { return Ok(()) };
    let (what, help) = if plan.training().batch_size == 1 {
        ("batches have one sample".to_owned(), "choose a larger --batch-size")
    } else if last > 1 {
        let what = format!("the smallest batch has {last} samples, and one of its {parts} parts has one");
        (
            what,
            "choose a larger --batch-size, or fewer parts with --accumulate, or leave the last batch out: --drop-last",
        )
    } else {
        let (samples, size) = (train.data().len(), plan.training().batch_size);
        let what = format!("the last batch of an epoch has one sample ({samples} in batches of {size})");
        (what, "leave that batch out with --drop-last, or choose another --batch-size")
    };
    Err(Error::input(format!("{what}, and BatchNormalization takes statistics of one number a sample and channel"))
        .at_node(node, "BatchNormalization")
        .help(format!(
            "{help}; or keep the running statistics: --batch-norm frozen, given where the step model is made"
        )))
}
