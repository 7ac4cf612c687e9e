//! Installs an ONNX Runtime into the user's cache folder, from the Python package that holds it. pip says from where.

use super::cache::{self, Manifest};
use super::probe::probe;
use super::{Runtime, training_wheel};
use crate::{Error, Result};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use zip::ZipArchive;

/// An ONNX Runtime that can be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    /// The present release, which runs step models.
    Stock,
    /// Microsoft's last training build, which runs artifacts and step models.
    Training,
}

impl Package {
    /// The Python package, as pip names it.
    pub fn requirement(self) -> &'static str {
        match self {
            Self::Stock => "onnxruntime==1.32.0",
            Self::Training => training_wheel::REQUIREMENT,
        }
    }

    /// The command that installs it.
    pub fn command(self) -> &'static str {
        match self {
            Self::Stock => "gnp-run engines install onnxruntime",
            Self::Training => "gnp-run engines install training",
        }
    }

    /// What identifies what it is installed from.
    pub(super) fn sources(self) -> String {
        match self {
            Self::Stock => self.requirement().to_owned(),
            Self::Training => training_wheel::sources_digest(),
        }
    }
}

/// What an installation is busy with, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallStep {
    /// pip downloads the package, of about this many bytes.
    Download {
        /// The size of the package in bytes.
        bytes: u64,
    },
    /// The package is checked and unpacked.
    Unpack,
    /// The C compiler compiles the library that exports the entry point.
    Compile,
}

/// Installs ONNX Runtime into the user's cache folder, or returns the one that is installed already.
///
/// `progress` hears of each step as it begins. Several processes may install at once: one does, the others wait for it.
///
/// # Errors
/// Where python3, pip or the network is missing, or there is no package for this machine; where the cache folder cannot
/// be written.
pub fn install_onnxruntime(progress: &mut dyn FnMut(InstallStep)) -> Result<Runtime> {
    install(Package::Stock, |staging, built| {
        progress(InstallStep::Download { bytes: STOCK_BYTES });
        let wheel = download(Package::Stock, staging, &["--python-version", "3.12", "--implementation", "cp"])?;
        progress(InstallStep::Unpack);
        unpack_libraries(&wheel, built)
    })
}

/// Installs the training runtime into the user's cache folder, or returns the one that is installed already.
///
/// `progress` hears of each step as it begins. Several processes may install at once: one does, the others wait for it.
///
/// # Errors
/// Where this is not Linux on x86-64; where python3, pip, the network or a C compiler is missing; where the download is
/// not the very package that was tested; where the cache folder cannot be written.
pub fn install_training(progress: &mut dyn FnMut(InstallStep)) -> Result<Runtime> {
    training_wheel::check_platform()?;
    install(Package::Training, |staging, built| training_wheel::build(staging, built, progress))
}

/// The size of the stock package for Linux on x86-64; others are about as large.
const STOCK_BYTES: u64 = 28_000_000;

/// Installs `package` where it is not: `build` makes its folder, the second argument, and may use the first.
fn install(package: Package, build: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<Runtime> {
    let folder = cache::folder()?;
    fs::create_dir_all(&folder).map_err(|e| Error::io("create the cache folder", &folder, &e))?;
    let _lock = lock(&folder)?;
    let target = cache::package_folder(package)?;
    if cache::check(package).is_err() {
        let staging = tempfile::Builder::new()
            .prefix("install-")
            .tempdir_in(&folder)
            .map_err(|e| Error::io("write into the cache folder", &folder, &e))?;
        let built = staging.path().join("runtime");
        fs::create_dir(&built).map_err(|e| Error::io("create", &built, &e))?;
        build(staging.path(), &built)?;
        probe(&cache::library_in(&built))?;
        put_in_place(&built, &target, &staging.path().join("replaced"), package.sources())?;
    }
    probe(&cache::library_in(&target))
}

/// Waits for other processes that install, and keeps them out until the result is dropped.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("install.lock");
    let file = File::create(&path).map_err(|e| Error::io("write", &path, &e))?;
    file.lock().map_err(|e| Error::io("lock", &path, &e))?;
    Ok(file)
}

/// Has pip download the wheel of `package` into `folder`, for the Python and the platform that `tags` say; pip's own
/// configuration says from where.
pub(super) fn download(package: Package, folder: &Path, tags: &[&str]) -> Result<PathBuf> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"])
        .args(["--only-binary=:all:"])
        .args(tags)
        .arg("--dest")
        .arg(folder)
        .arg(package.requirement());
    run(
        pip,
        "download the runtime",
        &format!("install python3 with pip and mind the network, {}", own_build(package)),
    )?;
    let files = fs::read_dir(folder).map_err(|e| Error::io("read", folder, &e))?;
    files
        .filter_map(|file| Some(file.ok()?.path()))
        .find(|file| file.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Error::input("pip reported success but downloaded no wheel").in_file(folder))
}

/// What can be done where a package cannot be installed.
pub(super) fn own_build(package: Package) -> &'static str {
    match package {
        Package::Stock => "or name an ONNX Runtime of your own with --ort-lib",
        Package::Training => "or build ONNX Runtime with training yourself and name its library with --ort-lib",
    }
}

/// The archive in `bytes`, those of the file `wheel`.
pub(super) fn open_wheel(bytes: Vec<u8>, wheel: &Path) -> Result<ZipArchive<Cursor<Vec<u8>>>> {
    ZipArchive::new(Cursor::new(bytes)).map_err(|e| broken(wheel, &e))
}

/// The member `name` of the folder of ONNX Runtime's libraries in a wheel.
pub(super) fn read_member(archive: &mut ZipArchive<Cursor<Vec<u8>>>, name: &str, wheel: &Path) -> Result<Vec<u8>> {
    let mut member = archive.by_name(&format!("{LIBRARIES}{name}")).map_err(|e| broken(wheel, &e))?;
    let mut content = Vec::new();
    member.read_to_end(&mut content).map_err(|e| Error::io("unpack", wheel, &e))?;
    Ok(content)
}

/// Where a wheel keeps the libraries.
const LIBRARIES: &str = "onnxruntime/capi/";

fn broken(wheel: &Path, error: &zip::result::ZipError) -> Error {
    Error::input(format!("cannot unpack the wheel: {error}")).in_file(wheel)
}

/// Takes ONNX Runtime's library and those of its providers out of `wheel`, into the folder `into`.
fn unpack_libraries(wheel: &Path, into: &Path) -> Result<()> {
    let bytes = fs::read(wheel).map_err(|e| Error::io("read", wheel, &e))?;
    let mut archive = open_wheel(bytes, wheel)?;
    let members: Vec<String> =
        archive.file_names().filter_map(|name| Some(name.ok()?.strip_prefix(LIBRARIES)?.to_owned())).collect();
    for name in members {
        let target = if is_runtime_library(&name) {
            cache::library_in(into)
        } else if name.contains("onnxruntime_providers_") && !name.contains('/') {
            into.join(&name)
        } else {
            continue;
        };
        let content = read_member(&mut archive, &name, wheel)?;
        fs::write(&target, content).map_err(|e| Error::io("write", &target, &e))?;
    }
    Ok(())
}

/// Whether a file name is that of ONNX Runtime's shared library, whose version may stand in it:
/// `libonnxruntime.so.1.32.0`, `libonnxruntime.1.32.0.dylib`, `onnxruntime.dll`.
pub(super) fn is_runtime_library(name: &str) -> bool {
    name.starts_with("libonnxruntime.") || name == "onnxruntime.dll"
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

/// Runs `command`; `doing` completes "cannot …", and the error quotes the last lines the command wrote.
pub(super) fn run(mut command: Command, doing: &str, help: &str) -> Result<()> {
    let program = OsString::from(command.get_program());
    let program = program.to_string_lossy();
    let output = command
        .output()
        .map_err(|e| Error::input(format!("cannot {doing}: cannot run `{program}`: {e}")).help(help))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = said.trim().lines().rev().take(3).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    Err(Error::input(format!("cannot {doing}: `{program}` failed ({}): {}", output.status, last.join(" "))).help(help))
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    #[test]
    fn installing_twice_at_once_gives_one_runtime_that_trains() {
        let [first, second] = std::thread::scope(|scope| {
            [(); 2].map(|()| scope.spawn(|| install_training(&mut |_| {}).unwrap())).map(|t| t.join().unwrap())
        });
        assert_eq!(first, second);
        assert_eq!((first.version.as_str(), first.kind), ("1.19.2", Kind::Training));
        assert!(first.providers.contains(&"CPUExecutionProvider".to_owned()), "{:?}", first.providers);
        assert!(cache::check(Package::Training).is_ok());
    }

    #[test]
    fn a_failed_command_is_quoted() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no room >&2; exit 3"]);
        let error = run(command, "do it", "make room").unwrap_err();
        assert_eq!(error.to_string(), "cannot do it: `sh` failed (exit status: 3): no room");
        let error = run(Command::new("no-such-program"), "do it", "install it").unwrap_err();
        assert!(error.to_string().starts_with("cannot do it: cannot run `no-such-program`: "), "{error}");
        assert_eq!(error.help_text(), Some("install it"));
    }

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
