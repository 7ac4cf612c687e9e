//! Feeding a target from several processes, and the failures that are found.

use crate::input::Inputs;
use crate::targets::Target;
use crate::watch::{Event, Failure, Watched};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

/// How long and with what a target is fed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Ends after so long.
    pub seconds: Option<u64>,
    /// Ends after so many inputs.
    pub inputs: Option<u64>,
    /// Decides the inputs.
    pub seed: u64,
    /// Files that are inputs to begin with, besides the target's own.
    pub corpus: Option<PathBuf>,
    /// Processes at a time.
    pub jobs: u64,
    /// Where inputs that fail are written.
    pub failures: PathBuf,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// How many inputs were begun.
    pub inputs: u64,
    /// How many of them came to a result.
    pub results: u64,
    /// How long it took.
    pub time: Duration,
    /// Failures by kind and place: the first of each, how many there were, and the file of its input.
    pub failures: BTreeMap<(String, String), (Failure, u64, PathBuf)>,
}

/// The command that runs inputs of `target` in a process of its own.
fn child(target: Target, folder: &Path) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.arg(target.name()).arg("--folder").arg(folder);
    Ok(command)
}

/// Feeds `target`.
///
/// # Errors
/// Where processes cannot be started, or files not be read or written.
pub fn fuzz(target: Target, plan: &Plan) -> io::Result<Found> {
    let start = Instant::now();
    let inputs = Inputs::new(target, plan.corpus.as_deref(), plan.seed)?;
    // The corpus itself is always looked at.
    let last = plan.inputs.map(|wanted| wanted.max(inputs.corpus_len()));
    let end = plan.seconds.map(|seconds| start + Duration::from_secs(seconds));
    let (count, results, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let found = Mutex::new(Found::default());
    let scratch = scratch()?;
    let job = |job: u64| -> io::Result<()> {
        let folder = scratch.path().join(job.to_string());
        let again = scratch.path().join(format!("{job}-again"));
        fs::create_dir(&folder)?;
        fs::create_dir(&again)?;
        let mut first = job;
        loop {
            if end.is_some_and(|end| Instant::now() >= end) || last.is_some_and(|last| first >= last) {
                return Ok(());
            }
            let mut command = child(target, &folder)?;
            command.args(["--seed", &plan.seed.to_string(), "--first", &first.to_string()]);
            command.args(["--step", &plan.jobs.to_string()]);
            if let Some(corpus) = &plan.corpus {
                command.arg("--corpus").arg(corpus);
            }
            let mut watched = Watched::start(command)?;
            loop {
                match watched.next(end) {
                    None => return Ok(()),
                    Some(Event::Begun(number, result)) => {
                        results.fetch_add(result.into(), Ordering::Relaxed);
                        if last.is_some_and(|last| number >= last) {
                            return Ok(());
                        }
                        count.fetch_add(1, Ordering::Relaxed);
                        first = number + plan.jobs;
                    }
                    Some(Event::Failed(failure)) => {
                        record(&Recorder { target, plan, inputs: &inputs, folder: &again }, failure, &found)?;
                    }
                    Some(Event::Over) => break,
                }
            }
        }
    };
    let result = thread::scope(|scope| {
        let jobs: Vec<_> = (0..plan.jobs)
            .map(|number| {
                scope.spawn({
                    let job = &job;
                    move || job(number)
                })
            })
            .collect();
        let progress = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                thread::park_timeout(Duration::from_secs(1));
                let distinct = found.lock().map_or(0, |found| found.failures.len());
                let (count, time) = (count.load(Ordering::Relaxed), start.elapsed().as_secs_f64());
                eprint!(
                    "\r{}: {count} inputs, {:.0} a second, {distinct} failures \x1b[K",
                    target.name(),
                    count as f64 / time
                );
            }
            eprint!("\r\x1b[K");
        });
        let ended = jobs.into_iter().map(|job| job.join().unwrap_or_else(|_| Err(io::Error::other("a job panicked"))));
        let result = ended.collect::<io::Result<Vec<()>>>();
        over.store(true, Ordering::Relaxed);
        progress.thread().unpark();
        result
    });
    result?;
    let found = found.into_inner().map_err(|_| io::Error::other("a job panicked"))?;
    Ok(Found { inputs: count.into_inner(), results: results.into_inner(), time: start.elapsed(), ..found })
}

/// A folder for the files of inputs, in memory where that can be.
fn scratch() -> io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }
}

/// What a failure is looked at with.
struct Recorder<'a> {
    target: Target,
    plan: &'a Plan,
    inputs: &'a Inputs,
    folder: &'a Path,
}

/// Counts a failure; of the first of its kind at its place the input is kept, with as few mutations as show it.
fn record(recorder: &Recorder<'_>, failure: Failure, found: &Mutex<Found>) -> io::Result<()> {
    let key = (failure.kind.clone(), failure.place.clone());
    let file = recorder.file(&failure);
    let poisoned = |_| io::Error::other("a job panicked");
    {
        let failures = &mut found.lock().map_err(|_| poisoned(()))?.failures;
        let entry = failures.entry(key).or_insert_with(|| (failure.clone(), 0, file.clone()));
        entry.1 += 1;
        if entry.1 > 1 {
            return Ok(());
        }
    }
    let whole = recorder.inputs.make(failure.number, usize::MAX);
    fs::create_dir_all(&recorder.plan.failures)?;
    fs::write(&file, &whole)?;
    // Those that hang would take too long.
    for most in 0..if failure.kind == "hang" { 0 } else { 12 } {
        let bytes = recorder.inputs.make(failure.number, most);
        if bytes == whole {
            break;
        }
        fs::write(&file, &bytes)?;
        let again = replay(recorder.target, &file, recorder.folder)?;
        if again.is_some_and(|again| (&again.kind, &again.place) == (&failure.kind, &failure.place)) {
            return Ok(());
        }
    }
    fs::write(&file, &whole)
}

impl Recorder<'_> {
    /// The file for the input of a failure.
    fn file(&self, failure: &Failure) -> PathBuf {
        let sum = crc32fast::hash(format!("{}{}", failure.kind, failure.place).as_bytes());
        let kind = failure.kind.split([' ', ':']).next().unwrap_or_default();
        self.plan.failures.join(format!("{kind}-{sum:08x}"))
    }
}

/// Runs the input in `file` under watch, with its files in `folder`. How it fails; none where it does not.
///
/// # Errors
/// Where the process cannot be started.
pub fn replay(target: Target, file: &Path, folder: &Path) -> io::Result<Option<Failure>> {
    let mut command = child(target, folder)?;
    command.arg(file);
    let mut watched = Watched::start(command)?;
    loop {
        match watched.next(None) {
            Some(Event::Failed(failure)) => return Ok(Some(failure)),
            Some(Event::Begun(..)) | None => {}
            Some(Event::Over) => return Ok(None),
        }
    }
}

/// Runs an input, or all of a folder. Those that fail, and how.
///
/// # Errors
/// As [`replay`].
pub fn replay_all(target: Target, path: &Path) -> io::Result<Vec<(PathBuf, Failure)>> {
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        files = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        files.sort_unstable();
    }
    let scratch = scratch()?;
    let mut failed = Vec::new();
    for file in files {
        failed.extend(replay(target, &file, scratch.path())?.map(|failure| (file, failure)));
    }
    Ok(failed)
}
