//! The second stage of a run: engine and data are there, and fit each other.

use super::opened::Opened;
use super::setup::Setup;
use super::trainee::{FITTED, InEngine};
use super::{Observer, Run};
use crate::{Fingerprint, Plan, prepare};
use gnp_base::{Error, Result};
use gnp_data::{Data, Dataset, Feed};

/// A run whose engine holds the model as it begins or goes on, and whose data are in memory, labels redrawn.
pub struct Loaded {
    pub(super) setup: Setup,
    pub(super) engine: InEngine,
}

impl Loaded {
    /// Loads engine and data.
    ///
    /// # Errors
    /// Where no engine is there, or it refuses the model; where data are missing or damaged, or do not fit the model.
    pub fn new(opened: Opened, observer: &mut dyn Observer) -> Result<Self> {
        let Opened { run, trainee, plan, checkpoint } = opened;
        let mut data = Data::load(&run.data.source, run.seed)?;
        let fingerprint = fingerprint(&run, &plan, &data)?.with("training model", trainee.digest()?);
        let fingerprint = trainee.fitted().map_or(fingerprint.clone(), |parts| fingerprint.with(FITTED, parts.get()));
        let (step_config, over_samples) = (trainee.step_config(), trainee.over_samples()?);
        let opens_with = trainee.opens_with();
        let mut engine = trainee.load(&run, checkpoint.as_ref(), observer)?;
        let in_model = |error: Error| error.in_file(&run.model.path);
        // What does not fit is told in the model's terms before anything else is looked at.
        let (preparation, ports) = (&run.data.preparation, engine.engine().batch_ports().to_vec());
        let as_they_are = Feed::new(&data.train, &ports, &preparation.plain(), run.seed).map_err(in_model)?;
        check_batch_size(&as_they_are, run.training.batch_size, opens_with).map_err(in_model)?;
        let classes = prepare(engine.engine(), &mut data, preparation, run.data.label_noise, &plan)?;
        let setup = Setup { run, plan, checkpoint, data, fingerprint, step_config, over_samples, classes };
        Ok(Self { setup, engine })
    }
}

/// What the run depends on, but for the model.
fn fingerprint(run: &Run, plan: &Plan, data: &Data) -> Result<Fingerprint> {
    let prepared = run.data.preparation.choices()?.into_iter();
    Ok(prepared
        .fold(plan.fingerprint(), |fingerprint, (name, value)| fingerprint.with(name, value))
        .with("training data", data.train.digest())
        .with("test data", data.test.as_ref().map(Dataset::digest))
        .with("label noise", run.data.label_noise))
}

/// Whether batches of `size` can be made; if the graph takes those of another size only, what opens it.
fn check_batch_size(train: &Feed<'_>, size: usize, opens_with: Option<&str>) -> Result<()> {
    let misfit = train.batch_count(size).err();
    let Some(error) = misfit else { return Ok(()) };
    Err(match train.fixed_batch() {
        Some(fixed) if fixed != size => {
            let open = match opens_with {
                Some(open) => format!("{open} --dim '{}[0]=batch'", train.sample_input()),
                None => "make the artifacts of a model whose batch is open".to_owned(),
            };
            error.help(format!("train with --batch-size {fixed}, or {open}"))
        }
        _ => error,
    })
}
