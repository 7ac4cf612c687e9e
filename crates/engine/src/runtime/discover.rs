//! Where an ONNX Runtime may be, in the order in which the places are tried.

use super::package::Package;
use super::probe::probe;
use super::{Runtime, cache, is_runtime_library, program, system};
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
        if let Self::Installed(package) = self { cache::check_owner(package) } else { Ok(()) }
    }

    /// What the user can do where the library will not do.
    fn way_out(self) -> &'static str {
        match self {
            Self::Named => "name another one, or none to have the installed one used",
            Self::Environment => "unset ORT_DYLIB_PATH, or set it to the shared library of a training build",
            Self::Installed(_) | Self::System | Self::Python => INSTALL_HELP,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Named => "named",
            Self::Environment => LIBRARY_VARIABLE,
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
type Told = fn(Origin, &Path);

static TOLD: OnceLock<Told> = OnceLock::new();

/// Has `told` hear of each library that is found, before it is loaded into the process. The first call counts.
pub fn tell_found(told: Told) {
    TOLD.get_or_init(|| told);
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
        if let (Ok(()), Some(told)) = (&permitted, TOLD.get()) {
            told(origin, &library);
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
/// that `ORT_DYLIB_PATH` names, the installed ones, the system's, Python's.
///
/// Looking loads each library into the process.
pub fn discover(named: Option<&Path>) -> Vec<Candidate> {
    candidates(named, [Package::Stock, Package::Training]).collect()
}

/// The ONNX Runtime to run step models with, which any can: the library `named` by the caller, else the one that
/// `ORT_DYLIB_PATH` names, else the first that loads of the installed ones, the system's and Python's. None where there
/// is none.
///
/// # Errors
/// Where the library that the caller or the environment names does not load, and where others can write what is
/// installed.
pub fn for_steps(named: Option<&Path>) -> Result<Option<Runtime>> {
    for candidate in candidates(named, [Package::Stock, Package::Training]) {
        match candidate.runtime {
            Ok(runtime) => return Ok(Some(runtime)),
            Err(error) if candidate.origin.is_chosen() => return Err(error),
            Err(_) => candidate.origin.check_owner()?,
        }
    }
    Ok(None)
}

/// The ONNX Runtime to train with: the library `named` by the caller, else the one that `ORT_DYLIB_PATH` names, else
/// the first that can train of the installed ones, the system's and Python's.
///
/// # Errors
/// Where the library that the caller or the environment names does not load or cannot train, and where none is found.
pub fn for_training(named: Option<&Path>) -> Result<Runtime> {
    let mut none = Error::engine("found no ONNX Runtime that can train").help(INSTALL_HELP);
    for candidate in candidates(named, [Package::Training, Package::Stock]) {
        match candidate.runtime {
            Ok(runtime) if runtime.can_train() => return Ok(runtime),
            Ok(runtime) if candidate.origin.is_chosen() => {
                let message = format!("this build of ONNX Runtime {} cannot train", runtime.version);
                return Err(Error::input(message).in_file(candidate.library).help(candidate.origin.way_out()));
            }
            Err(error) if candidate.origin.is_chosen() => return Err(error),
            // Should nothing else train, then this is why.
            Err(error) if candidate.origin == Origin::Installed(Package::Training) => none = error,
            _ => {}
        }
    }
    Err(none)
}

/// The candidates, each looked at only when it is asked for: several ONNX Runtimes in one process are best avoided. Of
/// the installed ones those come first that are first in `installed`.
fn candidates(named: Option<&Path>, installed: [Package; 2]) -> impl Iterator<Item = Candidate> {
    let named = named.map(Path::to_owned);
    let environment = env::var_os(LIBRARY_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let of = |origin| move |library| Candidate::new(origin, library);
    named
        .into_iter()
        .map(of(Origin::Named))
        .chain(environment.into_iter().map(of(Origin::Environment)))
        .chain(
            installed
                .into_iter()
                .filter_map(|package| Some(Candidate::new(Origin::Installed(package), cache::library(package)?))),
        )
        .chain(iter::once_with(system_library).flatten().map(of(Origin::System)))
        .chain(iter::once_with(python_library).flatten().map(of(Origin::Python)))
}

/// The shared library of the system, where it has one.
fn system_library() -> Option<PathBuf> {
    system::library(libloading::library_filename("onnxruntime").to_str()?)
}

/// The shared library in Python's package `onnxruntime`, where there is one. The package is located, not imported;
/// isolated, Python does not look where the user's own packages are, so that place is added.
fn python_library() -> Option<PathBuf> {
    const LOCATE: &str = "import importlib.util as u, site, sys; sys.path.append(site.getusersitepackages()); \
                          p = u.find_spec('onnxruntime'); print(p.submodule_search_locations[0] if p else '')";
    let output = program::python(["-c", LOCATE]).ok().filter(|output| output.status.success())?;
    let package = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end());
    let files = fs::read_dir(Some(package).filter(|folder| folder.is_absolute())?.join("capi")).ok()?;
    files
        .filter_map(|file| Some(file.ok()?.path()))
        .find(|file| file.file_name().and_then(|name| name.to_str()).is_some_and(is_runtime_library))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_library_that_does_not_load_is_no_reason_to_take_another() {
        let error = for_training(Some(Path::new("/no/such/libonnxruntime.so"))).unwrap_err();
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
