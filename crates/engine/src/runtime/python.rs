//! Where the `python3` in the path has its packages. They are located, never imported.

use super::program;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The absolute folders that packages may lie in, in Python's order. Isolated, it does not look where the user's own
/// packages are, so that place is added. None where there is no Python. It is asked once a process.
pub(super) fn folders() -> &'static [PathBuf] {
    const LIST: &str = "import site, sys; print(*sys.path, site.getusersitepackages(), sep='\\n')";
    static FOLDERS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    FOLDERS.get_or_init(|| {
        let output = program::python(["-c", LIST]).ok().filter(|output| output.status.success());
        let said = output.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
        said.lines().map(PathBuf::from).filter(|folder| folder.is_absolute()).collect()
    })
}

/// The folders that NVIDIA's packages keep libraries in: `nvidia/cublas/lib` and others each, all in `nvidia/cu13/lib`
/// from CUDA 13 on.
pub(super) fn nvidia_folders() -> impl Iterator<Item = PathBuf> {
    let packages = folders().iter().map(|folder| folder.join("nvidia"));
    packages.flat_map(|nvidia| subfolders(&nvidia)).map(|package| package.join("lib")).filter(|lib| lib.is_dir())
}

/// What lies in `folder`, in the order of the names.
fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_looked_for_in_absolute_folders() {
        assert!(folders().iter().all(|folder| folder.is_absolute()));
    }
}
