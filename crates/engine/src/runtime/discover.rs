//! Where an ONNX Runtime may be, in the order in which the places are tried.

use super::probe::probe;
use super::{Package, Runtime, cache, is_runtime_library, python, system};
use crate::Device;
use gnp_base::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, fmt, fs, iter};

/// The environment variable that names the shared library to use; the `ort` crate reads it too.
const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";
const INSTALL_HELP: &str = "install one with `gnp-run engines install training`, or name one with --ort-lib";

/// How a library came to be considered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The caller named it.
    Named,
    /// The environment variable `ORT_DYLIB_PATH` names it.
    Environment,
    /// The process has loaded it, or belongs to a program that has it.
    Process,
    /// It was installed into the cache folder.
    Installed(Package),
    /// The system's loader finds it.
    System,
    /// It belongs to the package `onnxruntime` of the `python3` in the path.
    Python,
}

impl Origin {
    /// Whether the user asked for this very library, so that no other will do.
    fn is_chosen(self) -> bool {
        matches!(self, Self::Named | Self::Environment)
    }

    /// Demands that what was installed is nobody else's: that it could be is not passed over.
    fn check_owner(self) -> Result<()> {
        if let Self::Installed(package) = self { cache::check_owner(package.wheel()) } else { Ok(()) }
    }

    /// What the user can do where the library will not do.
    fn way_out(self) -> &'static str {
        match self {
            Self::Named => "name another one, or none to have the installed one used",
            Self::Environment => "unset ORT_DYLIB_PATH, or set it to the shared library of a training build",
            Self::Process | Self::Installed(_) | Self::System | Self::Python => INSTALL_HELP,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Named => "named",
            Self::Environment => LIBRARY_VARIABLE,
            Self::Process => "this process",
            Self::Installed(_) => "installed",
            Self::System => "system",
            Self::Python => "python3",
        })
    }
}

/// A place where an ONNX Runtime may be, and what is there.
#[derive(Debug)]
pub struct Candidate {
    /// How it came to be considered.
    pub origin: Origin,
    /// The shared library.
    pub library: PathBuf,
    /// What it is, or why it cannot be used.
    pub runtime: Result<Runtime>,
}

/// What is told of a library before it is loaded.
type Told = fn(&dyn fmt::Display, &Path);

static TOLD: OnceLock<Told> = OnceLock::new();

/// Has `told` hear of each library that is found, and how it was, before it is loaded into the process. The first call
/// counts.
pub fn tell_found(told: Told) {
    TOLD.get_or_init(|| told);
}

static PREFERRED: OnceLock<PathBuf> = OnceLock::new();

/// Has `library` take precedence over all that were not asked for: a process in which another program has an ONNX
/// Runtime uses that. The first call counts.
pub fn prefer(library: PathBuf) {
    PREFERRED.get_or_init(|| library);
}

/// Tells of a library that is about to be loaded.
pub(super) fn tell(origin: &dyn fmt::Display, library: &Path) {
    if let Some(told) = TOLD.get() {
        told(origin, library);
    }
}

impl Candidate {
    fn new(origin: Origin, library: PathBuf) -> Self {
        let permitted = match origin {
            Origin::Installed(package) => cache::check(package),
            // A variable holds for every folder that a command is given in.
            Origin::Environment if !library.is_absolute() => {
                Err(Error::input(format!("{LIBRARY_VARIABLE} is not an absolute path")).in_file(&library))
            }
            _ => Ok(()),
        };
        if permitted.is_ok() {
            tell(&origin, &library);
        }
        let runtime = permitted.and_then(|()| probe(&library)).map_err(|e| match origin {
            Origin::Environment => {
                e.help(format!("unset {LIBRARY_VARIABLE}, or set it to ONNX Runtime's shared library"))
            }
            _ => e.help(INSTALL_HELP),
        });
        Self { origin, library, runtime }
    }
}

/// Every place where an ONNX Runtime may be, in the order of preference: the library `named` by the caller, the one
/// that `ORT_DYLIB_PATH` names, the process's own, the installed ones, the system's, Python's.
///
/// Looking loads each library into the process.
pub fn discover(named: Option<&Path>) -> Vec<Candidate> {
    candidates(named, Package::ALL).collect()
}

/// The ONNX Runtime to run step models with on `device`, which any can that is made for it: the library `named` by the
/// caller, else the one that `ORT_DYLIB_PATH` names, else the first that loads of the process's own, the installed ones,
/// the system's and Python's. One that can compute on the device takes precedence. None where there is none.
///
/// # Errors
/// Where the library that the caller or the environment names does not load, and where others can write what is
/// installed.
pub fn for_steps(named: Option<&Path>, device: Device) -> Result<Option<Runtime>> {
    let order = [Package::StockCuda, Package::TrainingCuda, Package::Stock, Package::Training];
    let mut found = Best::new(device);
    for candidate in candidates(named, order_for(device, order)) {
        match candidate.runtime {
            Ok(runtime) if candidate.origin.is_chosen() => return Ok(Some(runtime)),
            Ok(runtime) => found.add(runtime),
            Err(error) if candidate.origin.is_chosen() => return Err(error),
            Err(_) => candidate.origin.check_owner()?,
        }
        if found.is_final {
            break;
        }
    }
    Ok(found.best)
}

/// The ONNX Runtime to train with on `device`: the library `named` by the caller, else the one that `ORT_DYLIB_PATH`
/// names, else the first that can train of the process's own, the installed ones, the system's and Python's. One that can
/// compute on the device takes precedence.
///
/// # Errors
/// Where the library that the caller or the environment names does not load or cannot train, and where none is found.
pub fn for_training(named: Option<&Path>, device: Device) -> Result<Runtime> {
    let install = match device {
        Device::Cpu => INSTALL_HELP.to_owned(),
        Device::Cuda(_) => {
            format!("install one with `{}`, or name one with --ort-lib", Package::TrainingCuda.command())
        }
    };
    let mut none = Error::engine("found no ONNX Runtime that can train").help(install);
    let order = [Package::TrainingCuda, Package::StockCuda, Package::Training, Package::Stock];
    let mut found = Best::new(device);
    for candidate in candidates(named, order_for(device, order)) {
        match candidate.runtime {
            Ok(runtime) if runtime.can_train() && candidate.origin.is_chosen() => return Ok(runtime),
            Ok(runtime) if runtime.can_train() => found.add(runtime),
            Ok(runtime) if candidate.origin.is_chosen() => {
                let message = format!("this build of ONNX Runtime {} cannot train", runtime.version);
                return Err(Error::input(message).in_file(candidate.library).help(candidate.origin.way_out()));
            }
            Err(error) if candidate.origin.is_chosen() => return Err(error),
            // Should nothing else train, then this is why.
            Err(error) if matches!(candidate.origin, Origin::Installed(Package::Training | Package::TrainingCuda)) => {
                none = error;
            }
            _ => {}
        }
        if found.is_final {
            break;
        }
    }
    found.best.ok_or(none)
}

/// The best runtime of those that were found. The first that computes on the device here and now is; else the first
/// that is made for it, which says what it lacks; else the first.
struct Best {
    device: Device,
    best: Option<Runtime>,
    /// Whether no other will be better.
    is_final: bool,
}

impl Best {
    const fn new(device: Device) -> Self {
        Self { device, best: None, is_final: false }
    }

    fn add(&mut self, runtime: Runtime) {
        self.is_final = runtime.serves(self.device);
        let is_better = |than: &Runtime| self.is_final || (runtime.is_for_cuda() && !than.is_for_cuda());
        if self.best.as_ref().is_none_or(is_better) {
            self.best = Some(runtime);
        }
    }
}

/// The packages in the order that `cuda` has for NVIDIA's cards; for the processor, those that are made for it first.
fn order_for(device: Device, cuda: [Package; 4]) -> [Package; 4] {
    match (device, cuda) {
        (Device::Cuda(_), order) => order,
        (Device::Cpu, [first, second, third, fourth]) => [third, fourth, first, second],
    }
}

/// The candidates, each looked at only when it is asked for: several ONNX Runtimes in one process are best avoided. Of
/// the installed ones those come first that are first in `installed`.
fn candidates(named: Option<&Path>, installed: [Package; 4]) -> impl Iterator<Item = Candidate> {
    let named = named.map(Path::to_owned);
    let environment = env::var_os(LIBRARY_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let of = |origin| move |library| Candidate::new(origin, library);
    named
        .into_iter()
        .map(of(Origin::Named))
        .chain(environment.into_iter().map(of(Origin::Environment)))
        .chain(iter::once_with(of_process).flatten().map(of(Origin::Process)))
        .chain(
            installed
                .into_iter()
                .filter_map(|package| Some(Candidate::new(Origin::Installed(package), cache::library(package)?))),
        )
        .chain(iter::once_with(system_library).flatten().map(of(Origin::System)))
        .chain(iter::once_with(python_library).flatten().map(of(Origin::Python)))
}

/// What the process has loaded: it can load no other. Else what it prefers.
fn of_process() -> Option<PathBuf> {
    crate::ort::api::loaded().or_else(|| PREFERRED.get().cloned())
}

/// The shared library of the system, where it has one.
fn system_library() -> Option<PathBuf> {
    system::library(libloading::library_filename("onnxruntime").to_str()?)
}

/// The shared library in Python's package `onnxruntime`, where there is one.
fn python_library() -> Option<PathBuf> {
    let package = python::folders().iter().map(|folder| folder.join("onnxruntime")).find(|package| package.is_dir())?;
    let files = fs::read_dir(package.join("capi")).ok()?;
    files
        .filter_map(|file| Some(file.ok()?.path()))
        .find(|file| file.file_name().and_then(|name| name.to_str()).is_some_and(is_runtime_library))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_library_that_does_not_load_is_no_reason_to_take_another() {
        let error = for_training(Some(Path::new("/no/such/libonnxruntime.so")), Device::Cpu).unwrap_err();
        assert!(error.to_string().starts_with("/no/such/libonnxruntime.so: cannot load the library"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn the_named_library_comes_first() {
        let found = discover(Some(Path::new("mine.so")));
        assert_eq!(found[0].origin, Origin::Named);
        assert!(found[0].runtime.is_err());
    }
}
