//! cuDNN's functions, from the library that ONNX Runtime computes with.
//!
//! The library is asked for by the name with its major version: a system may have one of another version under the
//! plain name, and two of them in a process refuse each other's parts.

use cudarc::cudnn::sys::*;
use libloading::Library;
use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;

#[cfg(not(windows))]
const NAMES: [&str; 2] = ["libcudnn.so.9", "libcudnn.so.8"];
#[cfg(windows)]
const NAMES: [&str; 2] = ["cudnn64_9.dll", "cudnn64_8.dll"];

/// Declares the table of functions: each field is loaded under its name.
macro_rules! table {
    ($($name:ident: fn($($argument:ty),*) -> $result:ty;)*) => {
        /// The functions that are called. The library stays loaded.
        #[expect(non_snake_case, reason = "the names are the library's")]
        pub(in super::super) struct Api {
            $(pub(in super::super) $name: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl Api {
            /// # Safety
            /// `library` is cuDNN 8 or 9.
            unsafe fn of(library: &Library) -> Result<Self, libloading::Error> {
                // SAFETY: these are the declarations of both versions.
                unsafe { Ok(Self { $($name: *library.get(stringify!($name))?,)* }) }
            }
        }
    };
}

table! {
    cudnnCreate: fn(*mut cudnnHandle_t) -> cudnnStatus_t;
    cudnnSetStream: fn(cudnnHandle_t, cudaStream_t) -> cudnnStatus_t;
    cudnnGetErrorString: fn(cudnnStatus_t) -> *const c_char;
    cudnnCreateTensorDescriptor: fn(*mut cudnnTensorDescriptor_t) -> cudnnStatus_t;
    cudnnSetTensorNdDescriptor: fn(cudnnTensorDescriptor_t, cudnnDataType_t, c_int, *const c_int, *const c_int) -> cudnnStatus_t;
    cudnnDestroyTensorDescriptor: fn(cudnnTensorDescriptor_t) -> cudnnStatus_t;
    cudnnCreateFilterDescriptor: fn(*mut cudnnFilterDescriptor_t) -> cudnnStatus_t;
    cudnnSetFilterNdDescriptor: fn(cudnnFilterDescriptor_t, cudnnDataType_t, cudnnTensorFormat_t, c_int, *const c_int) -> cudnnStatus_t;
    cudnnDestroyFilterDescriptor: fn(cudnnFilterDescriptor_t) -> cudnnStatus_t;
    cudnnCreateConvolutionDescriptor: fn(*mut cudnnConvolutionDescriptor_t) -> cudnnStatus_t;
    cudnnSetConvolutionNdDescriptor: fn(cudnnConvolutionDescriptor_t, c_int, *const c_int, *const c_int, *const c_int, cudnnConvolutionMode_t, cudnnDataType_t) -> cudnnStatus_t;
    cudnnSetConvolutionGroupCount: fn(cudnnConvolutionDescriptor_t, c_int) -> cudnnStatus_t;
    cudnnSetConvolutionMathType: fn(cudnnConvolutionDescriptor_t, cudnnMathType_t) -> cudnnStatus_t;
    cudnnDestroyConvolutionDescriptor: fn(cudnnConvolutionDescriptor_t) -> cudnnStatus_t;
    cudnnTransformTensor: fn(cudnnHandle_t, *const c_void, cudnnTensorDescriptor_t, *const c_void, *const c_void, cudnnTensorDescriptor_t, *mut c_void) -> cudnnStatus_t;
    cudnnFindConvolutionBackwardFilterAlgorithmEx: fn(cudnnHandle_t, cudnnTensorDescriptor_t, *const c_void, cudnnTensorDescriptor_t, *const c_void, cudnnConvolutionDescriptor_t, cudnnFilterDescriptor_t, *mut c_void, c_int, *mut c_int, *mut cudnnConvolutionBwdFilterAlgoPerf_t, *mut c_void, usize) -> cudnnStatus_t;
    cudnnFindConvolutionBackwardDataAlgorithmEx: fn(cudnnHandle_t, cudnnFilterDescriptor_t, *const c_void, cudnnTensorDescriptor_t, *const c_void, cudnnConvolutionDescriptor_t, cudnnTensorDescriptor_t, *mut c_void, c_int, *mut c_int, *mut cudnnConvolutionBwdDataAlgoPerf_t, *mut c_void, usize) -> cudnnStatus_t;
    cudnnConvolutionBackwardFilter: fn(cudnnHandle_t, *const c_void, cudnnTensorDescriptor_t, *const c_void, cudnnTensorDescriptor_t, *const c_void, cudnnConvolutionDescriptor_t, cudnnConvolutionBwdFilterAlgo_t, *mut c_void, usize, *const c_void, cudnnFilterDescriptor_t, *mut c_void) -> cudnnStatus_t;
    cudnnConvolutionBackwardData: fn(cudnnHandle_t, *const c_void, cudnnFilterDescriptor_t, *const c_void, cudnnTensorDescriptor_t, *const c_void, cudnnConvolutionDescriptor_t, cudnnConvolutionBwdDataAlgo_t, *mut c_void, usize, *const c_void, cudnnTensorDescriptor_t, *mut c_void) -> cudnnStatus_t;
}

impl Api {
    /// The table, where the library is there.
    pub(super) fn find() -> Option<&'static Self> {
        static API: OnceLock<Option<Api>> = OnceLock::new();
        let load = |name: &&str| {
            // SAFETY: loading runs the library's initialisers; it is NVIDIA's, where the loader finds it.
            let library = unsafe { Library::new(*name) }.ok()?;
            // SAFETY: the name says the version.
            let api = unsafe { Self::of(&library) }.ok()?;
            std::mem::forget(library);
            Some(api)
        };
        API.get_or_init(|| NAMES.iter().find_map(load)).as_ref()
    }
}
