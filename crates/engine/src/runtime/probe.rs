//! Asks a shared library what it is, without making it the process's ONNX Runtime.

use super::{Kind, Runtime};
use gnp_base::{Error, Result, files};
use libloading::Library;
use ort::sys::{ORT_API_VERSION, OrtApi, OrtApiBase};
use std::ffi::{CStr, c_char};
use std::path::Path;
use std::{ptr, slice};

/// Loads `library` and asks it for its version, training API and providers.
///
/// The library stays loaded: ONNX Runtime is not made to be unloaded.
///
/// # Errors
/// Where it does not load, is not ONNX Runtime or is too old. The message names the library.
pub(super) fn probe(library: &Path) -> Result<Runtime> {
    describe(library).map_err(|message| Error::input(message).in_file(library))
}

fn describe(library: &Path) -> Result<Runtime, String> {
    files::open(library).map_err(|e| format!("cannot load the library: {e}"))?;
    // By a bare name the loader would look elsewhere, the current folder included.
    let library = &library.canonicalize().map_err(|e| format!("cannot load the library: {e}"))?;
    // SAFETY: loading runs the library's initialisers. The user chose it, or it lies where an ONNX Runtime should.
    let loaded = unsafe { Library::new(library) }
        .map_err(|e| format!("cannot load the library: {}", loader_message(&e, library)))?;
    // SAFETY: this is the signature of the entry point of that name in ONNX Runtime's C header.
    let entry = unsafe { loaded.get::<unsafe extern "system" fn() -> *const OrtApiBase>(c"OrtGetApiBase") }
        .map_err(|_| "not an ONNX Runtime library: it does not export OrtGetApiBase")?;
    // SAFETY: the entry point takes nothing and returns a pointer to a static, or null.
    let base = unsafe { entry().as_ref() }.ok_or("the library's OrtGetApiBase returned nothing")?;
    // SAFETY: the version is a static, NUL-terminated string.
    let version = unsafe { CStr::from_ptr((base.GetVersionString)()) }.to_string_lossy().into_owned();

    let minor = version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok()).unwrap_or(0);
    if minor < ORT_API_VERSION {
        return Err(format!("ONNX Runtime {version} is too old: 1.{ORT_API_VERSION} or newer is needed"));
    }
    // SAFETY: `GetApi` returns a pointer to a static for every version up to the library's own, which was just checked.
    let api = unsafe { (base.GetApi)(ORT_API_VERSION).as_ref() }.ok_or("the library's GetApi returned nothing")?;
    // SAFETY: as above; null means that the build has no training API.
    let can_train = unsafe { !(api.GetTrainingApi)(ORT_API_VERSION).is_null() };
    let providers = providers(api)?;
    std::mem::forget(loaded);
    Ok(Runtime {
        library: library.to_owned(),
        version,
        kind: if can_train { Kind::Training } else { Kind::Stock },
        providers,
    })
}

fn providers(api: &OrtApi) -> Result<Vec<String>, String> {
    let mut names: *mut *mut c_char = ptr::null_mut();
    let mut count = 0;
    // SAFETY: both out pointers are valid; on success `names` holds `count` NUL-terminated strings until released.
    unsafe {
        let status = (api.GetAvailableProviders)(&mut names, &mut count);
        if !status.0.is_null() {
            let message = CStr::from_ptr((api.GetErrorMessage)(status.0)).to_string_lossy().into_owned();
            (api.ReleaseStatus)(status.0);
            return Err(message);
        }
        let found = slice::from_raw_parts(names, usize::try_from(count).unwrap_or(0))
            .iter()
            .map(|&name| CStr::from_ptr(name).to_string_lossy().into_owned())
            .collect();
        let status = (api.ReleaseAvailableProviders)(names, count);
        if !status.0.is_null() {
            (api.ReleaseStatus)(status.0);
        }
        Ok(found)
    }
}

/// The loader's own words, which `libloading` keeps in the error's source, without the library's name before them.
fn loader_message(error: &libloading::Error, library: &Path) -> String {
    let message = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    let name = format!("{}: ", library.display());
    message.strip_prefix(&name).map_or(message.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_library_is_named() {
        let file = tempfile::Builder::new().suffix(".so").tempfile().unwrap();
        let error = probe(file.path()).unwrap_err();
        assert!(error.to_string().starts_with(&file.path().display().to_string()), "{error}");
        assert!(error.to_string().contains("cannot load the library"), "{error}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_library_of_something_else_is_refused() {
        let error = probe(&super::super::system::library("libc.so.6").unwrap()).unwrap_err();
        let says = "libc.so.6: not an ONNX Runtime library: it does not export OrtGetApiBase";
        assert!(error.to_string().ends_with(says), "{error}");
    }
}
