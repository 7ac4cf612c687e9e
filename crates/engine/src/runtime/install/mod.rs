//! Installs an ONNX Runtime into the user's cache folder, from the Python package that holds it. pip says from where.

mod training;
mod wheel;

pub use wheel::InstallStep;

use super::cache::{self, Manifest};
use super::package::Package;
use super::probe::probe;
use super::{Runtime, is_runtime_library};
use gnp_base::{Error, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use wheel::{Wheel, download};

/// Installs ONNX Runtime into the user's cache folder, or returns the one that is installed already.
///
/// `progress` hears of each step as it begins. Several processes may install at once: one does, the others wait for it.
///
/// # Errors
/// Where python3, pip or the network is missing, or there is no package for this machine; where the download is not the
/// very package that was tested; where the cache folder cannot be written, or others than the user can write there.
pub fn install_onnxruntime(progress: &mut dyn FnMut(InstallStep)) -> Result<Runtime> {
    install(Package::Stock, |staging, built| {
        progress(InstallStep::Download { bytes: STOCK_BYTES });
        let wheel = download(Package::Stock, staging)?;
        progress(InstallStep::Unpack);
        unpack_libraries(wheel, built)
    })
}

/// Installs the training runtime into the user's cache folder, or returns the one that is installed already.
///
/// `progress` hears of each step as it begins. Several processes may install at once: one does, the others wait for it.
///
/// # Errors
/// Where this is not Linux on x86-64; where python3, pip, the network or a C compiler is missing; where the download is
/// not the very package that was tested; where the cache folder cannot be written, or others than the user can write
/// there.
pub fn install_training(progress: &mut dyn FnMut(InstallStep)) -> Result<Runtime> {
    training::check_platform()?;
    install(Package::Training, |staging, built| training::build(staging, built, progress))
}

/// The size of the stock package for Linux on x86-64; others are about as large.
const STOCK_BYTES: u64 = 28_000_000;

/// Installs `package` where it is not: `build` makes its folder, the second argument, and may use the first.
fn install(package: Package, build: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<Runtime> {
    let folder = cache::folder()?;
    cache::create(&folder)?;
    cache::check_trusted(&folder)?;
    let _lock = lock(&folder)?;
    remove_unfinished(&folder)?;
    let target = cache::package_folder(package)?;
    if cache::check(package).is_err() {
        let staging = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(&folder)
            .map_err(|e| Error::io("write into the cache folder", &folder, &e))?;
        let built = staging.path().join("runtime");
        cache::create(&built)?;
        build(staging.path(), &built)?;
        probe(&cache::library_in(&built))?;
        put_in_place(&built, &target, &staging.path().join("replaced"), package.sources())?;
    }
    probe(&cache::library_in(&target))
}

/// What the names of installations that are under way begin with.
const UNFINISHED: &str = "install-";

/// Removes what killed processes have left in the cache folder, which this one has locked.
fn remove_unfinished(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io("read the cache folder", folder, &e))?;
    let is_unfinished = |path: &PathBuf| {
        path.is_dir() && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(UNFINISHED))
    };
    for path in entries.flatten().map(|entry| entry.path()).filter(is_unfinished) {
        fs::remove_dir_all(&path).map_err(|e| Error::io("remove an unfinished installation", &path, &e))?;
    }
    Ok(())
}

/// Waits for other processes that install, and keeps them out until the result is dropped.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("install.lock");
    let file = File::create(&path).map_err(|e| Error::io("write", &path, &e))?;
    file.lock().map_err(|e| Error::io("lock", &path, &e))?;
    Ok(file)
}

/// Takes ONNX Runtime's library and those of its providers out of `wheel`, into the folder `into`.
fn unpack_libraries(mut wheel: Wheel, into: &Path) -> Result<()> {
    for name in wheel.libraries() {
        let target = if is_runtime_library(&name) {
            cache::library_in(into)
        } else if name.contains("onnxruntime_providers_") && !name.contains('/') {
            into.join(&name)
        } else {
            continue;
        };
        let content = wheel.library(&name)?;
        fs::write(&target, content).map_err(|e| Error::io("write", &target, &e))?;
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
