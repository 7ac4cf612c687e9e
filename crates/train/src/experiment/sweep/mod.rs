//! Many runs that differ in one thing: each arm with each seed, side by side, and what they come to.
//!
//! Runs of one seed begin with the same weights and see the same samples in the same order; so arms are compared seed
//! by seed.

mod arm;
mod statistics;
mod summary;

pub use arm::{Arm, Point, grid};
pub use statistics::{Estimate, paired_difference};
pub use summary::{ArmSummary, MeasureEstimates, Summary};

use super::{Existing, Observer, Outcome, OutputSettings, Overview, Run, run as run_one};
use crate::Ended;
use gnp_base::{Error, ErrorKind, Result};
use gnp_report::Event;
use std::collections::VecDeque;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// What is run, and where to.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// What is compared. Where one is plain training the others are compared with it, else with the first.
    pub arms: Vec<Arm>,
    /// Each arm is run with each of these.
    pub seeds: Vec<u64>,
    /// How many runs go on at a time.
    pub jobs: NonZero<usize>,
    /// Has a folder for each run in `runs/`.
    pub folder: PathBuf,
}

/// Told of what happens in a sweep, from several threads.
pub trait SweepObserver: Sync {
    /// A run begins, or goes on.
    fn begin(&self, arm: &Arm, seed: u64, overview: &Overview) {
        let _ = (arm, seed, overview);
    }

    /// A step or an epoch of a run was done.
    fn event(&self, arm: &Arm, seed: u64, event: &Event) {
        let _ = (arm, seed, event);
    }

    /// A run is over: now, or since an earlier call.
    fn end(&self, arm: &Arm, seed: u64) {
        let _ = (arm, seed);
    }
}

/// One run of a sweep.
#[derive(Clone, Debug)]
pub struct RunResult {
    /// The index of its arm.
    pub arm: usize,
    /// Its seed.
    pub seed: u64,
    /// The outcome; the message where its training diverged, which is a result too. Any other failure ends the sweep.
    pub outcome: Result<Outcome, String>,
}

impl Sweep {
    /// The folder of a run.
    pub fn run_folder(&self, arm: &Arm, seed: u64) -> PathBuf {
        self.folder.join("runs").join(format!("{}-seed{seed}", arm.file_name()))
    }

    /// Checks that there is something to run, and that no two arms share a folder.
    ///
    /// # Errors
    /// Where it is not so.
    pub fn validate(&self) -> Result<()> {
        if self.arms.is_empty() || self.seeds.is_empty() {
            return Err(Error::input("the sweep has nothing to run").help("give --alpha 0,0.8,1 and --seeds 3"));
        }
        for (i, arm) in self.arms.iter().enumerate() {
            if let Some(other) = self.arms[..i].iter().find(|other| other.file_name() == arm.file_name()) {
                return Err(Error::input(format!(
                    "two arms have the same folder: `{}` and `{}`",
                    other.name, arm.name
                ))
                .help("give them names that differ in letters or digits"));
            }
        }
        Ok(())
    }
}

/// Runs what of the sweep has not been run yet, `of` telling what the run of an arm (by its index) with a seed is. Runs
/// that were stopped go on. Returns none where `stop` was set; the same call goes on then.
///
/// # Errors
/// Where a run fails before its training begins, or what is in its folder was run otherwise. Others that are under way
/// are stopped, with a checkpoint.
pub fn run(
    sweep: &Sweep,
    of: &(dyn Fn(usize, u64) -> Result<Run> + Sync),
    observer: &dyn SweepObserver,
    stop: &AtomicBool,
) -> Result<Option<Vec<RunResult>>> {
    sweep.validate()?;
    let one = |arm: usize, seed: u64| {
        let outcome = one(sweep, arm, of(arm, seed)?, seed, observer, stop)?;
        if outcome.is_some() {
            observer.end(&sweep.arms[arm], seed);
        }
        Ok(outcome.map(|outcome| RunResult { arm, seed, outcome }))
    };
    let results = each(sweep.arms.len(), &sweep.seeds, sweep.jobs, &one, stop)?;
    Ok(results.map(|mut results| {
        results.sort_unstable_by_key(|result| (result.arm, result.seed));
        results
    }))
}

/// Has `one` run each of `arms` arms (by its index) with each seed, `jobs` at a time. `one` returns none where it was
/// stopped. Returns none where `stop` was set.
///
/// # Errors
/// The first that `one` returns. It sets `stop`, so that others that are under way are stopped.
pub fn each<T: Send>(
    arms: usize,
    seeds: &[u64],
    jobs: NonZero<usize>,
    one: &(dyn Fn(usize, u64) -> Result<Option<T>> + Sync),
    stop: &AtomicBool,
) -> Result<Option<Vec<T>>> {
    // Seed by seed, so that a sweep that is stopped early has compared everything on some seeds.
    let all = seeds.iter().flat_map(|&seed| (0..arms).map(move |arm| (arm, seed)));
    let waiting: Mutex<VecDeque<(usize, u64)>> = Mutex::new(all.collect());
    let results: Mutex<Vec<T>> = Mutex::new(Vec::new());
    let failure: Mutex<Option<Error>> = Mutex::default();
    let next = || waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop_front();
    let work = || {
        while let Some((arm, seed)) = next().filter(|_| !stop.load(Ordering::Relaxed)) {
            match one(arm, seed) {
                Ok(Some(result)) => results.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(result),
                Ok(None) => return,
                Err(error) => {
                    failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(error);
                    stop.store(true, Ordering::Relaxed);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs.get() {
            scope.spawn(work);
        }
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        return Err(error);
    }
    let is_over = !stop.load(Ordering::Relaxed);
    Ok(is_over.then(|| results.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())))
}

/// One run; none where it was stopped.
fn one(
    sweep: &Sweep,
    arm: usize,
    mut run: Run,
    seed: u64,
    observer: &dyn SweepObserver,
    stop: &AtomicBool,
) -> Result<Option<Result<Outcome, String>>> {
    let arm = &sweep.arms[arm];
    // Every run has its results in its own folder, and nowhere else.
    run.output =
        OutputSettings { folder: sweep.run_folder(arm, seed), existing: Existing::Resume, file: None, ..run.output };
    if let Some(outcome) = finished(&run.output)? {
        return Ok(Some(Ok(outcome)));
    }
    let mut watch = Watch { arm, seed, observer, has_begun: false };
    match run_one(run, &mut watch, stop) {
        Ok(Outcome { ended: Ended::Stopped, .. }) => Ok(None),
        Ok(outcome) => Ok(Some(Ok(outcome))),
        Err(error) if watch.has_begun && error.kind() == ErrorKind::Diverged => Ok(Some(Err(error.to_string()))),
        Err(error) => Err(error),
    }
}

/// The outcome of the run that is in its folder, where it is over.
fn finished(output: &OutputSettings) -> Result<Option<Outcome>> {
    let Some(outcome) = Outcome::read(&output.folder)? else { return Ok(None) };
    let now = output.configuration.as_ref().map(ToString::to_string);
    if outcome.configuration != now {
        return Err(Error::input("the run in this folder was made with another configuration")
            .in_file(&output.folder)
            .help("name another folder with --out, or remove this one to run it anew"));
    }
    Ok(Some(outcome))
}

/// Passes on what happens in one run.
struct Watch<'a> {
    arm: &'a Arm,
    seed: u64,
    observer: &'a dyn SweepObserver,
    has_begun: bool,
}

impl Observer for Watch<'_> {
    fn begin(&mut self, overview: &Overview) {
        self.has_begun = true;
        self.observer.begin(self.arm, self.seed, overview);
    }

    fn event(&mut self, event: &Event) {
        self.observer.event(self.arm, self.seed, event);
    }
}
