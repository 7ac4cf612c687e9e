//! The folder that a run leaves behind: `checkpoints/`, `metrics.jsonl`, and its result, `model.onnx` or
//! `state.safetensors`.

use super::checkpoint::{Checkpoint, Fingerprint, Progress, State};
use super::metrics::Event;
use crate::engine::Engine;
use crate::{Error, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const CHECKPOINTS: &str = "checkpoints";
const METRICS: &str = "metrics.jsonl";
const MODEL: &str = "model.onnx";
const STATE: &str = "state.safetensors";

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
    /// Begins a run in `root`, which is made where it is missing. What an earlier run left there is removed if
    /// `overwrite` says so; other files are left alone.
    ///
    /// # Errors
    /// Where the folder is not empty and `overwrite` is false, or it cannot be written.
    pub fn create(root: &Path, fingerprint: Fingerprint, overwrite: bool) -> Result<Self> {
        Self::check_free(root, overwrite)?;
        fs::create_dir_all(root).map_err(|error| Error::io("make the folder", root, &error))?;
        for (path, remove) in [
            (root.join(CHECKPOINTS), fs::remove_dir_all as fn(PathBuf) -> io::Result<()>),
            (root.join(METRICS), fs::remove_file),
            (root.join(MODEL), fs::remove_file),
            (root.join(STATE), fs::remove_file),
        ] {
            match remove(path.clone()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove the earlier run", path, &error));
                }
                _ => {}
            }
        }
        Self::open(root, fingerprint, 0)
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

    /// The newest checkpoint of the run in `root`; none where the run was stopped before its first.
    ///
    /// # Errors
    /// Where no run was begun there or the checkpoint cannot be read.
    pub fn newest_checkpoint(root: &Path) -> Result<Option<Checkpoint>> {
        if !root.join(METRICS).is_file() {
            return Err(Error::input("there is no run to resume")
                .in_file(root)
                .help("leave --resume out to begin one, or name the run's folder with --out"));
        }
        Checkpoint::newest(&root.join(CHECKPOINTS))
    }

    /// Goes on with the run in `root` after `checkpoint`: what `metrics.jsonl` says of later steps is cut off.
    ///
    /// # Errors
    /// Where the fingerprint is not that of the run, or a file cannot be written.
    pub fn resume(root: &Path, fingerprint: Fingerprint, checkpoint: &Checkpoint) -> Result<Self> {
        fingerprint.check_continues(checkpoint.fingerprint()).map_err(|error| error.in_file(root))?;
        Self::open(root, fingerprint, checkpoint.state.metrics_length)
    }

    fn open(root: &Path, fingerprint: Fingerprint, length: u64) -> Result<Self> {
        let path = root.join(METRICS);
        let cannot = |error: io::Error| Error::io("write the metrics", &path, &error);
        let metrics = OpenOptions::new().append(true).create(true).open(&path).map_err(cannot)?;
        let metrics_length = length.min(metrics.metadata().map_err(cannot)?.len());
        metrics.set_len(metrics_length).map_err(cannot)?;
        Ok(Self { root: root.to_owned(), fingerprint, metrics, metrics_length, line: Vec::new() })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Appends a line to `metrics.jsonl`, in one write.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn log(&mut self, event: &Event) -> Result<()> {
        self.line.clear();
        let written = serde_json::to_writer(&mut self.line, event).map_err(io::Error::from).and_then(|()| {
            self.line.push(b'\n');
            self.metrics.write_all(&self.line)
        });
        written.map_err(|error| Error::io("write the metrics", self.root.join(METRICS), &error))?;
        self.metrics_length += self.line.len() as u64;
        Ok(())
    }

    /// Writes a checkpoint; the metrics so far are on the disk before it.
    ///
    /// # Errors
    /// Where it cannot be written; the last one is still there.
    pub fn save(&mut self, engine: &mut dyn Engine, progress: &Progress) -> Result<()> {
        self.metrics.sync_data().map_err(|error| Error::io("write the metrics", self.root.join(METRICS), &error))?;
        let state = State {
            progress: progress.clone(),
            metrics_length: self.metrics_length,
            fingerprint: self.fingerprint.clone(),
        };
        Checkpoint::write(&self.root.join(CHECKPOINTS), &state, |file| engine.save(file))
    }

    /// Has `write` write the trained model for inference, whole or not at all, and returns its path.
    ///
    /// # Errors
    /// Where `write` fails, or the file cannot be written.
    pub fn write_model(&self, write: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        self.write_result(MODEL, write)
    }

    /// Has `write` write the trained state, whole or not at all, and returns its path.
    ///
    /// # Errors
    /// Where `write` fails, or the file cannot be written.
    pub fn write_state(&self, write: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        self.write_result(STATE, write)
    }

    fn write_result(&self, name: &str, write: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let target = self.root.join(name);
        let unfinished = self.root.join(format!(".unfinished-{name}"));
        write(&unfinished)?;
        fs::rename(&unfinished, &target).map_err(|error| Error::io("write the result", &target, &error))?;
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::StepReport;

    fn step(step: u64) -> Event {
        Event::Step(StepReport { epoch: 1, step, ..StepReport::default() })
    }

    fn steps_logged(root: &Path) -> Vec<u64> {
        let lines = fs::read_to_string(root.join(METRICS)).unwrap();
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
        };
        Checkpoint::write(&root.join(CHECKPOINTS), &state, |file| {
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
        fs::write(root.join("notes.txt"), "mine").unwrap();
        let error = RunFolder::create(root, fingerprint(), false).unwrap_err();
        assert!(error.to_string().contains("not empty"), "{error}");
        RunFolder::create(root, fingerprint(), true).unwrap();
        assert!(steps_logged(root).is_empty());
        assert_eq!(fs::read_to_string(root.join("notes.txt")).unwrap(), "mine");
    }

    #[test]
    fn nothing_can_be_resumed_where_there_is_no_run() {
        let folder = tempfile::tempdir().unwrap();
        let error = RunFolder::newest_checkpoint(&folder.path().join("missing")).unwrap_err();
        assert!(error.to_string().ends_with("there is no run to resume"), "{error}");
        assert!(RunFolder::newest_checkpoint(folder.path()).is_err());
        RunFolder::create(folder.path(), fingerprint(), false).unwrap();
        assert_eq!(RunFolder::newest_checkpoint(folder.path()).unwrap(), None);
    }
}
