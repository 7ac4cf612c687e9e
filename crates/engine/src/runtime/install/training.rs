//! The training runtime's wheels, and the library that makes one a runtime.
//!
//! Microsoft's last training packages are Python wheels. The wheel's module holds the complete C API but does not
//! export its entry point, so a small library compiled here (`shim.c`) stands before it. That needs the entry point's
//! place in the module, hence the exact wheel: any other is refused.

use super::super::packages::{Module, SHIM};
use super::super::probe::probe;
use super::super::{Kind, cache, elf, program};
use super::wheel::{Archive, InstallStep};
use gnp_base::{Error, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Where a wheel keeps the libraries.
const LIBRARIES: &str = "onnxruntime/capi/";

/// Makes a runtime of what is in a wheel, in the folder `built`.
pub(super) fn build(
    module: &Module,
    archive: &mut Archive,
    built: &Path,
    progress: &mut dyn FnMut(InstallStep),
) -> Result<()> {
    let (file, digest) = module.file;
    archive.unpack_checked(&format!("{LIBRARIES}{file}"), digest, &built.join(module.name))?;
    for (name, digest) in module.providers {
        archive.unpack_checked(&format!("{LIBRARIES}{name}"), digest, &built.join(name))?;
    }
    progress(InstallStep::Compile);
    compile_shim(module, built)?;
    require_training(built)
}

/// Compiles the shim into `folder`, linked against the module that lies there.
fn compile_shim(module: &Module, folder: &Path) -> Result<()> {
    let library = folder.join(module.name);
    let names = python_names(&library).map_err(|message| Error::engine(message).in_file(&library))?;
    for (name, content) in [("shim.c", SHIM), ("python.h", &names)] {
        let file = folder.join(name);
        fs::write(&file, content).map_err(|e| Error::io("write", &file, &e))?;
    }
    let compiler = std::env::var("CC").ok().filter(|cc| !cc.trim().is_empty()).unwrap_or_else(|| "cc".into());
    let mut words = compiler.split_whitespace();
    let name = words.next().unwrap_or("cc");
    let define = format!("-DAPI_BASE={}", module.api_base);
    let link = format!("-l:{}", module.name);
    let ours = ["-shared", "-fPIC", "-O1", "-o", "libonnxruntime.so", "shim.c", "-L.", &define, &link]
        .into_iter()
        .chain(["-Wl,-rpath,$ORIGIN", "-ldl"]);
    let help = "install a C compiler, or name one in the variable CC, one in PATH or an absolute path";
    let output = program::run(name, words.chain(ours), folder);
    program::succeeded(name, output, "compile the training runtime's entry point", help)
}

/// The names that the module `library` wants from Python, as the shim's macros.
fn python_names(library: &Path) -> Result<String, String> {
    let mut macros = String::new();
    let wanted = elf::wanted(library)?;
    for wanted in wanted.iter().filter(|wanted| wanted.name.trim_start_matches('_').starts_with("Py")) {
        let kind = if wanted.is_data { "DATA" } else { "FUNCTION" };
        writeln!(macros, "{kind}({})", wanted.name).map_err(|e| e.to_string())?;
    }
    Ok(macros)
}

/// Refuses what was built in `folder` unless it loads and can train.
fn require_training(folder: &Path) -> Result<()> {
    let runtime = probe(&cache::library_in(folder))?;
    match runtime.kind {
        Kind::Training => Ok(()),
        Kind::Stock => Err(Error::internal("the installed runtime has no training API").in_file(runtime.library)),
    }
}
