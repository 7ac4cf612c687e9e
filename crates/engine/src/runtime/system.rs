//! Where the system's loader finds libraries. It is not asked by a bare name: it would look in the current folder too,
//! where its variables have empty entries.

use super::program::folders;
use std::path::PathBuf;

/// The library `name`, by its absolute path.
pub(super) fn library(name: &str) -> Option<PathBuf> {
    let of_variables = VARIABLES.iter().flat_map(|variable| folders(variable));
    let candidates = of_variables.chain(of_system()).map(|folder| folder.join(name));
    candidates.into_iter().find(|path| path.is_file())
}

/// The variable of the loader's, if any, that has it look in the current folder for what is asked for by its name.
#[cfg(feature = "cuda")]
pub(crate) fn leads_to_current_folder() -> Option<&'static str> {
    VARIABLES.into_iter().find(|variable| std::env::var_os(variable).is_some_and(|folders| has_relative(&folders)))
}

/// Whether one of the folders has no absolute path: an empty one is the current folder.
#[cfg(feature = "cuda")]
fn has_relative(folders: &std::ffi::OsStr) -> bool {
    !folders.is_empty() && std::env::split_paths(folders).any(|folder| !folder.is_absolute())
}

#[cfg(target_os = "macos")]
const VARIABLES: [&str; 2] = ["DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"];
#[cfg(windows)]
const VARIABLES: [&str; 1] = ["PATH"];
#[cfg(not(any(target_os = "macos", windows)))]
const VARIABLES: [&str; 1] = ["LD_LIBRARY_PATH"];

#[cfg(windows)]
fn of_system() -> Vec<PathBuf> {
    let system = std::env::var_os("SystemRoot").map(|root| PathBuf::from(root).join("System32"));
    system.into_iter().filter(|folder| folder.is_absolute()).collect()
}

/// The folders that the loader's configuration names, and those that it always looks in.
#[cfg(not(windows))]
fn of_system() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let more = std::fs::read_dir("/etc/ld.so.conf.d").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut more: Vec<_> = more.filter(|file| file.extension().is_some_and(|extension| extension == "conf")).collect();
    more.sort();
    for file in [PathBuf::from("/etc/ld.so.conf")].into_iter().chain(more) {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        folders.extend(text.lines().map(str::trim).filter(|line| line.starts_with('/')).map(PathBuf::from));
    }
    folders.extend(["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"].map(PathBuf::from));
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_systems_libraries_are_found() {
        assert!(library("libc.so.6").unwrap().is_absolute());
        assert_eq!(library("libno-such-library.so"), None);
    }

    #[test]
    #[cfg(all(feature = "cuda", target_os = "linux"))]
    fn folders_that_are_no_absolute_paths_are_found() {
        assert!(["/a:", ":/a", "/a::/b", "lib:/a", "."].into_iter().all(|folders| has_relative(folders.as_ref())));
        assert!(!["", "/a", "/a:/b"].into_iter().any(|folders| has_relative(folders.as_ref())));
    }
}
