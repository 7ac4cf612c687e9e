//! ONNX Runtime's statuses, from errors and to them; panics among the errors.

use gnp_base::{Error, Result};
use ort_sys::{OrtApi, OrtErrorCode, OrtStatusPtr};
use std::any::Any;
use std::ffi::{CStr, CString};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

/// Turns a status into an error, and releases it.
///
/// # Safety
/// `status` comes from `api`, and is not used afterwards.
pub(crate) unsafe fn check(api: &OrtApi, status: OrtStatusPtr) -> Result<()> {
    if status.0.is_null() {
        return Ok(());
    }
    // SAFETY: a status that is not null is valid until released, and so is its NUL-terminated message.
    let message = unsafe {
        let message = CStr::from_ptr((api.GetErrorMessage)(status.0)).to_string_lossy().into_owned();
        (api.ReleaseStatus)(status.0);
        message
    };
    Err(Error::engine(message))
}

/// What `of` comes to as a status. No panic gets through it.
pub(crate) fn of(api: &OrtApi, of: impl FnOnce() -> Result<()>) -> OrtStatusPtr {
    let result = caught(of).and_then(|result| result);
    let Err(error) = result else { return OrtStatusPtr(ptr::null_mut()) };
    let message = CString::new(error.to_string()).unwrap_or_default();
    // SAFETY: the message is NUL-terminated, and copied.
    unsafe { (api.CreateStatus)(OrtErrorCode::ORT_FAIL, message.as_ptr()) }
}

/// What `of` returns, or its panic as an error.
pub(crate) fn caught<T>(of: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(of)).map_err(|panic| Error::internal(format!("a kernel failed: {}", words(&*panic))))
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("for a reason that it does not tell")
}
