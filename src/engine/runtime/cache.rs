//! The user's cache folder: where installed runtimes lie, and whether they are whole.

use super::install::Package;
use crate::{Error, Result};
use etcetera::BaseStrategy;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The environment variable that names another cache folder.
const CACHE_VARIABLE: &str = "GNP_CACHE_DIR";
const MANIFEST: &str = "manifest.json";

/// What an installation consists of.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(super) struct Manifest {
    /// What identifies what it was installed from: another release of gnp may install from something else.
    pub(super) sources: String,
    /// The size of each file, in bytes.
    pub(super) files: BTreeMap<String, u64>,
}

impl Manifest {
    /// The manifest of what lies in `folder`.
    pub(super) fn of(folder: &Path, sources: String) -> std::io::Result<Self> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            files.insert(entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.len());
        }
        Ok(Self { sources, files })
    }

    pub(super) fn write(&self, folder: &Path) -> std::io::Result<()> {
        fs::write(folder.join(MANIFEST), serde_json::to_vec_pretty(self)?)
    }

    fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(folder.join(MANIFEST)).ok()?).ok()
    }

    /// Whether the files in `folder` have the sizes they were installed with. They were hashed then.
    fn matches(&self, folder: &Path) -> bool {
        self.files.iter().all(|(name, &size)| fs::metadata(folder.join(name)).is_ok_and(|file| file.len() == size))
    }
}

/// The folder that all of gnp's cached files lie in.
pub(super) fn folder() -> Result<PathBuf> {
    if let Some(folder) = env::var_os(CACHE_VARIABLE).filter(|folder| !folder.is_empty()) {
        return Ok(PathBuf::from(folder));
    }
    let user = etcetera::choose_base_strategy().map_err(|e| {
        Error::input(format!("cannot tell the user's cache folder: {e}"))
            .help(format!("set {CACHE_VARIABLE} to a folder"))
    })?;
    Ok(user.cache_dir().join("gnp"))
}

/// The folder of an installed runtime, which need not exist.
pub(super) fn package_folder(package: Package) -> Result<PathBuf> {
    Ok(folder()?.join(package.requirement().replace("==", "-")))
}

/// The shared library of a runtime that is installed in `folder`.
pub(super) fn library_in(folder: &Path) -> PathBuf {
    folder.join(libloading::library_filename("onnxruntime"))
}

/// The library of an installed runtime, where there is one, whole or not.
pub(super) fn library(package: Package) -> Option<PathBuf> {
    package_folder(package).ok().filter(|folder| folder.is_dir()).map(|folder| library_in(&folder))
}

/// Whether an installed runtime is whole and of this release.
pub(super) fn check(package: Package) -> Result<()> {
    let folder = package_folder(package)?;
    let whole = Manifest::read(&folder)
        .is_some_and(|manifest| manifest.sources == package.sources() && manifest.matches(&folder));
    if whole {
        return Ok(());
    }
    Err(Error::input("this installation is incomplete or of another release of gnp")
        .in_file(folder)
        .help(format!("install it again with `{}`", package.command())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortened_or_missing_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "four").unwrap();
        let manifest = Manifest::of(folder.path(), "digest".into()).unwrap();
        manifest.write(folder.path()).unwrap();
        assert_eq!(Manifest::read(folder.path()), Some(manifest));

        let manifest = Manifest::read(folder.path()).unwrap();
        assert!(manifest.matches(folder.path()));
        fs::write(folder.path().join("a"), "two").unwrap();
        assert!(!manifest.matches(folder.path()));
        fs::remove_file(folder.path().join("a")).unwrap();
        assert!(!manifest.matches(folder.path()));
    }
}
