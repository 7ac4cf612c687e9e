//! What survives a loss of power.

use super::folder_of;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Makes the names in a folder durable. Only Unix lets a folder be opened for that.
///
/// # Errors
/// Where the folder cannot be opened, or flushed.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Has `made`, a file or folder of the same file system whose contents are on the disk, be what is at `target`: at
/// once, and durably.
///
/// # Errors
/// Where it cannot be renamed, or the folder not flushed.
pub fn put_in_place(made: &Path, target: &Path) -> io::Result<()> {
    fs::rename(made, target)?;
    sync_folder(folder_of(target))
}
