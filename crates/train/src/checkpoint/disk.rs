//! Folders on the disk of which no part ever looks like all: made, listed and removed under other names.

use super::moment::Moment;
use gnp_base::{Error, Result};
use std::fs;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};

pub(super) const UNFINISHED: &str = ".unfinished-";
const REMOVED: &str = ".removed-";
pub(super) const DAMAGED: &str = "damaged-";

/// A name beside `path`'s.
pub(super) fn beside(path: &Path, prefix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{prefix}{name}"))
}

/// What is in `folder`; nothing where it is missing.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot = |error: io::Error| Error::io("list the checkpoints", folder, &error);
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(cannot(error)),
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path()).map_err(cannot)).collect(),
    }
}

/// The complete checkpoints in `folder`, oldest first.
pub(super) fn complete(folder: &Path) -> Result<Vec<(Moment, PathBuf)>> {
    let moment = |path: PathBuf| Some((Moment::parse(path.file_name()?.to_str()?)?, path));
    let mut found: Vec<_> = entries(folder)?.into_iter().filter_map(moment).collect();
    found.sort_unstable();
    Ok(found)
}

/// Removes what a killed run left unfinished, and all but the `keep` newest and that of the end of epoch `best`.
pub(super) fn prune(folder: &Path, keep: NonZero<usize>, best: Option<u64>) -> Result<()> {
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
pub(crate) fn remove_whole(folder: &Path) -> io::Result<()> {
    let removed = beside(folder, REMOVED);
    remove_if_there(&removed)?;
    match fs::rename(folder, &removed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => remove_if_there(&removed),
    }
}

pub(super) fn remove_if_there(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
