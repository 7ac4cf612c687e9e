//! Writing several files as one.

use gnp_base::files::{self, Staging};
use gnp_base::{Error, Result};
use std::fs;
use std::path::Path;

/// Has `fill` write into the folder `output`. A folder that is new appears with everything in it or not at all.
///
/// # Errors
/// Those of `fill`, in the words of `output`, and where the folder cannot be made.
pub(super) fn fill_folder<T>(output: &Path, fill: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    if output.exists() {
        return fill(output);
    }
    let staging = Staging::beside(output)?;
    let new = staging.path();
    fs::create_dir(&new).map_err(|e| Error::io("make the folder", output, &e))?;
    let filled = fill(&new).map_err(|error| error.in_place_of(&new, output))?;
    fs::rename(&new, output).map_err(|e| Error::io("make the folder", output, &e))?;
    Ok(filled)
}

/// Refuses an output that is no folder, or the folder `input`.
///
/// # Errors
/// Where it is.
pub(super) fn check_folder(output: &Path, input: Option<&Path>) -> Result<()> {
    let refused = |what: &str| Err(Error::input(what).help("choose another name with -o").in_file(output));
    if output.is_file() {
        return refused("is a file; artifacts are written into a folder");
    }
    if input.is_some_and(|input| files::same_file(input, output)) {
        return refused("the folder to write is the one that is read");
    }
    Ok(())
}
