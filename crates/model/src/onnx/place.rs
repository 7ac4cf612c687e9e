//! Putting whole files in place: atomically, or not at all.

use gnp_base::files::{self, Staging, ensure_free, folder_of, same_file, same_place};
use gnp_base::{Error, Result};
use std::io::Read as _;
use std::path::Path;
use std::{fs, io};

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

/// Puts a copy of `from` at `to`, making the folders on the way. Nothing happens where both are the same place, or a
/// file with the same bytes is there already.
///
/// # Errors
/// Where `from` cannot be read, [`ensure_free`] refuses `to`, or it cannot be written.
pub fn place_file(from: &Path, to: &Path, placement: Placement, force: bool, watch: Watch<'_>) -> Result<()> {
    if same_place(from, to) || (placement == Placement::MayLink && same_file(from, to)) {
        return Ok(());
    }
    if is_own(to) && same_bytes(from, to) {
        return Ok(());
    }
    ensure_free(to, force)?;
    fs::create_dir_all(folder_of(to)).map_err(|e| Error::io("make the folder", folder_of(to), &e))?;
    let cannot = |e: io::Error| Error::io("copy the file", from, &e).in_file(to);
    let source = files::open(from).map_err(cannot)?;
    let permissions = source.metadata().map_err(cannot)?.permissions();
    let staging = Staging::beside(to)?;
    let new = staging.path();
    if reflink_copy::reflink(from, &new).is_ok() {
        fs::set_permissions(&new, of_data(permissions)).map_err(cannot)?;
    } else {
        // A link has the permissions of the file.
        let may_link = placement == Placement::MayLink && !can_be_run(&permissions);
        if !(may_link && fs::canonicalize(from).and_then(|f| fs::hard_link(f, &new)).is_ok()) {
            copy(&source, &new, &mut |done, total| watch(&Copying { file: to, done, total })).map_err(cannot)?;
        }
    }
    files::persist(&staging, to, force)
}

/// Copies bytes and permissions, but that to run it; the bytes are on the disk when this returns.
fn copy(from: &fs::File, to: &Path, progress: &mut dyn FnMut(u64, u64)) -> io::Result<()> {
    let metadata = from.metadata()?;
    let mut to = fs::File::create_new(to)?;
    let mut done = 0;
    loop {
        match io::copy(&mut from.take(CHUNK), &mut to)? {
            0 => break,
            copied => done += copied,
        }
        progress(done, metadata.len());
    }
    to.set_permissions(of_data(metadata.permissions()))?;
    to.sync_all()
}

/// Permissions without the one to run a file: data are no program.
fn of_data(permissions: fs::Permissions) -> fs::Permissions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::Permissions::from_mode(permissions.mode() & 0o666)
    }
    #[cfg(not(unix))]
    permissions
}

fn can_be_run(permissions: &fs::Permissions) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        permissions.mode() & 0o111 != 0
    }
    #[cfg(not(unix))]
    {
        let _ = permissions;
        false
    }
}

/// Whether there is something at `to` that a copy of `from` would replace, or a link.
pub fn is_taken(from: &Path, to: &Path) -> bool {
    let differs = || !same_file(from, to) && !same_bytes(from, to);
    to.symlink_metadata().is_ok_and(|metadata| !metadata.is_file() || differs())
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
        && matches!((files::map(a), files::map(b)), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_force_an_existing_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&a, "a").unwrap();
        fs::write(&b, "b").unwrap();
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
        copy(&fs::File::open(&a).unwrap(), &b, &mut |done, total| told.push((done, total))).unwrap();
        assert_eq!(told, [(CHUNK, CHUNK + 5), (CHUNK + 5, CHUNK + 5)]);
        assert!(fs::read(&b).unwrap() == bytes);
    }
}
