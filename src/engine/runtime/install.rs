//! Installs an ONNX Runtime that can train into the user's cache folder.
//!
//! Microsoft's last training packages are Python wheels. The wheel's module holds the complete C API but does not export
//! its entry point, so a small library compiled here (`shim.c`) stands before it. That needs the entry point's place in
//! the module, hence the exact wheel: any other is refused.

use super::cache::{self, LIBRARY, Manifest};
use super::probe::probe;
use super::{Kind, Runtime};
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Python package that the training runtime is taken from, as pip names it.
pub const TRAINING_PACKAGE: &str = "onnxruntime-training-cpu==1.19.2";

const WHEEL_SHA256: &str = "9b3cde497eb76af75ecae2eb2a4e3a8b2477da0b833315a3d5e2c63f0dc8d5d6";
const WHEEL_BYTES: u64 = 8_932_358;
/// The wheel's files that are installed, with their sha256.
const MODULE: (&str, &str) = (
    "onnxruntime_pybind11_state.cpython-311-x86_64-linux-gnu.so",
    "637012bc7b9b9e8a00b006be918091d04d143ca5c57ee820584478a15298d0ee",
);
const PROVIDERS: (&str, &str) =
    ("libonnxruntime_providers_shared.so", "ee7bf6d4d32f523dbdebf9dec70a1b3287a1a60d019192490732750dc385f98c");
/// Where [`MODULE`] keeps its `OrtApiBase`, from the address that it is loaded at.
const API_BASE: &str = "0x140cdf0";
const SHIM: &str = include_str!("shim.c");

const OWN_BUILD: &str = "or build ONNX Runtime with training yourself and name its library with --ort-lib";

/// What an installation is busy with, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallStep {
    /// pip downloads the package, of this many bytes.
    Download {
        /// The size of the package in bytes.
        bytes: u64,
    },
    /// The package is checked and unpacked.
    Unpack,
    /// The C compiler compiles the library that exports the entry point.
    Compile,
}

/// Installs the training runtime into the user's cache folder, or returns the one that is installed already.
///
/// `progress` hears of each step as it begins. Several processes may install at once: one does, the others wait for it.
///
/// # Errors
/// Where this is not Linux on x86-64; where python3, pip, the network or a C compiler is missing; where the download is not
/// the very package that was tested; where the cache folder cannot be written.
pub fn install_training(progress: &mut dyn FnMut(InstallStep)) -> Result<Runtime> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")) {
        return Err(Error::input("the training runtime can only be installed on Linux (glibc) on x86-64")
            .help("build ONNX Runtime with training yourself and name its library with --ort-lib"));
    }
    let folder = cache::folder()?;
    fs::create_dir_all(&folder).map_err(|e| Error::io("create the cache folder", &folder, &e))?;
    let _lock = lock(&folder)?;
    let target = cache::training_folder()?;
    if cache::check_training().is_err() {
        let staging = tempfile::Builder::new()
            .prefix("install-")
            .tempdir_in(&folder)
            .map_err(|e| Error::io("write into the cache folder", &folder, &e))?;
        progress(InstallStep::Download { bytes: WHEEL_BYTES });
        let wheel = download(staging.path())?;
        let built = staging.path().join("runtime");
        progress(InstallStep::Unpack);
        unpack(&wheel, &built)?;
        progress(InstallStep::Compile);
        compile_shim(&built)?;
        require_training(&built)?;
        put_in_place(&built, &target, &staging.path().join("replaced"))?;
    }
    probe(&target.join(LIBRARY))
}

/// The sha256 of what an installation is made from.
pub(super) fn sources_digest() -> String {
    sha256([WHEEL_SHA256, API_BASE, SHIM].concat().as_bytes())
}

/// Waits for other processes that install, and keeps them out until the result is dropped.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("install.lock");
    let file = File::create(&path).map_err(|e| Error::io("write", &path, &e))?;
    file.lock().map_err(|e| Error::io("lock", &path, &e))?;
    Ok(file)
}

/// Has pip download the package into `folder`; pip's own configuration says from where.
fn download(folder: &Path) -> Result<PathBuf> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"])
        .args(["--only-binary=:all:", "--implementation", "cp", "--python-version", "3.11", "--abi", "cp311"])
        .args(["--platform", "manylinux_2_28_x86_64", "--dest"])
        .arg(folder)
        .arg(TRAINING_PACKAGE);
    run(pip, "download the training runtime", &format!("install python3 with pip and mind the network, {OWN_BUILD}"))?;
    let files = fs::read_dir(folder).map_err(|e| Error::io("read", folder, &e))?;
    files
        .filter_map(|file| Some(file.ok()?.path()))
        .find(|file| file.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Error::input("pip reported success but downloaded no wheel").in_file(folder))
}

/// Takes the libraries out of `wheel` into the new folder `into`, where everything has the sha256 it should have.
fn unpack(wheel: &Path, into: &Path) -> Result<()> {
    let bytes = fs::read(wheel).map_err(|e| Error::io("read", wheel, &e))?;
    require_sha256(&bytes, WHEEL_SHA256).map_err(|e| e.in_file(wheel))?;
    let broken = |e: zip::result::ZipError| Error::input(format!("cannot unpack the wheel: {e}")).in_file(wheel);
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
    fs::create_dir(into).map_err(|e| Error::io("create", into, &e))?;
    for (name, digest) in [MODULE, PROVIDERS] {
        let mut member = archive.by_name(&format!("onnxruntime/capi/{name}")).map_err(broken)?;
        let mut content = Vec::new();
        member.read_to_end(&mut content).map_err(|e| Error::io("unpack", wheel, &e))?;
        let file = into.join(name);
        require_sha256(&content, digest).map_err(|e| e.in_file(&file))?;
        fs::write(&file, content).map_err(|e| Error::io("write", &file, &e))?;
    }
    Ok(())
}

/// Compiles the shim into `folder`, linked against the module that lies there.
fn compile_shim(folder: &Path) -> Result<()> {
    let source = folder.join("shim.c");
    fs::write(&source, SHIM).map_err(|e| Error::io("write", &source, &e))?;
    let compiler = std::env::var("CC").ok().filter(|cc| !cc.trim().is_empty()).unwrap_or_else(|| "cc".into());
    let mut words = compiler.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or("cc"));
    command
        .args(words)
        .current_dir(folder)
        .args(["-shared", "-fPIC", "-O1", "-o", LIBRARY, "shim.c", "-L."])
        .args([format!("-DAPI_BASE={API_BASE}"), format!("-l:{}", MODULE.0)])
        .args(["-Wl,-rpath,$ORIGIN", "-ldl"]);
    run(command, "compile the training runtime's entry point", "install a C compiler, or name one in the variable CC")
}

/// Refuses what was built in `folder` unless it loads and can train.
fn require_training(folder: &Path) -> Result<()> {
    let runtime = probe(&folder.join(LIBRARY))?;
    match runtime.kind {
        Kind::Training => Ok(()),
        Kind::Stock => Err(Error::internal("the installed runtime has no training API").in_file(runtime.library)),
    }
}

/// Moves the complete folder `built` to `target`; what is there moves to `replaced`, within the same file system.
fn put_in_place(built: &Path, target: &Path, replaced: &Path) -> Result<()> {
    Manifest::of(built, sources_digest())
        .and_then(|manifest| manifest.write(built))
        .map_err(|e| Error::io("write the manifest", built, &e))?;
    if target.exists() {
        fs::rename(target, replaced).map_err(|e| Error::io("replace", target, &e))?;
    }
    fs::rename(built, target).map_err(|e| Error::io("create", target, &e))
}

/// Runs `command`; `doing` completes "cannot …", and the error quotes the last lines the command wrote.
fn run(mut command: Command, doing: &str, help: &str) -> Result<()> {
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

fn require_sha256(bytes: &[u8], expected: &str) -> Result<()> {
    let found = sha256(bytes);
    if found == expected {
        return Ok(());
    }
    Err(Error::input(format!("not the file that was tested: its sha256 is {found}, expected {expected}"))
        .help(format!("look at where pip takes {TRAINING_PACKAGE} from, {OWN_BUILD}")))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installing_twice_at_once_gives_one_runtime_that_trains() {
        let [first, second] = std::thread::scope(|scope| {
            [(); 2].map(|()| scope.spawn(|| install_training(&mut |_| {}).unwrap())).map(|t| t.join().unwrap())
        });
        assert_eq!(first, second);
        assert_eq!((first.version.as_str(), first.kind), ("1.19.2", Kind::Training));
        assert!(first.providers.contains(&"CPUExecutionProvider".to_owned()), "{:?}", first.providers);
        assert!(cache::check_training().is_ok());
    }

    #[test]
    fn another_wheel_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("other.whl");
        fs::write(&wheel, "PK").unwrap();
        let error = unpack(&wheel, &folder.path().join("runtime")).unwrap_err();
        assert!(error.to_string().contains("other.whl: not the file that was tested"), "{error}");
        assert!(error.to_string().contains(WHEEL_SHA256), "{error}");
        assert!(!folder.path().join("runtime").exists());
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
        put_in_place(&built, &target, &replaced).unwrap();
        assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "new");
        assert_eq!(fs::read_to_string(replaced.join("file")).unwrap(), "old");
        assert!(target.join("manifest.json").exists());
    }
}
