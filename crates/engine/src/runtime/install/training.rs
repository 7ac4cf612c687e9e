//! The training runtime's wheel, and the library that makes it one.
//!
//! Microsoft's last training packages are Python wheels. The wheel's module holds the complete C API but does not
//! export its entry point, so a small library compiled here (`shim.c`) stands before it. That needs the entry point's
//! place in the module, hence the exact wheel: any other is refused.

use super::super::package::{API_BASE, SHIM};
use super::super::probe::probe;
use super::super::{Kind, Package, cache, program};
use super::wheel::{InstallStep, Wheel, download, require_sha256};
use gnp_base::{Error, Result};
use std::fs;
use std::path::Path;

const WHEEL_BYTES: u64 = 8_932_358;
/// The wheel's files that are installed, with their sha256.
const MODULE: (&str, &str) = (
    "onnxruntime_pybind11_state.cpython-311-x86_64-linux-gnu.so",
    "637012bc7b9b9e8a00b006be918091d04d143ca5c57ee820584478a15298d0ee",
);
const PROVIDERS: (&str, &str) =
    ("libonnxruntime_providers_shared.so", "ee7bf6d4d32f523dbdebf9dec70a1b3287a1a60d019192490732750dc385f98c");
/// Refuses machines that there is no training package for.
pub(super) fn check_platform() -> Result<()> {
    if cfg!(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")) {
        return Ok(());
    }
    Err(Error::engine("the training runtime can only be installed on Linux (glibc) on x86-64")
        .help("build ONNX Runtime with training yourself and name its library with --ort-lib"))
}

/// Downloads the wheel into `staging` and makes a runtime of it in the folder `built`.
pub(super) fn build(staging: &Path, built: &Path, progress: &mut dyn FnMut(InstallStep)) -> Result<()> {
    progress(InstallStep::Download { bytes: WHEEL_BYTES });
    let wheel = download(Package::Training, staging)?;
    progress(InstallStep::Unpack);
    unpack(wheel, built)?;
    progress(InstallStep::Compile);
    compile_shim(built)?;
    require_training(built)
}

/// Takes the libraries out of `wheel` into the folder `into`, where everything has the sha256 it should have.
fn unpack(mut wheel: Wheel, into: &Path) -> Result<()> {
    for (name, digest) in [MODULE, PROVIDERS] {
        let content = wheel.library(name)?;
        let file = into.join(name);
        require_sha256(&content, &[digest]).map_err(|e| e.in_file(&file))?;
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
    let name = words.next().unwrap_or("cc");
    let define = format!("-DAPI_BASE={API_BASE}");
    let module = format!("-l:{}", MODULE.0);
    let ours = ["-shared", "-fPIC", "-O1", "-o", "libonnxruntime.so", "shim.c", "-L.", &define, &module]
        .into_iter()
        .chain(["-Wl,-rpath,$ORIGIN", "-ldl"]);
    let help = "install a C compiler, or name one in the variable CC, one in PATH or an absolute path";
    let output = program::run(name, words.chain(ours), folder);
    program::succeeded(name, output, "compile the training runtime's entry point", help)
}

/// Refuses what was built in `folder` unless it loads and can train.
fn require_training(folder: &Path) -> Result<()> {
    let runtime = probe(&cache::library_in(folder))?;
    match runtime.kind {
        Kind::Training => Ok(()),
        Kind::Stock => Err(Error::internal("the installed runtime has no training API").in_file(runtime.library)),
    }
}
