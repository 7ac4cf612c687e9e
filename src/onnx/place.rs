//! Putting whole files in place: atomically, or not at all.

use super::read::folder_of;
use crate::{Error, Result};
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::{fs, io};
use tempfile::NamedTempFile;

/// How a file may come to its new place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Reflink, else hard link, else copy: for files that are never written in place, by anyone.
    MayLink,
    /// Reflink, else copy.
    OwnCopy,
}

/// How far the copying of a file has come.
#[derive(Clone, Copy, Debug)]
pub struct Copying<'f> {
    /// The new file.
    pub file: &'f Path,
    /// The bytes that are copied.
    pub done: u64,
    /// The bytes in all.
    pub total: u64,
}

/// Told of copying, a few times a second.
pub type Watch<'w> = &'w mut dyn FnMut(&Copying<'_>);

/// So much is copied at a time.
const CHUNK: u64 = 32 << 20;

fn exists(path: &Path) -> Error {
    Error::input("the file exists already")
        .help("give --force to replace it, or choose another name with -o")
        .in_file(path)
}

/// Checks that an output may be written.
///
/// # Errors
/// Where `path` exists and `force` is false.
pub fn ensure_free(path: &Path, force: bool) -> Result<()> {
    if !force && path.symlink_metadata().is_ok() { Err(exists(path)) } else { Ok(()) }
}

/// Writes a file through a temporary one in the same folder, which replaces `path` when `fill` has succeeded and the
/// bytes are on the disk.
///
/// # Errors
/// Where `path` exists and `force` is false, the folder cannot be written to, or `fill` fails. An existing file is then
/// as it was.
pub fn replace_file(path: &Path, force: bool, fill: impl FnOnce(&mut fs::File) -> Result<()>) -> Result<()> {
    ensure_free(path, force)?;
    let mut temporary = temporary_beside(path)?;
    fill(temporary.as_file_mut())?;
    temporary.as_file().sync_all().map_err(|e| Error::io("write the file", path, &e))?;
    persist(temporary, path, force)
}

/// Puts a copy of `from` at `to`, making the folders on the way. Nothing happens where both are the same place, or a
/// file with the same bytes is there already.
///
/// # Errors
/// Where `from` cannot be read, or `to` exists and `force` is false, or cannot be written.
pub fn place_file(from: &Path, to: &Path, placement: Placement, force: bool, watch: Watch<'_>) -> Result<()> {
    if same_place(from, to) || (placement == Placement::MayLink && same_file(from, to)) {
        return Ok(());
    }
    if is_own(to) && same_bytes(from, to) {
        return Ok(());
    }
    ensure_free(to, force)?;
    fs::create_dir_all(folder_of(to)).map_err(|e| Error::io("make the folder", folder_of(to), &e))?;
    // The name is free for the moment that the link takes; a clash in it ends as an error, not as a lost file.
    let free = temporary_beside(to)?.into_temp_path();
    fs::remove_file(&free).map_err(|e| Error::io("write to the folder", folder_of(to), &e))?;
    let linked = reflink_copy::reflink(from, &free).is_ok()
        || (placement == Placement::MayLink && fs::canonicalize(from).and_then(|f| fs::hard_link(f, &free)).is_ok());
    if !linked {
        copy(from, &free, &mut |done, total| watch(&Copying { file: to, done, total }))
            .map_err(|e| Error::io("copy the file", from, &e).in_file(to))?;
    }
    let persisted = if force { free.persist(to) } else { free.persist_noclobber(to) };
    persisted.map_err(|e| persist_error(&e.error, to))
}

/// Copies bytes and permissions; the bytes are on the disk when this returns.
fn copy(from: &Path, to: &Path, progress: &mut dyn FnMut(u64, u64)) -> io::Result<()> {
    let from = fs::File::open(from)?;
    let metadata = from.metadata()?;
    let mut to = fs::File::create_new(to)?;
    let mut done = 0;
    loop {
        match io::copy(&mut (&from).take(CHUNK), &mut to)? {
            0 => break,
            copied => done += copied,
        }
        progress(done, metadata.len());
    }
    to.set_permissions(metadata.permissions())?;
    to.sync_all()
}

/// Whether there is something at `to` that a copy of `from` would replace.
pub(super) fn is_taken(from: &Path, to: &Path) -> bool {
    !same_file(from, to) && to.symlink_metadata().is_ok() && !same_bytes(from, to)
}

/// Whether `path` is a file, no link of any kind.
fn is_own(path: &Path) -> bool {
    #[cfg(unix)]
    let has_one_name = |metadata: &fs::Metadata| std::os::unix::fs::MetadataExt::nlink(metadata) == 1;
    #[cfg(not(unix))]
    let has_one_name = |_: &fs::Metadata| true;
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && has_one_name(&metadata))
}

fn same_bytes(a: &Path, b: &Path) -> bool {
    let length = |path: &Path| fs::metadata(path).map(|metadata| metadata.len());
    matches!((length(a), length(b)), (Ok(a), Ok(b)) if a == b)
        && matches!((super::map(a), super::map(b)), (Ok(a), Ok(b)) if a == b)
}

fn temporary_beside(path: &Path) -> Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".gnp-").tempfile_in(folder_of(path)).map_err(|e| {
        // By its kind: the whole message names the temporary file.
        Error::io("write to the folder", folder_of(path), &e.kind().into())
            .help("choose an output in a folder that exists and is writable")
    })
}

fn persist(temporary: NamedTempFile, path: &Path, force: bool) -> Result<()> {
    inherit_permissions(temporary.as_file(), path);
    let persisted = if force { temporary.persist(path) } else { temporary.persist_noclobber(path) };
    persisted.map(drop).map_err(|e| persist_error(&e.error, path))
}

fn persist_error(error: &io::Error, path: &Path) -> Error {
    if error.kind() == ErrorKind::AlreadyExists { exists(path) } else { Error::io("write the file", path, error) }
}

/// A temporary file is readable by its owner alone; what replaces a model is to be as readable as the model was, and a
/// new file as readable as new files are. A file system without permissions is no reason to fail.
fn inherit_permissions(file: &fs::File, path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(path).map_or(0o644, |m| m.permissions().mode());
        _ = file.set_permissions(fs::Permissions::from_mode(mode));
    }
    #[cfg(not(unix))]
    let _ = (file, path);
}

/// Whether two paths are one name in one folder, whether there is a file of it or not.
pub fn same_place(a: &Path, b: &Path) -> bool {
    a.file_name() == b.file_name() && same_file(folder_of(a), folder_of(b))
}

/// Whether two paths lead to one file or folder; false where one does not exist.
pub fn same_file(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        matches!((fs::metadata(a), fs::metadata(b)), (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()))
    }
    #[cfg(not(unix))]
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        fs::write(&path, "old").unwrap();
        let failed = replace_file(&path, true, |file| {
            file.write_all(b"half").unwrap();
            Err(Error::input("disk full"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn without_force_an_existing_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&a, "a").unwrap();
        fs::write(&b, "b").unwrap();
        assert!(replace_file(&a, false, |_| Ok(())).is_err());
        assert!(place_file(&a, &b, Placement::MayLink, false, &mut |_| {}).is_err());
        assert_eq!(fs::read(&b).unwrap(), b"b");
        place_file(&a, &b, Placement::MayLink, true, &mut |_| {}).unwrap();
        place_file(&a, &a, Placement::MayLink, false, &mut |_| {}).unwrap();
        assert_eq!(fs::read(&b).unwrap(), b"a");
    }

    #[test]
    fn an_own_copy_is_not_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("sub/b"));
        fs::write(&a, "a").unwrap();
        place_file(&a, &b, Placement::OwnCopy, false, &mut |_| {}).unwrap();
        fs::write(&b, "changed").unwrap();
        assert_eq!(fs::read(&a).unwrap(), b"a");
    }

    #[test]
    #[cfg(unix)]
    fn a_link_of_before_becomes_a_copy_and_an_equal_copy_stays() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&a, "weights").unwrap();
        fs::set_permissions(&a, fs::Permissions::from_mode(0o444)).unwrap();
        fs::hard_link(&a, &b).unwrap();
        let place = || place_file(&a, &b, Placement::OwnCopy, true, &mut |_| {}).unwrap();
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        place();
        let copy = inode(&b);
        assert_ne!(copy, inode(&a));
        assert_eq!(fs::metadata(&a).unwrap().nlink(), 1);
        assert_eq!(fs::metadata(&b).unwrap().permissions().mode() & 0o777, 0o444);
        place();
        assert_eq!(inode(&b), copy);
    }

    #[test]
    fn copying_is_told_of_in_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        let bytes: Vec<u8> = (0..CHUNK + 5).map(|i| (i % 251) as u8).collect();
        fs::write(&a, &bytes).unwrap();
        let mut told = Vec::new();
        copy(&a, &b, &mut |done, total| told.push((done, total))).unwrap();
        assert_eq!(told, [(CHUNK, CHUNK + 5), (CHUNK + 5, CHUNK + 5)]);
        assert!(fs::read(&b).unwrap() == bytes);
    }
}
