//! The first stage of a run: its settings make sense, and what trains is known.

use super::trainee::Trainee;
use super::{Existing, Notice, Observer, Run};
use crate::{Checkpoint, Plan, RunFolder};
use gnp_base::{Error, Result, files};

/// A run whose settings are checked against what they name: what trains, all its choices, and the checkpoint that it
/// goes on from. Nothing was loaded into an engine yet, and nothing written.
pub struct Opened {
    pub(super) run: Run,
    pub(super) trainee: Trainee,
    pub(super) plan: Plan,
    pub(super) checkpoint: Option<Checkpoint>,
}

impl Opened {
    /// Opens what `run` names. An ordinary model is made a step model.
    ///
    /// # Errors
    /// Where a file is missing or damaged, or would be replaced; where the settings do not fit the model; where there
    /// is a run already, or none to go on with.
    pub fn new(run: Run, observer: &mut dyn Observer) -> Result<Self> {
        check_files(&run)?;
        let checkpoint = checkpoint(&run, observer)?;
        let trainee = Trainee::open(&run, checkpoint.as_ref(), observer)?;
        run.output.file.as_ref().map_or(Ok(()), |output| trainee.check_output(output))?;
        let plan = trainee.plan(&run)?;
        Ok(Self { run, trainee, plan, checkpoint })
    }
}

/// The checkpoint that the run goes on from; none where it begins.
fn checkpoint(run: &Run, observer: &mut dyn Observer) -> Result<Option<Checkpoint>> {
    let (root, existing) = (&*run.output.folder, run.output.existing);
    if existing != Existing::Resume {
        RunFolder::check_free(root, existing == Existing::Replace)?;
        return Ok(None);
    }
    let (checkpoint, passed_over) = RunFolder::checkpoint_to_resume(root)?;
    for damage in checkpoint.iter().flat_map(Checkpoint::damaged) {
        observer.notice(Notice::Info(&format!("warning: {damage}; going on from the checkpoint before it")));
    }
    if passed_over {
        let instead =
            checkpoint.as_ref().map_or("beginning the run anew", |_| "going on from the checkpoint before it");
        observer.notice(Notice::Info(&format!("the weights of the last checkpoint have diverged: {instead}")));
    }
    Ok(checkpoint)
}

/// Refuses inputs that are no files, and outputs that would replace them, or what no run has written.
fn check_files(run: &Run) -> Result<()> {
    let inputs = run.inputs();
    // That one is missing is told by who reads it.
    for input in inputs.iter().filter(|input| input.exists() && !input.is_dir()) {
        files::open(input).map_err(|error| Error::io("open the file", input, &error))?;
    }
    if let Some(output) = &run.output.file {
        files::ensure_free(output, run.output.existing != Existing::Refuse)?;
        files::ensure_no_input(output, &inputs)?;
    }
    RunFolder::check_no_result(&run.output.folder, &inputs)
}
