//! The folder that a run leaves behind, and the names of everything in it.
//!
//! What is durable when: `metrics.jsonl` is written line by line and flushed to the disk before each checkpoint, which
//! says how long it was; a resumed run cuts off what comes after. So its lines and the checkpoint always agree,
//! whenever the run was killed. Results are written under another name, flushed, and renamed. A lock on
//! `metrics.jsonl`, which ends with the process, keeps two runs from writing into one folder.

use crate::checkpoint::{Checkpoint, Diverged, State, remove_whole};
use crate::{CheckpointPolicy, Fingerprint, Progress};
use gnp_base::{Error, Result, files};
use gnp_engine::Engine;
use gnp_report::Event;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const UNFINISHED: &str = ".unfinished-";

/// How many checkpoints this process is writing.
static SAVING: AtomicUsize = AtomicUsize::new(0);

/// Whether this process is writing a checkpoint: who wants to end it does well to wait.
pub fn is_saving() -> bool {
    SAVING.load(Ordering::Relaxed) > 0
}

/// A checkpoint that is being written.
struct Saving;

impl Saving {
    fn begin() -> Self {
        SAVING.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        SAVING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A run's folder, open for writing.
#[derive(Debug)]
pub struct RunFolder {
    root: PathBuf,
    fingerprint: Fingerprint,
    metrics: File,
    metrics_length: u64,
    line: Vec<u8>,
}

impl RunFolder {
    /// The folder of checkpoints.
    pub const CHECKPOINTS: &str = "checkpoints";
    /// An [`Event`] a line.
    pub const METRICS: &str = gnp_report::METRICS;
    /// The trained model, for inference.
    pub const MODEL: &str = "model.onnx";
    /// The model of the best epoch, for inference.
    pub const BEST_MODEL: &str = "best.onnx";
    /// The trained state of a step model.
    pub const STATE: &str = "state.safetensors";
    /// What adapters learned.
    pub const ADAPTERS: &str = "adapters.safetensors";
    /// The run's choices.
    pub const CONFIG: &str = gnp_report::CONFIG;
    /// The run's course, for a reader.
    pub const REPORT: &str = gnp_report::REPORT;
    /// The engine's record of what operators take, where it was asked for.
    pub const PROFILE: &str = "profile.json";
    /// The outcome of the run, once it is over.
    pub const OUTCOME: &str = "outcome.json";
    /// What the names of TensorBoard's files begin with.
    pub const EVENTS: &str = gnp_report::EVENTS;

    /// Begins a run in `root`, which is made where it is missing. What an earlier run left there is removed if
    /// `overwrite` says so; other files are left alone.
    ///
    /// # Errors
    /// Where the folder is not empty and `overwrite` is false, it cannot be written, or another process trains in it.
    pub fn create(root: &Path, fingerprint: Fingerprint, overwrite: bool) -> Result<Self> {
        Self::check_free(root, overwrite)?;
        fs::create_dir_all(root).map_err(|error| Error::io("make the folder", root, &error))?;
        // The file of metrics comes first and stays: it says that what else bears a run's name is a run's.
        let mut run = Self::open(root, fingerprint)?;
        let checkpoints = run.path_of(Self::CHECKPOINTS);
        remove_whole(&checkpoints).map_err(|error| Error::io("remove the earlier run", &checkpoints, &error))?;
        for path in run.results()? {
            fs::remove_file(&path).map_err(|error| Error::io("remove the earlier run", &path, &error))?;
        }
        run.cut(0)?;
        fs::create_dir(&checkpoints)
            .and_then(|()| files::sync_folder(root))
            .and_then(|()| files::sync_folder(files::folder_of(root)))
            .map_err(|error| Error::io("make the folder", &checkpoints, &error))?;
        Ok(run)
    }

    /// Whether [`RunFolder::create`] would take `root`; changes nothing.
    ///
    /// # Errors
    /// Where the folder is not empty and `overwrite` is false, or is no folder.
    pub fn check_free(root: &Path, overwrite: bool) -> Result<()> {
        let mut entries = match fs::read_dir(root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("use the output folder", root, &error)),
        };
        if overwrite || entries.next().is_none() {
            return Ok(());
        }
        Err(Error::input("the output folder is not empty")
            .in_file(root)
            .help("--resume goes on with the run in it, --force replaces that run, --out names another folder"))
    }

    /// Whether none of `inputs`, files that a run in `root` reads, is one that it would replace or remove.
    ///
    /// # Errors
    /// Where one is.
    pub fn check_no_result<P: AsRef<Path>>(root: &Path, inputs: impl IntoIterator<Item = P>) -> Result<()> {
        let is_taken = |file: &Path| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name == Self::METRICS || name == Self::CHECKPOINTS || Self::is_result(&name)
        };
        for input in inputs {
            let input = input.as_ref();
            // By its own name and by that of what it leads to.
            let real = input.canonicalize().unwrap_or_else(|_| input.to_owned());
            let is_in = |file: &Path| is_taken(file) && files::same_file(files::folder_of(file), root);
            if is_in(input) || is_in(&real) {
                let what = format!("would replace `{}`, which the command reads", input.display());
                return Err(Error::input(what).in_file(root).help("name another folder with --out"));
            }
        }
        Ok(())
    }

    /// The newest checkpoint of the run in `root` that is whole ([`Checkpoint::damaged`] says of others). None where
    /// there is none yet, and the run can be begun with [`RunFolder::create`]: it was stopped before its first, or even
    /// before the folder was made. So a run that is always started to be resumed begins by itself.
    ///
    /// # Errors
    /// Where a checkpoint cannot be read, or all are damaged; where `root` holds no run, but files that one would
    /// replace.
    pub fn newest_checkpoint(root: &Path) -> Result<Option<Checkpoint>> {
        let newest = Checkpoint::newest(&root.join(Self::CHECKPOINTS))?;
        if newest.is_some() || root.join(Self::METRICS).is_file() {
            return Ok(newest);
        }
        let names = names_in(root)?;
        match names.iter().find(|name| Self::is_result(name) || *name == Self::CHECKPOINTS) {
            None => Ok(None),
            Some(name) => {
                Err(Error::input(format!("there is no run to resume, but a file `{name}`, which one would replace"))
                    .in_file(root)
                    .help("name the run's folder with --out"))
            }
        }
    }

    /// The checkpoint that the run in `root` can be gone on from, as [`RunFolder::newest_checkpoint`], but none whose
    /// weights have diverged; the second says whether one was passed over for that.
    ///
    /// # Errors
    /// As [`RunFolder::newest_checkpoint`].
    pub fn checkpoint_to_resume(root: &Path) -> Result<(Option<Checkpoint>, bool)> {
        match Self::newest_checkpoint(root)? {
            None => Ok((None, false)),
            Some(_) => Checkpoint::newest_of_use(&root.join(Self::CHECKPOINTS)),
        }
    }

    /// Goes on with the run in `root` after `checkpoint`: what `metrics.jsonl` says of later steps is cut off, and
    /// newer checkpoints, which are damaged, are set aside as `damaged-…`. The run is no longer over, if it was.
    ///
    /// # Errors
    /// Where the fingerprint is not that of the run, a file cannot be written, or another process trains there.
    pub fn resume(root: &Path, fingerprint: Fingerprint, checkpoint: &Checkpoint) -> Result<Self> {
        fingerprint
            .check_continues(checkpoint.fingerprint(), checkpoint.has_diverged())
            .map_err(|error| error.in_file(root))?;
        let mut run = Self::open(root, fingerprint)?;
        checkpoint.set_aside_newer(&run.path_of(Self::CHECKPOINTS))?;
        let outcome = run.path_of(Self::OUTCOME);
        match fs::remove_file(&outcome) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove the outcome of the run so far", &outcome, &error));
            }
            _ => {}
        }
        run.cut(checkpoint.state.metrics_length)?;
        Ok(run)
    }

    fn open(root: &Path, fingerprint: Fingerprint) -> Result<Self> {
        let path = root.join(Self::METRICS);
        let cannot = |error: io::Error| Error::io("write the metrics", &path, &error);
        // Through a link another file would be written, and a pipe would be waited for.
        for name in names_in(root)?.iter().filter(|name| *name == Self::METRICS || Self::is_result(name)) {
            files::ensure_free(&root.join(name), true)?;
        }
        let metrics = OpenOptions::new().append(true).create(true).open(&path).map_err(cannot)?;
        match lock(&metrics) {
            Err(TryLockError::WouldBlock) => {
                return Err(Error::input("another process trains in this folder")
                    .in_file(root)
                    .help("wait for it or end it, or name another folder with --out"));
            }
            // Not every file system has locks.
            Err(TryLockError::Error(_)) | Ok(()) => {}
        }
        let metrics_length = metrics.metadata().map_err(cannot)?.len();
        Ok(Self { root: root.to_owned(), fingerprint, metrics, metrics_length, line: Vec::new() })
    }

    /// Cuts `metrics.jsonl` to `length` bytes, where it is longer.
    fn cut(&mut self, length: u64) -> Result<()> {
        self.metrics_length = self.metrics_length.min(length);
        let cut = self.metrics.set_len(self.metrics_length);
        cut.map_err(|error| Error::io("write the metrics", self.path_of(Self::METRICS), &error))
    }

    /// Whether a run leaves a file of this name, besides its metrics.
    fn is_result(name: &str) -> bool {
        let name = name.strip_prefix(UNFINISHED).unwrap_or(name);
        [Self::MODEL, Self::BEST_MODEL, Self::STATE, Self::ADAPTERS, Self::CONFIG, Self::REPORT, Self::OUTCOME]
            .contains(&name)
            || name.starts_with(Self::EVENTS)
    }

    /// The files that an earlier run left, besides its metrics.
    fn results(&self) -> Result<impl Iterator<Item = PathBuf>> {
        let names = names_in(&self.root)?;
        Ok(names.into_iter().filter(|name| Self::is_result(name)).map(|name| self.path_of(&name)))
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where `name`, one of the names above, is in the folder.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Appends a line to `metrics.jsonl`, in one write. It survives the end of the process, and from the next
    /// checkpoint on the loss of power.
    ///
    /// # Errors
    /// Where it cannot be written; what was written of it is removed.
    pub fn log(&mut self, event: &Event) -> Result<()> {
        self.line.clear();
        let written = serde_json::to_writer(&mut self.line, event).map_err(io::Error::from).and_then(|()| {
            self.line.push(b'\n');
            self.metrics.write_all(&self.line)
        });
        if let Err(error) = written {
            let _ = self.metrics.set_len(self.metrics_length);
            return Err(can_be_resumed(Error::io("write the metrics", self.path_of(Self::METRICS), &error)));
        }
        self.metrics_length += self.line.len() as u64;
        Ok(())
    }

    /// Writes a checkpoint, and removes those that `policy` does not keep; the metrics so far are on the disk before
    /// it. Where there already is one of this moment, nothing is written.
    ///
    /// # Errors
    /// Where it cannot be written; the last one is still there.
    pub fn save(&mut self, engine: &mut dyn Engine, progress: &Progress, policy: &CheckpointPolicy) -> Result<()> {
        self.write_checkpoint(engine, progress, policy, None)
    }

    /// The same for a run whose next step was not taken because a number of it was none, though the weights are good:
    /// it can be gone on with at other rates.
    ///
    /// # Errors
    /// As [`RunFolder::save`].
    pub fn save_diverged(
        &mut self,
        engine: &mut dyn Engine,
        progress: &Progress,
        policy: &CheckpointPolicy,
    ) -> Result<()> {
        self.write_checkpoint(engine, progress, policy, Some(Diverged::Later))
    }

    /// Notes that the weights have diverged: the run can be gone on with from the last checkpoint before, at other
    /// rates.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn note_diverged(&self, progress: &Progress) -> Result<()> {
        Checkpoint::note_diverged(&self.path_of(Self::CHECKPOINTS), progress)
    }

    fn write_checkpoint(
        &mut self,
        engine: &mut dyn Engine,
        progress: &Progress,
        policy: &CheckpointPolicy,
        diverged: Option<Diverged>,
    ) -> Result<()> {
        let _saving = Saving::begin();
        let flushed = self.metrics.sync_data();
        flushed.map_err(|error| can_be_resumed(Error::io("write the metrics", self.path_of(Self::METRICS), &error)))?;
        let state = State {
            progress: progress.clone(),
            metrics_length: self.metrics_length,
            fingerprint: self.fingerprint.clone(),
            diverged,
            files: BTreeMap::new(),
        };
        let kept = (policy.keep, policy.best_kept(&progress.standing));
        Checkpoint::write(&self.path_of(Self::CHECKPOINTS), &state, kept, |file| engine.save(file))
            .map_err(can_be_resumed)
    }

    /// The checkpoint of the end of the best epoch so far. None before the first, and where it is not kept: it surely
    /// is where [`CheckpointPolicy::best`] asks for it, unless newer ones were damaged since.
    ///
    /// # Errors
    /// Where a checkpoint cannot be read, or that one is damaged.
    pub fn best_checkpoint(&self) -> Result<Option<Checkpoint>> {
        let checkpoints = self.path_of(Self::CHECKPOINTS);
        let best = Checkpoint::newest(&checkpoints)?.and_then(|newest| newest.progress().standing.best);
        best.map_or(Ok(None), |best| Checkpoint::of_epoch(&checkpoints, best.epoch))
    }

    /// Has `write` write the trained model for inference, whole or not at all, and returns its path.
    ///
    /// # Errors
    /// Where `write` fails, or the file cannot be written.
    pub fn write_model(&self, write: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        self.write_result(Self::MODEL, write)
    }

    /// Has `write` write the trained state, whole or not at all, and returns its path.
    ///
    /// # Errors
    /// Where `write` fails, or the file cannot be written.
    pub fn write_state(&self, write: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        self.write_result(Self::STATE, write)
    }

    /// Has `write` write the file `name`, one of the names above, whole or not at all, and returns its path. It is
    /// durable when this returns.
    ///
    /// # Errors
    /// Where `write` fails, or the file cannot be written.
    pub fn write_result(&self, name: &str, write: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let target = self.path_of(name);
        let unfinished = self.path_of(&format!("{UNFINISHED}{name}"));
        let written = write(&unfinished).and_then(|()| {
            File::open(&unfinished)
                .and_then(|file| file.sync_all())
                .and_then(|()| files::put_in_place(&unfinished, &target))
                .map_err(|error| Error::io("write the result", &target, &error))
        });
        if written.is_err() {
            // On a full disk it would be in the way; where it cannot be removed either, the next run that is begun here
            // tries.
            let _ = fs::remove_file(&unfinished);
        }
        written.map(|()| target).map_err(can_be_resumed)
    }
}

/// Says of a failure to write what becomes of the run.
fn can_be_resumed(error: Error) -> Error {
    error.help("once it can be written, the same command with --resume goes on from the last checkpoint")
}

/// Locks `file`. A process that another thread starts holds the locks of this one for a moment, until it runs its own
/// program: so a lock that is held is asked for again before it counts as another's.
fn lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..10 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(10)),
            locked => return locked,
        }
    }
    file.try_lock()
}

/// The names in `folder`; none where it is missing.
fn names_in(folder: &Path) -> Result<Vec<String>> {
    let cannot = |error: io::Error| Error::io("use the output folder", folder, &error);
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(cannot(error)),
        Ok(entries) => {
            let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
            names.collect::<io::Result<_>>().map_err(cannot)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_report::StepReport;
    use std::num::NonZero;

    fn step(step: u64) -> Event {
        Event::Step(StepReport { epoch: 1, step, ..StepReport::default() })
    }

    fn steps_logged(root: &Path) -> Vec<u64> {
        let lines = fs::read_to_string(root.join(RunFolder::METRICS)).unwrap();
        let steps = lines.lines().map(|line| match serde_json::from_str(line).unwrap() {
            Event::Step(report) => report.step,
            other => panic!("{other:?}"),
        });
        steps.collect()
    }

    fn fingerprint() -> Fingerprint {
        Fingerprint::default().with("seed", 0)
    }

    #[test]
    fn no_step_is_logged_twice_after_a_resume() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("runs").join("a");
        let mut run = RunFolder::create(&root, fingerprint(), false).unwrap();
        (1..=2).for_each(|number| run.log(&step(number)).unwrap());
        let state = State {
            progress: Progress { step: 2, ..Progress::default() },
            metrics_length: run.metrics_length,
            fingerprint: fingerprint(),
            diverged: None,
            files: BTreeMap::new(),
        };
        Checkpoint::write(&root.join(RunFolder::CHECKPOINTS), &state, (NonZero::<usize>::MIN, None), |file| {
            fs::write(file, "").unwrap();
            Ok(())
        })
        .unwrap();
        (3..=5).for_each(|number| run.log(&step(number)).unwrap());
        drop(run);
        assert_eq!(steps_logged(&root), [1, 2, 3, 4, 5]);

        let checkpoint = RunFolder::newest_checkpoint(&root).unwrap().unwrap();
        assert!(RunFolder::resume(&root, fingerprint().with("seed", 1), &checkpoint).is_err());
        let mut run = RunFolder::resume(&root, fingerprint(), &checkpoint).unwrap();
        run.log(&step(3)).unwrap();
        assert_eq!(steps_logged(&root), [1, 2, 3]);
    }

    #[test]
    fn replaces_an_earlier_run_only_when_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        RunFolder::create(root, fingerprint(), false).unwrap().log(&step(1)).unwrap();
        fs::create_dir(root.join(RunFolder::CHECKPOINTS).join("epoch-00001")).unwrap();
        let results =
            ["model.onnx", "best.onnx", "state.safetensors", "config.toml", "report.html", ".unfinished-best.onnx"];
        for name in results.into_iter().chain(["events.out.tfevents.1.host", "notes.txt"]) {
            fs::write(root.join(name), "").unwrap();
        }
        let error = RunFolder::create(root, fingerprint(), false).unwrap_err();
        assert!(error.to_string().contains("not empty"), "{error}");
        RunFolder::create(root, fingerprint(), true).unwrap();
        assert!(steps_logged(root).is_empty());
        let mut names = names_in(root).unwrap();
        names.sort();
        assert_eq!(names, ["checkpoints", "metrics.jsonl", "notes.txt"]);
        assert_eq!(names_in(&root.join("checkpoints")).unwrap(), [""; 0]);
    }

    #[test]
    fn one_run_at_a_time_writes_into_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = RunFolder::create(folder.path(), fingerprint(), false).unwrap();
        first.log(&step(1)).unwrap();
        let error = RunFolder::create(folder.path(), fingerprint(), true).unwrap_err();
        assert!(error.to_string().ends_with("another process trains in this folder"), "{error}");
        assert_eq!(steps_logged(folder.path()), [1]);
        drop(first);
        RunFolder::create(folder.path(), fingerprint(), true).unwrap();
    }

    #[test]
    fn a_run_that_is_always_resumed_begins_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(RunFolder::newest_checkpoint(&root.join("missing")).unwrap(), None);
        fs::write(root.join("log.txt"), "").unwrap();
        assert_eq!(RunFolder::newest_checkpoint(root).unwrap(), None);
        RunFolder::create(root, fingerprint(), true).unwrap();
        assert_eq!(RunFolder::newest_checkpoint(root).unwrap(), None);
    }

    #[test]
    fn a_folder_with_files_of_ones_own_is_not_taken_for_a_run() {
        for name in ["model.onnx", "checkpoints", "config.toml"] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(name), "mine").unwrap();
            let error = RunFolder::newest_checkpoint(folder.path());
            assert!(error.is_err(), "{name}");
        }
    }
}
