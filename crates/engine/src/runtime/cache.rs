//! The user's cache folder: where installed runtimes lie, and whether they are whole.

use super::Package;
use super::packages::Wheel;
use etcetera::BaseStrategy;
use gnp_base::{Error, Result, files};
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
    #[cfg(feature = "install")]
    pub(super) fn of(folder: &Path, sources: String) -> std::io::Result<Self> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            files.insert(entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.len());
        }
        Ok(Self { sources, files })
    }

    #[cfg(feature = "install")]
    pub(super) fn write(&self, folder: &Path) -> std::io::Result<()> {
        fs::write(folder.join(MANIFEST), serde_json::to_vec_pretty(self)?)
    }

    fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&files::read(folder.join(MANIFEST)).ok()?).ok()
    }

    /// Whether the files in `folder` have the sizes they were installed with. They were hashed then.
    fn matches(&self, folder: &Path) -> bool {
        self.files.iter().all(|(name, &size)| fs::metadata(folder.join(name)).is_ok_and(|file| file.len() == size))
    }
}

/// The folder that all of gnp's cached files lie in. It is an absolute path, or what lies in the current folder could
/// be taken for an installed runtime.
pub(super) fn folder() -> Result<PathBuf> {
    let help = || format!("set {CACHE_VARIABLE} to the absolute path of a folder");
    let folder = match env::var_os(CACHE_VARIABLE).filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => {
            let user = etcetera::choose_base_strategy()
                .map_err(|e| Error::input(format!("cannot tell the user's cache folder: {e}")).help(help()))?;
            user.cache_dir().join("gnp")
        }
    };
    if folder.is_absolute() {
        return Ok(folder);
    }
    Err(Error::input("the cache folder is not an absolute path").in_file(folder).help(help()))
}

/// Makes a folder, and those on the way to it, for the user alone to write.
#[cfg(feature = "install")]
pub(super) fn create(folder: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o755);
    builder.create(folder).map_err(|e| Error::io("create the cache folder", folder, &e))
}

/// Demands that nobody but the user and the system's administrator can say what lies in `folder`, which exists: it is
/// code that is loaded.
pub(super) fn check_trusted(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        const WRITABLE_BY_ALL: u32 = 0o002;
        const WRITABLE_BY_OTHERS: u32 = 0o022;
        const STICKY: u32 = 0o1000;
        let cannot = |e: &std::io::Error| Error::io("look at the cache folder", folder, e);
        let whole = folder.canonicalize().map_err(|e| cannot(&e))?;
        for (depth, place) in whole.ancestors().enumerate() {
            let metadata = fs::metadata(place).map_err(|e| cannot(&e))?;
            let own = [0, nix::unistd::geteuid().as_raw()].contains(&metadata.uid());
            // What lies in a folder on the way can be replaced by another, unless the folder is as /tmp is.
            let (flaw, help) = match depth {
                0 if !own => ("belongs to another user", "remove it, or name one of your own"),
                0 if metadata.mode() & WRITABLE_BY_OTHERS != 0 => {
                    ("can be written by others", "take that from it with `chmod go-w`, or name another")
                }
                1.. if metadata.mode() & WRITABLE_BY_ALL != 0 && metadata.mode() & STICKY == 0 => {
                    ("lies in a folder that all can write", "take that from it with `chmod o-w`, or name another")
                }
                _ => continue,
            };
            return Err(Error::input(format!("no library is loaded from this folder: it {flaw}"))
                .in_file(folder)
                .help(format!("{help} in the variable {CACHE_VARIABLE}")));
        }
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// The folder of what was taken out of a wheel, which need not exist.
pub(super) fn folder_of(wheel: &Wheel) -> Result<PathBuf> {
    Ok(folder()?.join(wheel.folder()))
}

/// The folder of what was taken out of a wheel, where it is whole and nobody else's.
pub(super) fn whole(wheel: &Wheel) -> Option<PathBuf> {
    let folder = folder_of(wheel).ok().filter(|folder| folder.is_dir())?;
    check_owner(wheel).is_ok_and(|()| is_whole(wheel, &folder)).then_some(folder)
}

/// The shared library of a runtime that is installed in `folder`.
pub(super) fn library_in(folder: &Path) -> PathBuf {
    folder.join(libloading::library_filename("onnxruntime"))
}

/// The library of an installed runtime, where there is one, whole or not, and to be trusted or not.
pub(super) fn library(package: Package) -> Option<PathBuf> {
    folder_of(package.wheel()).ok().filter(|folder| folder.is_dir()).map(|folder| library_in(&folder))
}

/// Demands that nobody else can say what was taken out of `wheel`.
pub(super) fn check_owner(wheel: &Wheel) -> Result<()> {
    check_trusted(&folder()?)?;
    check_trusted(&folder_of(wheel)?)
}

fn is_whole(wheel: &Wheel, folder: &Path) -> bool {
    Manifest::read(folder).is_some_and(|manifest| manifest.sources == wheel.sources() && manifest.matches(folder))
}

/// Demands that an installed runtime is nobody else's, and whole, and of this release.
pub(super) fn check(package: Package) -> Result<()> {
    check_owner(package.wheel())?;
    let folder = folder_of(package.wheel())?;
    if is_whole(package.wheel(), &folder) {
        return Ok(());
    }
    Err(Error::format("this installation is incomplete or of another release of gnp")
        .in_file(folder)
        .help(format!("install it again with `{}`", package.command())))
}

#[cfg(test)]
#[cfg(feature = "install")]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_folder_that_others_can_write_is_not_trusted() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (outer, inner) = (folder.path().join("outer"), folder.path().join("outer/inner"));
        create(&inner).unwrap();
        check_trusted(&inner).unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        for (path, mode, says) in [
            (&inner, 0o775, Some("can be written by others")),
            (&inner, 0o757, Some("can be written by others")),
            (&outer, 0o777, Some("lies in a folder that all can write")),
            (&outer, 0o1777, None),
        ] {
            set(path, mode);
            match (check_trusted(&inner), says) {
                (Ok(()), None) => {}
                (Err(error), Some(says)) => assert!(error.to_string().contains(says), "{error}"),
                (found, _) => panic!("{mode:o}: {found:?}"),
            }
            set(path, 0o755);
        }
    }

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
