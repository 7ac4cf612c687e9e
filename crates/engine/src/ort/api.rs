//! The process's ONNX Runtime: its function table, and its statuses as [`Error`]s.

use crate::runtime::Runtime;
use gnp_base::{Error, Result};
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::sys::{OrtAllocator, OrtApi, OrtEnv, OrtMemoryInfo, OrtStatusPtr};
use ort::{AsPointer, sys};
use std::ffi::{CStr, CString, c_char};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Mutex, PoisonError};

/// ONNX Runtime as this process has loaded it. There is one, and it lives as long as the process.
pub(crate) struct Api {
    environment: Environment,
    pub(crate) base: &'static OrtApi,
    pub(crate) allocator: *mut OrtAllocator,
    pub(crate) cpu: *const OrtMemoryInfo,
}

// SAFETY: the environment, the default allocator and the memory description may be used from any thread, and nothing
// here is ever changed or released.
unsafe impl Send for Api {}
// SAFETY: as above.
unsafe impl Sync for Api {}

static LOADED: Mutex<Option<(PathBuf, &'static Api)>> = Mutex::new(None);

/// The library of the process's ONNX Runtime, where it has loaded one.
pub(crate) fn loaded() -> Option<PathBuf> {
    LOADED.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(library, _)| library.clone())
}

impl Api {
    /// Loads `runtime` into the process, or returns it where it is loaded already.
    ///
    /// # Errors
    /// Where it does not load, and where the process has loaded another one.
    pub(crate) fn load(runtime: &Runtime) -> Result<&'static Self> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        match &*loaded {
            Some((library, api)) if *library == runtime.library => Ok(api),
            Some((library, _)) => Err(Error::engine(format!(
                "cannot load this ONNX Runtime: the process has loaded {} already",
                library.display()
            ))
            .in_file(&runtime.library)),
            None => {
                let api: &'static Self = Box::leak(Box::new(Self::open(runtime)?));
                *loaded = Some((runtime.library.clone(), api));
                Ok(api)
            }
        }
    }

    fn open(runtime: &Runtime) -> Result<Self> {
        let refused = |e: &dyn std::fmt::Display| {
            Error::engine(format!("cannot start ONNX Runtime: {e}")).in_file(&runtime.library)
        };
        let environment = ort::init_from(&runtime.library)
            .map_err(|e| refused(&e))?
            .with_name("gnp")
            .with_telemetry(false)
            .build()
            .map_err(|e| refused(&e))?;
        // What goes wrong is said once, by our errors.
        environment.set_log_level(LogLevel::Fatal);
        let base = ort::api();
        let (mut allocator, mut cpu) = (ptr::null_mut(), ptr::null_mut());
        let default = (sys::OrtAllocatorType::OrtDeviceAllocator, sys::OrtMemType::OrtMemTypeDefault);
        // SAFETY: the out pointers are valid. Both results live as long as the process.
        unsafe {
            check(base, (base.GetAllocatorWithDefaultOptions)(&mut allocator))?;
            check(base, (base.CreateCpuMemoryInfo)(default.0, default.1, &mut cpu))?;
        }
        Ok(Self { environment, base, allocator, cpu })
    }

    pub(crate) fn environment(&self) -> *const OrtEnv {
        self.environment.ptr()
    }

    /// Turns a status into an error with ONNX Runtime's own message, and releases it.
    pub(crate) fn check(&self, status: OrtStatusPtr) -> Result<()> {
        check(self.base, status)
    }

    /// Takes over a string that ONNX Runtime has allocated.
    ///
    /// # Safety
    /// `text` is NUL-terminated, comes from the default allocator and is not used afterwards.
    pub(crate) unsafe fn take_string(&self, text: *const c_char) -> Result<String> {
        // SAFETY: by this function's contract.
        unsafe {
            let owned = CStr::from_ptr(text).to_string_lossy().into_owned();
            self.check((self.base.AllocatorFree)(self.allocator, text.cast_mut().cast()))?;
            Ok(owned)
        }
    }
}

fn check(base: &OrtApi, status: OrtStatusPtr) -> Result<()> {
    if status.0.is_null() {
        return Ok(());
    }
    // SAFETY: a status that is not null is valid until released, and so is its NUL-terminated message.
    let message = unsafe {
        let message = CStr::from_ptr((base.GetErrorMessage)(status.0)).to_string_lossy().into_owned();
        (base.ReleaseStatus)(status.0);
        message
    };
    Err(said(&message))
}

/// Where ONNX Runtime's messages have the name of a node, and its operator: what is before and after each.
const PLACES: [[(&str, &str); 2]; 4] = [
    [("Name:'", "'"), ("while running ", " node")],
    [("In Node, (\"", "\""), ("\", ", ",")],
    [("in node (", ")"), ("of operator (", ")")],
    [("Node (", ")"), ("Op (", ")")],
];

/// ONNX Runtime's message as an error at the user's node.
fn said(message: &str) -> Error {
    let error = Error::engine(format!("ONNX Runtime: {}", essence(message)));
    let between = |(before, after)| message.split_once(before)?.1.split_once(after).map(|(between, _)| between);
    match PLACES.iter().find_map(|[name, operator]| Some((between(*name)?, between(*operator)?))) {
        Some((name, operator)) => error.at_node(name, operator),
        None => error,
    }
}

/// ONNX Runtime's message on one line, without what comes first: the place and the condition in its source code, the
/// file, which its callers name.
fn essence(message: &str) -> String {
    let said = ["[ONNXRuntimeError] : ", " was false. "]
        .iter()
        .fold(message, |message, mark| message.rsplit_once(mark).map_or(message, |(_, said)| said));
    let said = said
        .strip_prefix("Load model from ")
        .and_then(|said| said.split_once(" failed:"))
        .map_or(said, |(_, said)| said);
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `text` for C. What comes from files may hold a NUL, which no name in ONNX Runtime can.
pub(crate) fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::input(format!("the name {text:?} holds a NUL character")))
}

/// `path` in the encoding of the platform's ONNX Runtime, NUL-terminated.
#[cfg(not(windows))]
pub(crate) fn c_path(path: &Path) -> Result<Vec<sys::os_char>> {
    let path = path.as_os_str().as_encoded_bytes();
    let path = CString::new(path).map_err(|_| Error::input("the path holds a NUL character"))?;
    Ok(path.as_bytes_with_nul().iter().map(|&byte| byte as sys::os_char).collect())
}

/// `path` in the encoding of the platform's ONNX Runtime, NUL-terminated.
#[cfg(windows)]
pub(crate) fn c_path(path: &Path) -> Result<Vec<sys::os_char>> {
    use std::os::windows::ffi::OsStrExt;
    Ok(path.as_os_str().encode_wide().chain([0]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_lose_the_source_code() {
        let thrown =
            "/src/module.cc:632 Status TrainStep() [ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Wrong input.\n Fix it.";
        assert_eq!(essence(thrown), "2 : INVALID_ARGUMENT : Wrong input. Fix it.");
        assert_eq!(
            essence("/src/module.cc:224 Status CopyFrom() a == b was false. Shape mismatch."),
            "Shape mismatch."
        );
        assert_eq!(essence("Checkpoint verification failed."), "Checkpoint verification failed.");
        assert_eq!(essence("Load model from /a b/m.onnx failed:Type Error: wrong"), "Type Error: wrong");
    }

    #[test]
    fn messages_name_the_users_node() {
        let running = "Non-zero status code returned while running Reshape node. Name:'gnp/perturbed//net/R' Status Message: \
                       /src/reshape_helper.h:47 ReshapeHelper() was false. cannot be reshaped";
        assert_eq!(
            said(running).to_string(),
            "node `/net/R` (Reshape, in the second pass): ONNX Runtime: cannot be reshaped"
        );
        let loading = "Load model from s.onnx failed:Type Error: Type 'tensor(int32)' of input parameter (gnp/gradient/a/Shape) of \
                       operator (Pad) in node (gnp/gradient/b/Pad.1) is invalid.";
        assert_eq!(
            said(loading).to_string(),
            "node `b` (Pad of its gradient): ONNX Runtime: Type Error: Type 'tensor(int32)' of input parameter (a/Shape of its gradient) \
             of operator (Pad) in node (b/Pad.1 of its gradient) is invalid."
        );
        let inferring = "Node (gnp/perturbed/a) Op (Reshape) [ShapeInferenceError] wrong";
        assert_eq!(
            said(inferring).to_string(),
            "node `a` (Reshape, in the second pass): ONNX Runtime: Node (a, in the second pass) Op (Reshape) [ShapeInferenceError] wrong"
        );
    }
}
