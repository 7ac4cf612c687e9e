//! Checkpoints that survive being killed at any moment.
//!
//! A checkpoint is a folder `step-00000150` with the engine's own file and `state.json`. It is written under another
//! name, flushed to the disk and renamed, so that a folder of that name is always complete.

use super::metrics::Mean;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// How many checkpoints are kept: the newest, and the one before.
const KEPT: usize = 2;
const STATE_FILE: &str = "state.json";
const ENGINE_FILE: &str = "checkpoint";
const UNFINISHED: &str = ".unfinished-";

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The epochs that are over.
    pub epoch: u64,
    /// The batches of the current epoch that are done.
    pub batch: u64,
    /// The steps taken in all.
    pub step: u64,
    /// The training loss of the current epoch so far.
    pub loss: Mean,
    /// The duration of the current epoch's steps so far, in seconds.
    pub seconds: f64,
}

/// The choices that a run's course depends on, by name. A run can go on only with the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint(BTreeMap<String, Value>);

impl Fingerprint {
    /// Adds a choice.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Checks that this run may go on from one that was begun with `begun`.
    ///
    /// # Errors
    /// Where they differ: the message says in what.
    ///
    /// ```
    /// use gnp::train::Fingerprint;
    /// let begun = Fingerprint::default().with("seed", 0).with("batch size", 64);
    /// let now = Fingerprint::default().with("seed", 1).with("batch size", 64);
    /// let error = now.check_continues(&begun).unwrap_err();
    /// assert_eq!(error.to_string(), "the run was begun otherwise: seed was 0, is 1");
    /// ```
    pub fn check_continues(&self, begun: &Self) -> Result<()> {
        let names: BTreeSet<_> = self.0.keys().chain(begun.0.keys()).collect();
        let differences: Vec<String> = names
            .into_iter()
            .filter(|name| self.0.get(*name) != begun.0.get(*name))
            .map(|name| format!("{name} was {}, is {}", show(begun.0.get(name)), show(self.0.get(name))))
            .collect();
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::input(format!("the run was begun otherwise: {}", differences.join("; ")))
            .help("resume with the same options, or begin another run in another folder"))
    }
}

fn show(value: Option<&Value>) -> String {
    value.map_or("not given".to_owned(), Value::to_string)
}

/// What `state.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub progress: Progress,
    /// The length of `metrics.jsonl` in bytes.
    pub metrics_length: u64,
    pub fingerprint: Fingerprint,
}

/// A checkpoint on the disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    folder: PathBuf,
    pub(super) state: State,
}

impl Checkpoint {
    /// The file that [`crate::engine::Engine::save`] wrote.
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

    /// The newest checkpoint in `folder`; none where there is none yet.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub(super) fn newest(folder: &Path) -> Result<Option<Self>> {
        let Some((_, newest)) = complete(folder)?.pop() else { return Ok(None) };
        let file = newest.join(STATE_FILE);
        let text = fs::read(&file).map_err(|error| Error::io("read the checkpoint", &file, &error))?;
        let state = serde_json::from_slice(&text).map_err(|error| {
            Error::input(format!("the checkpoint is damaged: {error}"))
                .in_file(&file)
                .help("remove its folder to go on from the checkpoint before it")
        })?;
        Ok(Some(Self { folder: newest, state }))
    }

    /// Writes a checkpoint into `folder`, the engine's file through `save`, and removes those that are no longer
    /// needed. Where there already is one of this step nothing is written: a run's state after a step is a function of
    /// its fingerprint.
    ///
    /// # Errors
    /// Where a file cannot be written. What was there before still is.
    pub(super) fn write(folder: &Path, state: &State, save: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let name = format!("step-{:08}", state.progress.step);
        let target = folder.join(&name);
        if !target.exists() {
            let unfinished = folder.join(format!("{UNFINISHED}{name}"));
            let cannot = |error: &io::Error| Error::io("write the checkpoint", &target, error);
            remove_if_there(&unfinished).and_then(|()| fs::create_dir_all(&unfinished)).map_err(|e| cannot(&e))?;
            save(&unfinished.join(ENGINE_FILE))?;
            finish(&unfinished, &target, state).map_err(|e| cannot(&e))?;
        }
        prune(folder)
    }
}

fn finish(unfinished: &Path, target: &Path, state: &State) -> io::Result<()> {
    let mut file = File::create(unfinished.join(STATE_FILE))?;
    serde_json::to_writer_pretty(&mut file, state)?;
    file.write_all(b"\n")?;
    // The engine's file may have others beside it, for what a single one cannot hold.
    for entry in fs::read_dir(unfinished)? {
        File::open(entry?.path())?.sync_all()?;
    }
    sync_folder(unfinished)?;
    fs::rename(unfinished, target)?;
    target.parent().map_or(Ok(()), sync_folder)
}

/// Makes the names in a folder durable. Only Unix lets a folder be opened for that.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// The complete checkpoints in `folder`, oldest first, with their steps.
fn complete(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let cannot = |error: io::Error| Error::io("list the checkpoints", folder, &error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(cannot(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(cannot)?.path();
        let step = path.file_name().and_then(|name| name.to_str()?.strip_prefix("step-")?.parse().ok());
        found.extend(step.map(|step: u64| (step, path)));
    }
    found.sort_unstable();
    Ok(found)
}

fn prune(folder: &Path) -> Result<()> {
    let mut old = complete(folder)?;
    old.truncate(old.len().saturating_sub(KEPT));
    for (_, path) in old {
        fs::remove_dir_all(&path).map_err(|error| Error::io("remove the old checkpoint", &path, &error))?;
    }
    Ok(())
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

    fn state(step: u64) -> State {
        State {
            progress: Progress { step, ..Progress::default() },
            metrics_length: 10 * step,
            fingerprint: Fingerprint::default().with("seed", 0),
        }
    }

    fn write(folder: &Path, step: u64) {
        Checkpoint::write(folder, &state(step), |file| {
            fs::write(file, format!("parameters {step}")).unwrap();
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn the_newest_is_loaded_and_the_oldest_pruned() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Checkpoint::newest(folder.path()).unwrap(), None);
        assert_eq!(Checkpoint::newest(&folder.path().join("missing")).unwrap(), None);
        for step in [9, 10, 100_000_000] {
            write(folder.path(), step);
            let newest = Checkpoint::newest(folder.path()).unwrap().unwrap();
            assert_eq!(newest.state, state(step));
            assert_eq!(fs::read_to_string(newest.engine_file()).unwrap(), format!("parameters {step}"));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), KEPT);
    }

    #[test]
    fn a_failure_while_writing_leaves_the_last_one() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1);
        let failed = Checkpoint::write(folder.path(), &state(2), |file| {
            fs::write(file, "half of the param").unwrap();
            Err(Error::input("killed"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "killed");
        assert_eq!(Checkpoint::newest(folder.path()).unwrap().unwrap().state, state(1));
        write(folder.path(), 2);
        let newest = Checkpoint::newest(folder.path()).unwrap().unwrap();
        assert_eq!(fs::read_to_string(newest.engine_file()).unwrap(), "parameters 2");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn damage_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1);
        fs::write(folder.path().join("step-00000001").join(STATE_FILE), "{").unwrap();
        let error = Checkpoint::newest(folder.path()).unwrap_err();
        assert!(error.to_string().contains("state.json: the checkpoint is damaged"), "{error}");
    }
}
