//! The attributes of a call.

use super::status::check;
use gnp_base::{Error, Result};
use ort_sys::{OrtApi, OrtKernelInfo};
use std::ffi::CStr;
use std::ptr;

/// The attributes of the node that a kernel is made for.
pub(crate) struct Attributes<'a> {
    api: &'static OrtApi,
    info: &'a OrtKernelInfo,
}

impl<'a> Attributes<'a> {
    /// # Safety
    /// `info` is valid for `'a`, and of the ONNX Runtime of `api`.
    pub(crate) unsafe fn new(api: &'static OrtApi, info: *const OrtKernelInfo) -> Option<Self> {
        // SAFETY: by this function's contract.
        unsafe { info.as_ref() }.map(|info| Self { api, info })
    }

    /// A text that has to be there.
    pub(crate) fn text(&self, name: &CStr) -> Result<String> {
        let mut size = 0;
        // SAFETY: the name is NUL-terminated; the first call asks for the size, with the NUL; the second has that room.
        let mut text = unsafe {
            let call =
                |out, size: &mut usize| (self.api.KernelInfoGetAttribute_string)(self.info, name.as_ptr(), out, size);
            check(self.api, call(ptr::null_mut(), &mut size)).map_err(|_| missing(name))?;
            let mut text = vec![0u8; size];
            check(self.api, call(text.as_mut_ptr().cast(), &mut size))?;
            text
        };
        text.pop();
        String::from_utf8(text).map_err(|_| Error::input(format!("the attribute {name:?} is no text")))
    }

    /// A whole number, or `default` where there is none.
    pub(crate) fn int(&self, name: &CStr, default: i64) -> i64 {
        let mut value = default;
        // SAFETY: the name is NUL-terminated and the out pointer valid.
        let found =
            unsafe { check(self.api, (self.api.KernelInfoGetAttribute_int64)(self.info, name.as_ptr(), &mut value)) };
        found.map_or(default, |()| value)
    }

    /// A number, or `default` where there is none.
    pub(crate) fn float(&self, name: &CStr, default: f32) -> f32 {
        let mut value = default;
        // SAFETY: as above.
        let found =
            unsafe { check(self.api, (self.api.KernelInfoGetAttribute_float)(self.info, name.as_ptr(), &mut value)) };
        found.map_or(default, |()| value)
    }

    /// Whole numbers; none where the attribute is not there.
    pub(crate) fn ints(&self, name: &CStr) -> Result<Vec<i64>> {
        let mut size = 0;
        // SAFETY: the name is NUL-terminated; the first call asks for the size, the second has that room.
        unsafe {
            let call = |out, size: &mut usize| {
                (self.api.KernelInfoGetAttributeArray_int64)(self.info, name.as_ptr(), out, size)
            };
            if check(self.api, call(ptr::null_mut(), &mut size)).is_err() || size == 0 {
                return Ok(Vec::new());
            }
            let mut values = vec![0; size];
            check(self.api, call(values.as_mut_ptr(), &mut size))?;
            Ok(values)
        }
    }
}

fn missing(name: &CStr) -> Error {
    Error::input(format!("the attribute {name:?} is missing"))
}
