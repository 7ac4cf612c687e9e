//! Installs an ONNX Runtime into the user's cache folder, from the Python package that holds it. pip says from where.

use super::cache::{self, Manifest};
use super::probe::probe;
use super::{Runtime, program, training_wheel};
use gnp_base::{Error, Result, files};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
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
            Self::Stock => sha256(STOCK_WHEELS.concat().as_bytes()),
            Self::Training => training_wheel::sources_digest(),
        }
    }

    /// The Python and, where it is one, the platform that its wheel is for, as pip's arguments.
    fn tags(self) -> &'static [&'static str] {
        match self {
            Self::Stock => &["--python-version", "3.12", "--implementation", "cp"],
            Self::Training => &training_wheel::TAGS,
        }
    }

    /// The sha256 of its wheels, one for each platform.
    fn wheels(self) -> &'static [&'static str] {
        match self {
            Self::Stock => &STOCK_WHEELS,
            Self::Training => &[training_wheel::WHEEL_SHA256],
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
    training_wheel::check_platform()?;
    install(Package::Training, |staging, built| training_wheel::build(staging, built, progress))
}

/// The size of the stock package for Linux on x86-64; others are about as large.
const STOCK_BYTES: u64 = 28_000_000;

/// The sha256 of the stock package's wheels for Python 3.12, as PyPI has them.
const STOCK_WHEELS: [&str; 5] = [
    // manylinux_2_28_x86_64
    "99e1074c4b2197accd5073052a465361be17b89c093b8ffb6e6bd8f986c52df8",
    // manylinux_2_28_aarch64
    "e36c187006e7a7c8b8d6d57f1a209dd63f52430dca6c282b177718ad6b841054",
    // macosx_14_0_arm64
    "d52510bbbcc880c13b826f7d75cdf33ac5cf0bb864d960000fc29ce73f0cb83e",
    // win_amd64
    "efe7456952c243a05a53d5b8732953625144642c2f3989094277f6217f0c0c40",
    // win_arm64
    "64d394c69d561af3efd4d4f49dcac8f11d0ce135a20701c16d53b74056cd4cf8",
];

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

/// Has pip download the wheel of `package` into `folder`; pip's own configuration says from where. Returns the wheel,
/// whose bytes are those that were tested.
pub(super) fn download(package: Package, folder: &Path) -> Result<Wheel> {
    let options = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"];
    let mut arguments: Vec<OsString> = options.into_iter().map(OsString::from).collect();
    arguments.extend(["--only-binary=:all:"].iter().chain(package.tags()).map(OsString::from));
    arguments.extend(["--dest".into(), folder.into(), package.requirement().into()]);
    let help = format!("install python3 with pip and mind the network, {}", own_build(package));
    program::succeeded("python3", program::python(arguments), "download the runtime", &help)?;
    let files = fs::read_dir(folder).map_err(|e| Error::io("read", folder, &e))?;
    let file = files
        .filter_map(|file| Some(file.ok()?.path()))
        .find(|file| file.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Error::input("pip reported success but downloaded no wheel").in_file(folder))?;
    Wheel::open(package, &file)
}

/// A wheel that is the one that was tested.
#[derive(Debug)]
pub(super) struct Wheel {
    file: PathBuf,
    archive: ZipArchive<Cursor<Vec<u8>>>,
}

/// Where a wheel keeps the libraries.
const LIBRARIES: &str = "onnxruntime/capi/";

impl Wheel {
    fn open(package: Package, file: &Path) -> Result<Self> {
        let bytes = files::read(file).map_err(|e| Error::io("read", file, &e))?;
        require_sha256(&bytes, package.wheels()).map_err(|e| e.in_file(file).help(tested_only(package)))?;
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| broken(file, &e))?;
        Ok(Self { file: file.to_owned(), archive })
    }

    /// The names of ONNX Runtime's libraries.
    fn libraries(&self) -> Vec<String> {
        let names = self.archive.file_names();
        names.filter_map(|name| Some(name.ok()?.strip_prefix(LIBRARIES)?.to_owned())).collect()
    }

    /// The library `name`.
    pub(super) fn library(&mut self, name: &str) -> Result<Vec<u8>> {
        let member = self.archive.by_name(&format!("{LIBRARIES}{name}"));
        let mut content = Vec::new();
        member
            .map_err(|e| broken(&self.file, &e))?
            .read_to_end(&mut content)
            .map_err(|e| Error::io("unpack", &self.file, &e))?;
        Ok(content)
    }
}

fn broken(wheel: &Path, error: &zip::result::ZipError) -> Error {
    Error::input(format!("cannot unpack the wheel: {error}")).in_file(wheel)
}

/// Demands that `bytes` have one of these sha256.
pub(super) fn require_sha256(bytes: &[u8], expected: &[&str]) -> Result<()> {
    let found = sha256(bytes);
    if expected.contains(&found.as_str()) {
        return Ok(());
    }
    Err(Error::input(format!(
        "not the file that was tested: its sha256 is {found}, expected {}",
        expected.join(" or ")
    )))
}

/// The sha256 of `bytes` in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tested_only(package: Package) -> String {
    format!("look at where pip takes {} from, {}", package.requirement(), own_build(package))
}

/// What can be done where a package cannot be installed.
pub(super) fn own_build(package: Package) -> &'static str {
    match package {
        Package::Stock => "or name an ONNX Runtime of your own with --ort-lib",
        Package::Training => "or build ONNX Runtime with training yourself and name its library with --ort-lib",
    }
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
    fn another_wheel_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("other.whl");
        fs::write(&wheel, "PK").unwrap();
        for package in [Package::Stock, Package::Training] {
            let error = Wheel::open(package, &wheel).unwrap_err();
            assert!(error.to_string().contains("other.whl: not the file that was tested"), "{error}");
            assert!(error.to_string().contains(package.wheels()[0]), "{error}");
            assert!(error.help_text().unwrap().contains(package.requirement()));
        }
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
