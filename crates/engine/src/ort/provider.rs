//! The execution provider for NVIDIA's cards, and its options.

use super::api::{Api, c_string};
use crate::{EngineOptions, OrtOption, Tf32};
use gnp_base::{Error, Result};
use ort::sys::{OrtCUDAProviderOptionsV2, OrtSessionOptions};
use std::ffi::CString;
use std::ptr;

/// Options of the provider that flags of ours set.
const OURS: [(&str, &str); 3] =
    [("device_id", "--device"), ("use_tf32", "--tf32"), ("enable_cuda_graph", "--cuda-graph")];

/// Options of the provider that are addresses, or say that one is given: nobody outside of the process knows one.
const ADDRESSES: [&str; 5] = [
    "user_compute_stream",
    "has_user_compute_stream",
    "gpu_external_alloc",
    "gpu_external_free",
    "gpu_external_empty_cache",
];

/// Has sessions with the options `session` compute on the card `number`; with `records`, the provider records what it
/// does as CUDA graphs.
///
/// # Errors
/// Where ONNX Runtime refuses an option, or the provider does not start.
pub(super) fn append_cuda(
    api: &'static Api,
    session: *mut OrtSessionOptions,
    number: u32,
    options: &EngineOptions,
    records: bool,
) -> Result<()> {
    let cuda = Options::new(api)?;
    let mut entries = vec![("device_id".to_owned(), number.to_string())];
    if let Some(tf32) = options.tf32 {
        entries.push(("use_tf32".to_owned(), u8::from(tf32 == Tf32::On).to_string()));
    }
    if records {
        entries.push(("enable_cuda_graph".to_owned(), "1".to_owned()));
    }
    for option in options.ort.iter().filter(|option| !option.is_of_sessions()) {
        check(option)?;
        let entry = (option.key.clone(), option.value.clone());
        cuda.set(std::slice::from_ref(&entry))
            .map_err(|e| Error::input(format!("--ort-option {option} is refused: {e}")))?;
        entries.push(entry);
    }
    // What one call does not name has its default again.
    cuda.set(&entries)?;
    // SAFETY: both kinds of options are valid.
    api.check(unsafe { (api.base.SessionOptionsAppendExecutionProvider_CUDA_V2)(session, cuda.pointer) })
}

fn check(option: &OrtOption) -> Result<()> {
    let key = option.key.as_str();
    if let Some((_, flag)) = OURS.iter().find(|(ours, _)| *ours == key) {
        return Err(Error::input(format!("--ort-option {option}: {flag} decides that")).help(format!("use {flag}")));
    }
    if ADDRESSES.contains(&key) {
        return Err(Error::input(format!(
            "--ort-option {option}: that is for programs with a stream or memory of their own"
        ))
        .help("leave it out"));
    }
    Ok(())
}

/// The provider's options in ONNX Runtime's own form.
struct Options {
    api: &'static Api,
    pointer: *mut OrtCUDAProviderOptionsV2,
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: the options are ours, and the session's options keep their own copy.
        unsafe { (self.api.base.ReleaseCUDAProviderOptions)(self.pointer) }
    }
}

impl Options {
    fn new(api: &'static Api) -> Result<Self> {
        let mut pointer = ptr::null_mut();
        // SAFETY: the out pointer is valid.
        api.check(unsafe { (api.base.CreateCUDAProviderOptions)(&mut pointer) })?;
        Ok(Self { api, pointer })
    }

    fn set(&self, entries: &[(String, String)]) -> Result<()> {
        let c_strings = |texts: Vec<&String>| texts.into_iter().map(|text| c_string(text)).collect::<Result<Vec<_>>>();
        let keys = c_strings(entries.iter().map(|(key, _)| key).collect())?;
        let values = c_strings(entries.iter().map(|(_, value)| value).collect())?;
        let pointers = |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
        let (keys, values) = (pointers(&keys), pointers(&values));
        // SAFETY: the options are valid, the arrays have one length, and all lives through the call.
        self.api.check(unsafe {
            (self.api.base.UpdateCUDAProviderOptions)(self.pointer, keys.as_ptr(), values.as_ptr(), entries.len())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_flags_decide_and_addresses_are_refused() {
        let refused = |text: &str| check(&text.parse().unwrap()).unwrap_err();
        assert_eq!(refused("use_tf32=0").to_string(), "--ort-option use_tf32=0: --tf32 decides that");
        assert_eq!(refused("device_id=1").help_text(), Some("use --device"));
        assert!(refused("user_compute_stream=1").to_string().contains("programs with a stream"));
        check(&"cudnn_conv_algo_search=DEFAULT".parse().unwrap()).unwrap();
    }
}
