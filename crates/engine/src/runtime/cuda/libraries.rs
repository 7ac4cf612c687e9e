//! The libraries that ONNX Runtime's provider for NVIDIA's cards calls: which they are, where they lie, and loading
//! them.
//!
//! They are loaded by their absolute paths, each after those that it is linked to. The loader takes a library that is
//! loaded for the one of that name, so it looks nowhere when the provider comes, whatever the provider's own search
//! path and the environment say: the training build's search path ends with an empty entry, the current folder.

use super::{Lack, provider};
use crate::runtime::packages::{Cuda, PARTS};
use crate::runtime::{cache, discover, elf, python, system};
use gnp_base::{Error, Result};
use libloading::Library;
use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Where one of NVIDIA's libraries was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Origin {
    /// Installed into the cache folder.
    Installed,
    /// The system's loader finds it.
    System,
    /// It belongs to a package of the `python3` in the path.
    Python,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Installed => "installed",
            Self::System => "system",
            Self::Python => "python3",
        })
    }
}

/// Where the library of NVIDIA's that the loader knows as `name` lies, for a build for this CUDA: where gnp has
/// installed it, else in the system, else in a package of Python's, such as PyTorch brings.
pub(in super::super) fn find(name: &str, cuda: Option<&Cuda>) -> Option<(Origin, PathBuf)> {
    let wheels = cuda.map_or(&[][..], |cuda| cuda.wheels);
    let installed = || wheels.iter().filter_map(cache::whole).map(|folder| folder.join(name));
    let of = |origin| move |path| (origin, path);
    installed().find(|path| path.is_file()).map(of(Origin::Installed)).or_else(|| find_elsewhere(name))
}

/// Where it lies, but for what gnp has installed.
pub(in super::super) fn find_elsewhere(name: &str) -> Option<(Origin, PathBuf)> {
    let in_python = || python::nvidia_folders().map(|folder| folder.join(name)).find(|path| path.is_file());
    let system = system::library(name).map(|path| (Origin::System, path));
    system.or_else(|| in_python().map(|path| (Origin::Python, path)))
}

/// What a C or C++ program has loaded already, by the beginnings of the names; and the driver's library, which is asked
/// for before.
const LOADED: [&str; 9] = [
    "libc.so",
    "libm.so",
    "libdl.so",
    "librt.so",
    "libpthread.so",
    "libstdc++.so",
    "libgcc_s.so",
    "ld-linux",
    super::driver::LIBRARY,
];

/// What a provider calls.
#[derive(Debug, Default)]
pub(super) struct Libraries {
    /// The major version of the CUDA that it is built for; 0 where it does not say.
    pub(super) major: u32,
    /// What is missing of it.
    pub(super) lacks: Vec<Lack>,
    /// What is there, each after what it is linked to.
    found: Vec<Found>,
}

#[derive(Debug)]
struct Found {
    origin: Origin,
    path: PathBuf,
    is_needed: bool,
}

impl Libraries {
    /// What the provider beside ONNX Runtime's `library` calls. The headers of files are read, nothing is loaded.
    pub(super) fn of(library: &Path) -> Self {
        let provider = provider(library);
        if !provider.is_file() {
            let name = provider.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Self { lacks: vec![Lack::Library(name)], ..Self::default() };
        }
        if !cfg!(target_os = "linux") {
            // What it is linked to is the loader's business.
            return Self::default();
        }
        match elf::needed(&provider) {
            Ok(linked) => Search::default().of(&linked),
            Err(why) => Self { lacks: vec![Lack::Readable(provider, why)], ..Self::default() },
        }
    }

    /// Loads them. They stay loaded.
    ///
    /// # Errors
    /// Where one that the provider does not do without does not load.
    pub(super) fn load(&self) -> Result<()> {
        for Found { origin, path, is_needed } in &self.found {
            discover::tell(origin, path);
            // SAFETY: loading runs the library's initialisers. It lies where NVIDIA's libraries do, by its absolute path.
            match unsafe { Library::new(path) } {
                Ok(library) => std::mem::forget(library),
                Err(error) if *is_needed => {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    let says = source.unwrap_or_else(|| error.to_string());
                    return Err(Error::engine(format!("cannot load the library: {says}")).in_file(path));
                }
                Err(_) => {}
            }
        }
        Ok(())
    }
}

/// The search for what a provider calls, and for what that calls in turn.
#[derive(Default)]
struct Search {
    cuda: Option<&'static Cuda>,
    /// The names that were looked for.
    seen: HashSet<String>,
    libraries: Libraries,
}

impl Search {
    fn of(mut self, linked: &[String]) -> Libraries {
        // `libcudart.so.13`, `libcudart.so.11.0`.
        let version = linked.iter().find_map(|name| name.strip_prefix("libcudart.so."));
        self.libraries.major = version.and_then(|v| v.split('.').next()?.parse().ok()).unwrap_or(0);
        self.cuda = Cuda::of(self.libraries.major);
        linked.iter().for_each(|name| self.need(name));
        if let Some(cuda) = self.cuda {
            self.need(cuda.cudnn);
            for name in cuda.opened {
                self.add(name, None, false);
            }
        }
        self.libraries
    }

    /// Adds the library of this name, or that it is missing.
    fn need(&mut self, name: &str) {
        if !self.add(name, None, true) {
            self.libraries.lacks.push(Lack::Library(name.to_owned()));
        }
    }

    /// Adds the library of this name after those that it is linked to: the one that lies beside the library that calls
    /// it, else one that is found. Returns whether there is one.
    fn add(&mut self, name: &str, caller: Option<(Origin, &Path)>, is_needed: bool) -> bool {
        if LOADED.iter().any(|loaded| name.starts_with(loaded)) || !self.seen.insert(name.to_owned()) {
            return true;
        }
        let beside = caller.map(|(origin, folder)| (origin, folder.join(name))).filter(|(_, path)| path.is_file());
        let Some((origin, path)) = beside.or_else(|| find(name, self.cuda)) else { return false };
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        for linked in elf::needed(&path).unwrap_or_default() {
            // What is not found is left to the loader, which may know more, and else names it.
            self.add(&linked, Some((origin, &folder)), is_needed);
        }
        self.libraries.found.push(Found { origin, path, is_needed });
        for part in parts(name, &folder) {
            self.add(&part, Some((origin, &folder)), false);
        }
        true
    }
}

/// The names of the parts of the library `name` that lie in its folder, sorted.
fn parts(name: &str, folder: &Path) -> Vec<String> {
    let major = |name: &str| Some(name.split_once(".so.")?.1.split('.').next()?.to_owned());
    let Some(parts) = PARTS.iter().find(|parts| name.starts_with(parts.of)) else { return Vec::new() };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|file| parts.is_part(file) && major(file) == major(name)).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_the_librarys_major_version() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["libcudnn.so.8", "libcudnn_ops.so.8", "libcudnn_cnn.so.8", "libcudnn_ops.so.9", "libcudnn_ops.so"]
        {
            fs::write(folder.path().join(file), "").unwrap();
        }
        for file in ["libnvrtc.so.11.2", "libnvrtc-builtins.so.11.8", "libnvrtc-builtins.so.12.1"] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        assert_eq!(parts("libcudnn.so.8", folder.path()), ["libcudnn_cnn.so.8", "libcudnn_ops.so.8"]);
        assert_eq!(parts("libnvrtc.so.11.2", folder.path()), ["libnvrtc-builtins.so.11.8"]);
        assert!(parts("libcublas.so.11", folder.path()).is_empty());
    }

    #[test]
    fn what_is_missing_is_named() {
        let linked = ["libc.so.6", "libcuda.so.1", "libcudart.so.11.0", "libno-such-library.so.3"].map(str::to_owned);
        let libraries = Search::default().of(&linked);
        assert_eq!(libraries.major, 11);
        assert!(libraries.lacks.contains(&Lack::Library("libno-such-library.so.3".into())), "{:?}", libraries.lacks);
        let names = ["libc.so.6", "libcuda.so.1"].map(|name| Lack::Library(name.to_owned()));
        assert!(!names.iter().any(|name| libraries.lacks.contains(name)), "{:?}", libraries.lacks);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_a_library_is_linked_to_comes_before_it() {
        let libraries = Search::default().of(&["libz.so.1".to_owned(), "libstdc++.so.6".to_owned()]);
        // Every C++ program has the second.
        assert_eq!(libraries.found.iter().map(|found| found.origin).collect::<Vec<_>>(), [Origin::System]);
        libraries.load().unwrap();
    }
}
