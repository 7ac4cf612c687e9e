//! Checkpoints that survive being killed at any moment.
//!
//! A checkpoint is a folder with the engine's own file and `state.json`: `epoch-00003` after three epochs,
//! `epoch-00003-batch-000007` where the run was stopped seven batches later. It is written under another name, every
//! file in it flushed to the disk, then its own list of names; only then is it renamed, and the list of checkpoints
//! flushed. So a folder of that name is always complete, after a loss of power too, and what an older one is removed
//! for is durable before. One is removed by renaming it first. `state.json` has the length and checksum of the engine's
//! files: what is damaged later is found out, and passed over.

mod disk;
mod moment;
mod state;

pub(crate) use disk::remove_whole;
pub(crate) use state::{Diverged, State};

use crate::{Fingerprint, Progress};
use disk::{DAMAGED, UNFINISHED, beside, complete, prune, remove_if_there};
use gnp_base::{Error, Result, files};
use moment::Moment;
use state::Sum;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};

const STATE_FILE: &str = "state.json";
const ENGINE_FILE: &str = "checkpoint";

/// A checkpoint on the disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    folder: PathBuf,
    pub(crate) state: State,
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
    pub(crate) fn newest(folder: &Path) -> Result<Option<Self>> {
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
        Err(Error::format(format!("no checkpoint is whole: {}", damaged.join("; ")))
            .in_file(folder)
            .help("begin the run anew with --force in place of --resume"))
    }

    /// The newest checkpoint that can be gone on from: whole, and with weights that have not diverged. None where there
    /// is none; the second says whether one was passed over because its weights have.
    ///
    /// # Errors
    /// As [`Checkpoint::newest`].
    pub(crate) fn newest_of_use(folder: &Path) -> Result<(Option<Self>, bool)> {
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
    pub(crate) fn note_diverged(folder: &Path, progress: &Progress) -> Result<()> {
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
    pub(crate) fn of_epoch(folder: &Path, epoch: u64) -> Result<Option<Self>> {
        let path = folder.join(Moment { epoch, batch: 0 }.name());
        if path.is_dir() { Self::open(&path)?.map(Some) } else { Ok(None) }
    }

    /// Reads a checkpoint. The inner error says in what it is damaged.
    fn open(folder: &Path) -> Result<Result<Self>> {
        let flaw =
            |file: &Path, what: String| Error::format(format!("the checkpoint is damaged: {what}")).in_file(file);
        let file = folder.join(STATE_FILE);
        let text = match state::read(&file) {
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
    pub(crate) fn set_aside_newer(&self, folder: &Path) -> Result<()> {
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
    pub(crate) fn write(
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
    let state: State = serde_json::from_slice(&state::read(&file)?)?;
    let unfinished = beside(&file, UNFINISHED);
    state::write(&unfinished, &State { diverged: Some(how), ..state })?;
    files::put_in_place(&unfinished, &file)
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
    state::write(&unfinished.join(STATE_FILE), &State { files, ..state.clone() })?;
    files::sync_folder(unfinished)?;
    files::put_in_place(unfinished, target)
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
            state::write(&path.join(STATE_FILE), state).unwrap();
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
