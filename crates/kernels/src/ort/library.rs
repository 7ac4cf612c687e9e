//! What the shared library exports.

use super::{API_VERSION, Target, kernels, register, status};
use ort_sys::{OrtApiBase, OrtSessionOptions, OrtStatusPtr};
use std::ptr;

/// The entry point that ONNX Runtime looks for in a library of custom operators: adds the kernels of functions to the
/// options of a session (`RegisterCustomOpsLibrary` of the C API).
///
/// # Safety
/// It is called by ONNX Runtime, with its own table of functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RegisterCustomOps(options: *mut OrtSessionOptions, base: *const OrtApiBase) -> OrtStatusPtr {
    // SAFETY: the table is ONNX Runtime's, and lives as long as its library. One that is too old has no such version,
    // and no other way to tell; the session then runs the functions' bodies.
    let Some(api) = (unsafe { base.as_ref().and_then(|base| (base.GetApi)(API_VERSION).as_ref()) }) else {
        return OrtStatusPtr(ptr::null_mut());
    };
    status::of(api, || {
        #[cfg(feature = "cuda")]
        let is_on_card = crate::cuda::missing().is_none();
        let targets = [
            Some(Target::Cpu),
            #[cfg(feature = "cuda")]
            is_on_card.then_some(Target::Cuda { tf32: true }),
        ];
        let targets: Vec<Target> = targets.into_iter().flatten().collect();
        let names: Vec<String> =
            kernels(Target::Cpu).filter(|(kind, ..)| kind.is_function).map(|(.., name)| name).collect();
        // SAFETY: the options are those of a session of this ONNX Runtime.
        unsafe { register(api, options, &targets, names.iter().map(String::as_str)) }
    })
}
