//! Checkpoints that survive being killed at any moment.
//!
//! A checkpoint is a folder with the engine's own file and `state.json`: `epoch-00003` after three epochs,
//! `epoch-00003-batch-000007` where the run was stopped seven batches later. It is written under another name, every
//! file in it flushed to the disk, then its own list of names; only then is it renamed, and the list of checkpoints
//! flushed. So a folder of that name is always complete, after a loss of power too, and what an older one is removed
//! for is durable before. One is removed by renaming it first. `state.json` has the length and checksum of the engine's
//! files: what is damaged later is found out, and passed over.

use super::best::Standing;
use gnp_base::{Error, Result, files};
use gnp_report::Means;
use gnp_report::StepReport;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::num::NonZero;
use std::path::{Component, Path, PathBuf};

const STATE_FILE: &str = "state.json";
const ENGINE_FILE: &str = "checkpoint";
const UNFINISHED: &str = ".unfinished-";
const REMOVED: &str = ".removed-";
const DAMAGED: &str = "damaged-";

/// The longest `state.json` that is read, in bytes: it holds some dozen numbers, and the choices of a run.
const LONGEST_STATE: u64 = 16 << 20;
/// The largest count that JSON carries whole; no run comes as far.
const LARGEST_COUNT: u64 = 1 << 53;

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The epochs that are over.
    pub epoch: u64,
    /// The batches of the current epoch that are done.
    pub batch: u64,
    /// The steps taken in all.
    pub step: u64,
    /// What was measured in the current epoch so far.
    pub means: Means,
    /// The duration of the current epoch's steps so far, in seconds.
    pub seconds: f64,
    /// How much of it was spent waiting for data, in seconds.
    pub data_seconds: f64,
    /// How the epochs that are over compare.
    pub standing: Standing,
}

impl Progress {
    /// Adds a step to the epoch.
    pub(super) fn add(&mut self, step: &StepReport) {
        self.means.add(&step.measures, &step.counts);
        self.seconds += step.seconds;
        self.data_seconds += step.data_seconds;
    }

    /// The beginning of the next epoch.
    pub(super) fn next_epoch(self) -> Self {
        let Self { epoch, step, standing, .. } = self;
        Self { epoch: epoch + 1, step, standing, ..Self::default() }
    }
}

/// The choices that a run's course depends on, by name. A run can go on only with the same; one that has diverged also
/// with other rates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    choices: BTreeMap<String, Value>,
    rates: BTreeMap<String, Value>,
}

impl Fingerprint {
    /// Adds a choice.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.choices.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a choice of how far steps go.
    #[must_use]
    pub fn with_rate(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.rates.insert(name.to_owned(), value.into());
        self
    }

    /// Checks that this run may go on from one that was begun with `begun`, and has diverged or has not.
    ///
    /// # Errors
    /// Where they differ: the message says in what.
    ///
    /// ```
    /// use gnp_train::Fingerprint;
    /// let begun = Fingerprint::default().with("seed", 0).with_rate("learning rate", 1);
    /// let now = Fingerprint::default().with("seed", 1).with_rate("learning rate", 1);
    /// let error = now.check_continues(&begun, false).unwrap_err();
    /// assert_eq!(error.to_string(), "the run was begun otherwise: seed was 0, is 1");
    /// let lower = begun.clone().with_rate("learning rate", 0);
    /// assert!(lower.check_continues(&begun, false).is_err());
    /// lower.check_continues(&begun, true)?;
    /// # Ok::<(), gnp_base::Error>(())
    /// ```
    pub fn check_continues(&self, begun: &Self, has_diverged: bool) -> Result<()> {
        let mut different = differences(&begun.choices, &self.choices);
        if !has_diverged {
            different.append(&mut differences(&begun.rates, &self.rates));
        }
        if different.is_empty() {
            return Ok(());
        }
        Err(Error::input(format!("the run was begun otherwise: {}", different.join("; ")))
            .help("resume with the same options, or begin another run in another folder"))
    }
}

fn differences(begun: &BTreeMap<String, Value>, now: &BTreeMap<String, Value>) -> Vec<String> {
    let names: BTreeSet<_> = now.keys().chain(begun.keys()).collect();
    let different = names.into_iter().filter(|name| now.get(*name) != begun.get(*name));
    different.map(|name| format!("{name} was {}, is {}", show(begun.get(name)), show(now.get(name)))).collect()
}

fn show(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "not given".to_owned(),
        // Rates have 32 bits.
        Some(Value::Number(number)) if number.is_f64() => {
            number.as_f64().map_or_else(|| number.to_string(), |number| (number as f32).to_string())
        }
        Some(value) => value.to_string(),
    }
}

/// How a run has diverged at a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Diverged {
    /// A step that was taken from here led, sooner or later, to numbers that are none: with other rates another may
    /// not.
    Later,
    /// What these weights come to is no number: they are of no use.
    Already,
}

/// What `state.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub progress: Progress,
    /// The length of `metrics.jsonl` in bytes.
    pub metrics_length: u64,
    pub fingerprint: Fingerprint,
    /// How the run has diverged here, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diverged: Option<Diverged>,
    /// The files beside it.
    #[serde(default)]
    pub files: BTreeMap<String, Sum>,
}

impl State {
    /// What is wrong with the state of the checkpoint `folder`, where it can be read but no run wrote it.
    fn flaw(&self, folder: &Path) -> Option<String> {
        let Progress { epoch, batch, step, .. } = self.progress;
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if Moment::parse(name) != Some(Moment::of(&self.progress)) {
            return Some(format!("it says that it is of epoch {epoch} and batch {batch}"));
        }
        if [epoch, batch, step, self.progress.means.samples()].iter().any(|&count| count > LARGEST_COUNT) {
            return Some("it counts more than any run does".to_owned());
        }
        // Nothing outside of the folder is read.
        let is_within = |name: &String| {
            let mut parts = Path::new(name).components();
            matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
        };
        let outside = self.files.keys().find(|name| !is_within(name))?;
        Some(format!("it names the file {outside:?}, which is not beside it"))
    }
}

/// What `file` holds, which is damaged where it is longer than `most` bytes.
fn read_at_most(file: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    files::open(file)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What tells a file from a damaged one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sum {
    bytes: u64,
    crc32: u32,
}

impl Sum {
    fn of(file: &File) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let (mut hasher, mut bytes) = (crc32fast::Hasher::new(), 0);
        loop {
            let chunk = reader.fill_buf()?;
            if chunk.is_empty() {
                return Ok(Self { bytes, crc32: hasher.finalize() });
            }
            hasher.update(chunk);
            let length = chunk.len();
            bytes += length as u64;
            reader.consume(length);
        }
    }
}

/// A checkpoint on the disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    folder: PathBuf,
    pub(super) state: State,
    damaged: Vec<String>,
    /// Whether a newer one was passed over because its weights have diverged.
    passed_over: bool,
}

impl Checkpoint {
    /// The file that [`gnp_engine::Engine::save`] wrote.
    pub fn engine_file(&self) -> PathBuf {
        self.folder.join(ENGINE_FILE)
    }

    /// How far the run had come.
    pub fn progress(&self) -> &Progress {
        &self.state.progress
    }

    /// What the run was begun with.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.state.fingerprint
    }

    /// Whether the run has diverged after it, so that it may be gone on with at other rates.
    pub fn has_diverged(&self) -> bool {
        self.passed_over || self.state.diverged.is_some()
    }

    /// What is wrong with newer checkpoints that were passed over for this one, a sentence each with the file that is
    /// damaged.
    pub fn damaged(&self) -> &[String] {
        &self.damaged
    }

    /// The newest checkpoint in `folder` that is whole; none where there is none at all yet.
    ///
    /// # Errors
    /// Where one cannot be read, or all are damaged.
    pub(super) fn newest(folder: &Path) -> Result<Option<Self>> {
        let mut damaged = Vec::new();
        for (_, path) in complete(folder)?.into_iter().rev() {
            match Self::open(&path)? {
                Ok(checkpoint) => return Ok(Some(Self { damaged, ..checkpoint })),
                Err(error) => damaged.push(error.to_string()),
            }
        }
        if damaged.is_empty() {
            return Ok(None);
        }
        Err(Error::input(format!("no checkpoint is whole: {}", damaged.join("; ")))
            .in_file(folder)
            .help("begin the run anew with --force in place of --resume"))
    }

    /// The newest checkpoint that can be gone on from: whole, and with weights that have not diverged. None where there
    /// is none; the second says whether one was passed over because its weights have.
    ///
    /// # Errors
    /// As [`Checkpoint::newest`].
    pub(super) fn newest_of_use(folder: &Path) -> Result<(Option<Self>, bool)> {
        let Some(newest) = Self::newest(folder)? else { return Ok((None, false)) };
        if newest.state.diverged != Some(Diverged::Already) {
            return Ok((Some(newest), false));
        }
        let own = Moment::of(&newest.state.progress);
        for (_, path) in complete(folder)?.into_iter().rev().filter(|(moment, _)| *moment < own) {
            if let Ok(checkpoint) = Self::open(&path)?
                && checkpoint.state.diverged != Some(Diverged::Already)
            {
                return Ok((Some(Self { damaged: newest.damaged, passed_over: true, ..checkpoint }), true));
            }
        }
        Ok((None, true))
    }

    /// Notes that the run has diverged at the weights of `progress`: those are of no use, where there is a checkpoint
    /// of them, else what followed the newest one.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(super) fn note_diverged(folder: &Path, progress: &Progress) -> Result<()> {
        let here = folder.join(Moment::of(progress).name());
        let (path, how) = match complete(folder)?.pop() {
            _ if here.is_dir() => (here, Diverged::Already),
            Some((_, newest)) => (newest, Diverged::Later),
            None => return Ok(()),
        };
        mark(&path, how).map_err(|error| Error::io("write the checkpoint", &path, &error))
    }

    /// The checkpoint of the end of `epoch`; none where it is not kept.
    ///
    /// # Errors
    /// Where it cannot be read or is damaged.
    pub(super) fn of_epoch(folder: &Path, epoch: u64) -> Result<Option<Self>> {
        let path = folder.join(Moment { epoch, batch: 0 }.name());
        if path.is_dir() { Self::open(&path)?.map(Some) } else { Ok(None) }
    }

    /// Reads a checkpoint. The inner error says in what it is damaged.
    fn open(folder: &Path) -> Result<Result<Self>> {
        let flaw = |file: &Path, what: String| Error::input(format!("the checkpoint is damaged: {what}")).in_file(file);
        let file = folder.join(STATE_FILE);
        let text = match read_at_most(&file, LONGEST_STATE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(flaw(&file, error.to_string()))),
            text => text.map_err(|error| Error::io("read the checkpoint", &file, &error))?,
        };
        let state: State = match serde_json::from_slice(&text) {
            Err(error) => return Ok(Err(flaw(&file, error.to_string()))),
            Ok(state) => state,
        };
        if let Some(what) = state.flaw(folder) {
            return Ok(Err(flaw(&file, what)));
        }
        for (name, &written) in &state.files {
            let file = folder.join(name);
            match files::open(&file).and_then(|file| Sum::of(&file)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Err(flaw(&file, error.to_string())));
                }
                Err(error) => return Err(Error::io("read the checkpoint", &file, &error)),
                Ok(found) if found != written => {
                    return Ok(Err(flaw(
                        &file,
                        format!("{} bytes are not the {} that were written", found.bytes, written.bytes),
                    )));
                }
                Ok(_) => {}
            }
        }
        Ok(Ok(Self { folder: folder.to_owned(), state, damaged: Vec::new(), passed_over: false }))
    }

    /// Has none in `folder` be newer than this one: what is was damaged, and is set aside as `damaged-…`, or has
    /// weights that have diverged, and is removed.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub(super) fn set_aside_newer(&self, folder: &Path) -> Result<()> {
        let own = Moment::of(&self.state.progress);
        for (_, path) in complete(folder)?.into_iter().filter(|(moment, _)| *moment > own) {
            if let Ok(Ok(Self { state: State { diverged: Some(_), .. }, .. })) = Self::open(&path) {
                remove_whole(&path).map_err(|error| Error::io("remove the checkpoint", &path, &error))?;
                continue;
            }
            let aside = beside(&path, DAMAGED);
            remove_if_there(&aside)
                .and_then(|()| fs::rename(&path, &aside))
                .map_err(|error| Error::io("set the damaged checkpoint aside", &path, &error))?;
        }
        Ok(())
    }

    /// Writes a checkpoint into `folder`, the engine's file through `save`, then removes those that are no longer
    /// needed: all but the `keep` newest and that of the end of epoch `best`. Where there already is one of this moment
    /// nothing is written but that the run has diverged: a run's state at a moment is a function of its fingerprint.
    ///
    /// # Errors
    /// Where a file cannot be written. What was there before still is.
    pub(super) fn write(
        folder: &Path,
        state: &State,
        (keep, best): (NonZero<usize>, Option<u64>),
        save: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let target = folder.join(Moment::of(&state.progress).name());
        if !target.exists() {
            let unfinished = beside(&target, UNFINISHED);
            let cannot = |error: &io::Error| Error::io("write the checkpoint", &target, error);
            remove_if_there(&unfinished).and_then(|()| fs::create_dir_all(&unfinished)).map_err(|e| cannot(&e))?;
            let written = save(&unfinished.join(ENGINE_FILE))
                .and_then(|()| finish(&unfinished, &target, state).map_err(|e| cannot(&e)));
            if written.is_err() {
                // On a full disk it would be in the way; where it cannot be removed either, the next writer tries
                // again.
                let _ = remove_if_there(&unfinished);
            }
            written?;
        } else if let Some(how) = state.diverged {
            mark(&target, how).map_err(|error| Error::io("write the checkpoint", &target, &error))?;
        }
        prune(folder, keep, best)
    }
}

/// Notes in a checkpoint that is there how the run has diverged.
fn mark(folder: &Path, how: Diverged) -> io::Result<()> {
    let file = folder.join(STATE_FILE);
    let state: State = serde_json::from_slice(&files::read(&file)?)?;
    let unfinished = beside(&file, UNFINISHED);
    write_state(&unfinished, &State { diverged: Some(how), ..state })?;
    fs::rename(unfinished, file)?;
    sync_folder(folder)
}

/// Writes what `state.json` holds, durably.
fn write_state(file: &Path, state: &State) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(state)?;
    text.push(b'\n');
    let mut file = File::create(file)?;
    file.write_all(&text)?;
    file.sync_all()
}

fn finish(unfinished: &Path, target: &Path, state: &State) -> io::Result<()> {
    // The engine's file may have others beside it, for what a single one cannot hold.
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(unfinished)? {
        let entry = entry?;
        let file = File::open(entry.path())?;
        files.insert(entry.file_name().to_string_lossy().into_owned(), Sum::of(&file)?);
        file.sync_all()?;
    }
    write_state(&unfinished.join(STATE_FILE), &State { files, ..state.clone() })?;
    sync_folder(unfinished)?;
    fs::rename(unfinished, target)?;
    target.parent().map_or(Ok(()), sync_folder)
}

/// Makes the names in a folder durable. Only Unix lets a folder be opened for that.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// When a checkpoint is written, in the order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moment {
    /// The epochs that are over.
    epoch: u64,
    /// The batches of the next one that are done.
    batch: u64,
}

impl Moment {
    fn of(progress: &Progress) -> Self {
        Self { epoch: progress.epoch, batch: progress.batch }
    }

    fn name(self) -> String {
        match self {
            Self { epoch, batch: 0 } => format!("epoch-{epoch:05}"),
            Self { epoch, batch } => format!("epoch-{epoch:05}-batch-{batch:06}"),
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let name = name.strip_prefix("epoch-")?;
        let (epoch, batch) = name.split_once("-batch-").unwrap_or((name, "0"));
        Some(Self { epoch: epoch.parse().ok()?, batch: batch.parse().ok()? })
    }
}

/// A name beside `path`'s.
fn beside(path: &Path, prefix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{prefix}{name}"))
}

/// What is in `folder`; nothing where it is missing.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot = |error: io::Error| Error::io("list the checkpoints", folder, &error);
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(cannot(error)),
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path()).map_err(cannot)).collect(),
    }
}

/// The complete checkpoints in `folder`, oldest first.
fn complete(folder: &Path) -> Result<Vec<(Moment, PathBuf)>> {
    let moment = |path: PathBuf| Some((Moment::parse(path.file_name()?.to_str()?)?, path));
    let mut found: Vec<_> = entries(folder)?.into_iter().filter_map(moment).collect();
    found.sort_unstable();
    Ok(found)
}

/// Removes what a killed run left unfinished, and all but the `keep` newest and that of the end of epoch `best`.
fn prune(folder: &Path, keep: NonZero<usize>, best: Option<u64>) -> Result<()> {
    let cannot = |path: &Path, error: io::Error| Error::io("remove the old checkpoint", path, &error);
    let is_left = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(REMOVED) || name.starts_with(UNFINISHED)
    };
    for path in entries(folder)?.into_iter().filter(is_left) {
        remove_if_there(&path).map_err(|error| cannot(&path, error))?;
    }
    let best = best.map(|epoch| Moment { epoch, batch: 0 });
    let mut old = complete(folder)?;
    old.truncate(old.len().saturating_sub(keep.get()));
    for (_, path) in old.into_iter().filter(|(moment, _)| Some(*moment) != best) {
        remove_whole(&path).map_err(|error| cannot(&path, error))?;
    }
    Ok(())
}

/// Removes a folder, where there is one, under another name: no part of it ever looks like all of it.
pub(super) fn remove_whole(folder: &Path) -> io::Result<()> {
    let removed = beside(folder, REMOVED);
    remove_if_there(&removed)?;
    match fs::rename(folder, &removed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => remove_if_there(&removed),
    }
}

fn remove_if_there(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TWO: NonZero<usize> = NonZero::new(2).unwrap();

    fn state(epoch: u64, batch: u64) -> State {
        State {
            progress: Progress { epoch, batch, step: 16 * epoch + batch, ..Progress::default() },
            metrics_length: 10 * epoch,
            fingerprint: Fingerprint::default().with("seed", 0),
            diverged: None,
            files: BTreeMap::new(),
        }
    }

    fn write(folder: &Path, epoch: u64, batch: u64, kept: (NonZero<usize>, Option<u64>)) {
        Checkpoint::write(folder, &state(epoch, batch), kept, |file| {
            fs::write(file, format!("parameters {epoch} {batch}")).unwrap();
            Ok(())
        })
        .unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn newest(folder: &Path) -> Checkpoint {
        Checkpoint::newest(folder).unwrap().unwrap()
    }

    #[test]
    fn the_newest_is_loaded_and_the_oldest_pruned() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(Checkpoint::newest(folder).unwrap(), None);
        assert_eq!(Checkpoint::newest(&folder.join("missing")).unwrap(), None);
        for (epoch, batch) in [(0, 16), (1, 0), (1, 7), (1, 15), (2, 0), (100_000, 0)] {
            write(folder, epoch, batch, (TWO, None));
            let newest = newest(folder);
            assert_eq!(newest.progress(), &state(epoch, batch).progress);
            let parameters = fs::read_to_string(newest.engine_file()).unwrap();
            assert_eq!(parameters, format!("parameters {epoch} {batch}"));
        }
        assert_eq!(names(folder), ["epoch-00002", "epoch-100000"]);
    }

    #[test]
    fn the_best_is_kept_until_there_is_a_better_one() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for (epoch, best) in [(1, 1), (2, 2), (3, 2), (4, 2)] {
            write(folder, epoch, 0, (NonZero::<usize>::MIN, Some(best)));
        }
        assert_eq!(names(folder), ["epoch-00002", "epoch-00004"]);
        assert_eq!(Checkpoint::of_epoch(folder, 2).unwrap().unwrap().progress().epoch, 2);
        write(folder, 5, 0, (NonZero::<usize>::MIN, Some(5)));
        assert_eq!(names(folder), ["epoch-00005"]);
        assert_eq!(Checkpoint::of_epoch(folder, 2).unwrap(), None);
    }

    #[test]
    fn weights_that_have_diverged_are_not_gone_on_from() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, 1, 0, (TWO, None));
        let of_use = || Checkpoint::newest_of_use(folder).unwrap();
        assert!(matches!(of_use(), (Some(checkpoint), false) if !checkpoint.has_diverged()));

        // Somewhere in the next epoch.
        Checkpoint::note_diverged(folder, &state(1, 3).progress).unwrap();
        assert!(matches!(of_use(), (Some(checkpoint), false) if checkpoint.has_diverged()));
        assert_eq!(names(&folder.join("epoch-00001")), ["checkpoint", "state.json"]);

        // At the very weights that another has.
        write(folder, 2, 0, (TWO, None));
        Checkpoint::note_diverged(folder, &state(2, 0).progress).unwrap();
        assert_eq!(newest(folder).progress().epoch, 2);
        let (checkpoint, passed_over) = of_use();
        let checkpoint = checkpoint.unwrap();
        assert!(passed_over && checkpoint.has_diverged() && checkpoint.progress().epoch == 1);
        checkpoint.set_aside_newer(folder).unwrap();
        assert_eq!(names(folder), ["epoch-00001"]);
        Checkpoint::note_diverged(folder, &state(1, 0).progress).unwrap();
        assert_eq!(of_use(), (None, true));
    }

    #[test]
    fn a_failure_while_writing_leaves_the_last_one() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, 1, 0, (TWO, None));
        let failed = Checkpoint::write(folder, &state(2, 0), (TWO, None), |file| {
            fs::write(file, "half of the param").unwrap();
            Err(Error::input("the disk is full"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "the disk is full");
        assert_eq!(names(folder), ["epoch-00001"]);
        assert_eq!(newest(folder).progress().epoch, 1);
        write(folder, 2, 0, (TWO, None));
        assert_eq!(fs::read_to_string(newest(folder).engine_file()).unwrap(), "parameters 2 0");
    }

    #[test]
    fn what_a_killed_run_left_is_no_checkpoint_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, 1, 0, (TWO, None));
        for name in [".unfinished-epoch-00002", ".removed-epoch-00000"] {
            fs::create_dir(folder.join(name)).unwrap();
            fs::write(folder.join(name).join(ENGINE_FILE), "half").unwrap();
        }
        assert_eq!(newest(folder).progress().epoch, 1);
        write(folder, 3, 0, (TWO, None));
        assert_eq!(names(folder), ["epoch-00001", "epoch-00003"]);
    }

    #[test]
    fn damage_is_passed_over_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        type Damage = (&'static str, fn(&Path));
        let damages: [Damage; 4] = [
            ("state.json: the checkpoint is damaged", |path| fs::write(path.join(STATE_FILE), "{").unwrap()),
            ("state.json: the checkpoint is damaged", |path| fs::remove_file(path.join(STATE_FILE)).unwrap()),
            ("checkpoint: the checkpoint is damaged", |path| {
                fs::write(path.join(ENGINE_FILE), "parameters 2 1").unwrap()
            }),
            ("checkpoint: the checkpoint is damaged", |path| fs::remove_file(path.join(ENGINE_FILE)).unwrap()),
        ];
        for (says, damage) in damages {
            write(folder, 1, 0, (TWO, None));
            write(folder, 2, 0, (TWO, None));
            damage(&folder.join("epoch-00002"));
            let found = newest(folder);
            assert_eq!(found.progress().epoch, 1);
            assert!(matches!(found.damaged(), [one] if one.contains(says)), "{:?}", found.damaged());
            assert!(Checkpoint::of_epoch(folder, 2).unwrap_err().to_string().contains(says));
            found.set_aside_newer(folder).unwrap();
            assert_eq!(names(folder), ["damaged-epoch-00002", "epoch-00001"]);
        }
        fs::remove_file(folder.join("epoch-00001").join(STATE_FILE)).unwrap();
        let error = Checkpoint::newest(folder).unwrap_err();
        assert!(error.to_string().contains("no checkpoint is whole"), "{error}");
        assert!(error.help_text().unwrap().contains("--force"));
    }

    proptest! {
        #[test]
        fn names_are_moments(epoch: u64, batch: u64) {
            let moment = Moment { epoch, batch };
            prop_assert_eq!(Moment::parse(&moment.name()), Some(moment));
        }

        #[test]
        fn a_state_is_read_as_it_was_written(seconds: f64, value: f32, bytes: u64) {
            prop_assume!(seconds.is_finite() && value.is_finite());
            let mut state = state(1, 2);
            state.progress.seconds = seconds;
            state.fingerprint = state.fingerprint.with("learning rate", value);
            state.files.insert(ENGINE_FILE.into(), Sum { bytes, crc32: 7 });
            let text = serde_json::to_vec_pretty(&state).unwrap();
            prop_assert_eq!(serde_json::from_slice::<State>(&text).unwrap(), state);
        }
    }

    #[test]
    fn what_no_run_wrote_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let flaw = |name: &str, state: &State| {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).unwrap();
            write_state(&path.join(STATE_FILE), state).unwrap();
            Checkpoint::open(&path).unwrap().err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(flaw("epoch-00001", &state(1, 0)), "");
        assert!(flaw("epoch-00001", &state(2, 0)).ends_with("it says that it is of epoch 2 and batch 0"));
        let far = Progress { epoch: 1, step: u64::MAX, ..Progress::default() };
        assert!(
            flaw("epoch-00001", &State { progress: far, ..state(1, 0) }).ends_with("counts more than any run does")
        );
        for name in ["../secret", "/etc/passwd", "a/b", ".."] {
            let files = BTreeMap::from([(name.to_owned(), Sum::default())]);
            let flaw = flaw("epoch-00001", &State { files, ..state(1, 0) });
            assert!(flaw.ends_with(&format!("it names the file {name:?}, which is not beside it")), "{flaw}");
        }
    }
}
