//! Where a file or a folder is made before it appears under its name.

use super::folder_of;
use crate::{Error, Result};
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What the names of such folders begin with.
const PREFIX: &str = ".gnp-";

/// Names longer than this are not part of another.
const LONGEST: usize = 200;

/// A folder beside an output, in its file system, that is gone with all that is still in it when this is dropped.
///
/// Its name follows from the output's, and it is locked. So what a killed process has left there goes when the next one
/// writes the same output, and two that write it at once take turns.
#[derive(Debug)]
pub struct Staging {
    folder: PathBuf,
    _lock: Option<File>,
}

impl Staging {
    /// One for an output at `path`.
    ///
    /// # Errors
    /// Where the folder that `path` is in cannot be written to.
    pub fn beside(path: &Path) -> Result<Self> {
        Self::make(path).map_err(|e| {
            // By its kind: the whole message names the temporary folder.
            Error::io("write to the folder", folder_of(path), &e.kind().into())
                .help("choose an output in a folder that exists and is writable")
        })
    }

    fn make(path: &Path) -> io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = if name.len() > LONGEST { format!("{:08x}", crc32fast::hash(name.as_bytes())) } else { name.into() };
        let folder = folder_of(path).join(format!("{PREFIX}{name}"));
        loop {
            match private().create(&folder) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            // Whoever had it may be done meanwhile.
            let kind = match folder.symlink_metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                metadata => metadata?.file_type(),
            };
            // Where there are no locks, or something else has the name, it is one that nobody else has.
            if !kind.is_dir() {
                return Self::of_no_other(path);
            }
            let lock = match File::open(&folder) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(_) => return Self::of_no_other(path),
                Ok(lock) => lock,
            };
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => lock.lock()?,
                Err(TryLockError::Error(_)) => return Self::of_no_other(path),
            }
            if is_still(&lock, &folder) {
                let staging = Self { folder, _lock: Some(lock) };
                staging.clear()?;
                return Ok(staging);
            }
        }
    }

    fn of_no_other(path: &Path) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(folder_of(path))?.keep();
        Ok(Self { folder, _lock: None })
    }

    /// Removes what another has left.
    fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.symlink_metadata()?.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
        Ok(())
    }

    /// A path in it that nothing is at.
    pub fn path(&self) -> PathBuf {
        self.folder.join(".gnp-new")
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed goes with the next output of this name.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A folder for the user alone, which becomes what it is to be when it is complete.
#[cfg(unix)]
fn private() -> DirBuilder {
    let mut builder = DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

#[cfg(not(unix))]
fn private() -> DirBuilder {
    DirBuilder::new()
}

/// Whether the folder that was opened still has its name.
#[cfg(unix)]
fn is_still(opened: &File, folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let of = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    matches!((opened.metadata().map(of), folder.symlink_metadata().map(of)), (Ok(a), Ok(b)) if a == b)
}

#[cfg(not(unix))]
fn is_still(_: &File, folder: &Path) -> bool {
    folder.is_dir()
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_was_left_goes_with_the_next_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("step.onnx");
        let left = folder.path().join(".gnp-step.onnx");
        fs::create_dir_all(left.join("other/sub")).unwrap();
        fs::write(left.join("other/sub/file"), "half").unwrap();
        let staging = Staging::beside(&output).unwrap();
        assert!(!staging.path().exists());
        assert_eq!(staging.path().parent().unwrap(), left);
        fs::write(staging.path(), "more").unwrap();
        drop(staging);
        assert_eq!(names(folder.path()), [""; 0]);
        // A file of this name is no folder of ours.
        fs::write(&left, "mine").unwrap();
        drop(Staging::beside(&output).unwrap());
        assert_eq!(names(folder.path()), [".gnp-step.onnx"]);
        drop(Staging::beside(&folder.path().join("x".repeat(255))).unwrap());
    }

    #[test]
    fn two_take_turns() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("step.onnx");
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let staging = Staging::beside(&output).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        fs::write(staging.path(), "x").unwrap();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(names(folder.path()), [""; 0]);
    }
}
