//! cuDNN's functions, loaded when they are first called, its handles and its descriptors.
//!
//! The functions are declared here for the sake of their statuses, which are other numbers in cuDNN 8 than in 9: they
//! are integers here, while cudarc has an enumeration of one version's. What is declared is the same in both.

use super::device::Device;
use cudarc::cudnn::sys::{cudnnConvolutionMode_t, cudnnDataType_t, cudnnTensorFormat_t};
use cudarc::driver::sys::CUstream;
use gnp_base::{Error, Result};
use libloading::Library;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Mutex, OnceLock, PoisonError};

/// What cuDNN's handles and descriptors are: pointers to something of its own.
pub(super) type Raw = *mut c_void;

/// What cuDNN says of an algorithm: `cudnnConvolutionBwdFilterAlgoPerf_t`, and the same with `Data`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Candidate {
    pub(super) algorithm: u32,
    /// Zero where the algorithm can be used.
    pub(super) status: u32,
    pub(super) milliseconds: f32,
    /// How many bytes it works in.
    pub(super) memory: usize,
    pub(super) determinism: u32,
    pub(super) math: u32,
    pub(super) reserved: [c_int; 3],
}

macro_rules! functions {
    ($($name:ident = $symbol:literal ($($argument:ident: $type:ty),*);)*) => {$(
        /// cuDNN's function of that name.
        ///
        /// # Safety
        /// As its documentation says.
        #[allow(clippy::too_many_arguments, reason = "they are those of cuDNN")]
        pub(super) unsafe fn $name($($argument: $type),*) -> Result<()> {
            static FUNCTION: OnceLock<unsafe extern "C" fn($($type),*) -> u32> = OnceLock::new();
            let function = match FUNCTION.get() {
                Some(function) => function,
                None => {
                    // SAFETY: the type is that of the function in cuDNN's headers.
                    let function = unsafe { symbol($symbol) }?;
                    FUNCTION.get_or_init(|| function)
                }
            };
            // SAFETY: the contract of this function.
            check($symbol, unsafe { function($($argument),*) })
        }
    )*};
}

functions! {
    create = "cudnnCreate"(handle: *mut Raw);
    set_stream = "cudnnSetStream"(handle: Raw, stream: CUstream);

    create_tensor = "cudnnCreateTensorDescriptor"(tensor: *mut Raw);
    destroy_tensor = "cudnnDestroyTensorDescriptor"(tensor: Raw);
    set_tensor = "cudnnSetTensorNdDescriptor"(
        tensor: Raw, numbers: u32, axes: c_int, sizes: *const c_int, strides: *const c_int);
    create_filter = "cudnnCreateFilterDescriptor"(filter: *mut Raw);
    destroy_filter = "cudnnDestroyFilterDescriptor"(filter: Raw);
    set_filter = "cudnnSetFilterNdDescriptor"(
        filter: Raw, numbers: u32, format: u32, axes: c_int, sizes: *const c_int);
    create_convolution = "cudnnCreateConvolutionDescriptor"(convolution: *mut Raw);
    destroy_convolution = "cudnnDestroyConvolutionDescriptor"(convolution: Raw);
    set_convolution = "cudnnSetConvolutionNdDescriptor"(
        convolution: Raw, axes: c_int, pads: *const c_int, strides: *const c_int, dilations: *const c_int,
        mode: u32, numbers: u32);
    set_groups = "cudnnSetConvolutionGroupCount"(convolution: Raw, groups: c_int);
    set_math = "cudnnSetConvolutionMathType"(convolution: Raw, math: u32);

    list_weight = "cudnnGetConvolutionBackwardFilterAlgorithm_v7"(
        handle: Raw, x: Raw, dy: Raw, convolution: Raw, dw: Raw,
        room: c_int, count: *mut c_int, candidates: *mut Candidate);
    list_input = "cudnnGetConvolutionBackwardDataAlgorithm_v7"(
        handle: Raw, w: Raw, dy: Raw, convolution: Raw, dx: Raw,
        room: c_int, count: *mut c_int, candidates: *mut Candidate);
    measure_weight = "cudnnFindConvolutionBackwardFilterAlgorithmEx"(
        handle: Raw, x: Raw, x_at: u64, dy: Raw, dy_at: u64, convolution: Raw, dw: Raw, dw_at: u64,
        room: c_int, count: *mut c_int, candidates: *mut Candidate, workspace: u64, bytes: usize);
    measure_input = "cudnnFindConvolutionBackwardDataAlgorithmEx"(
        handle: Raw, w: Raw, w_at: u64, dy: Raw, dy_at: u64, convolution: Raw, dx: Raw, dx_at: u64,
        room: c_int, count: *mut c_int, candidates: *mut Candidate, workspace: u64, bytes: usize);
    room_weight = "cudnnGetConvolutionBackwardFilterWorkspaceSize"(
        handle: Raw, x: Raw, dy: Raw, convolution: Raw, dw: Raw, algorithm: u32, bytes: *mut usize);
    room_input = "cudnnGetConvolutionBackwardDataWorkspaceSize"(
        handle: Raw, w: Raw, dy: Raw, convolution: Raw, dx: Raw, algorithm: u32, bytes: *mut usize);
    grad_weight = "cudnnConvolutionBackwardFilter"(
        handle: Raw, alpha: *const f32, x: Raw, x_at: u64, dy: Raw, dy_at: u64, convolution: Raw,
        algorithm: u32, workspace: u64, bytes: usize, beta: *const f32, dw: Raw, dw_at: u64);
    grad_input = "cudnnConvolutionBackwardData"(
        handle: Raw, alpha: *const f32, w: Raw, w_at: u64, dy: Raw, dy_at: u64, convolution: Raw,
        algorithm: u32, workspace: u64, bytes: usize, beta: *const f32, dx: Raw, dx_at: u64);
}

#[cfg(test)]
functions! {
    output_sizes = "cudnnGetConvolutionNdForwardOutputDim"(
        convolution: Raw, x: Raw, w: Raw, axes: c_int, sizes: *mut c_int);
}

/// The names of cuDNN's library, with its major version: a system may have one of another version under the plain name,
/// and two of them in a process refuse each other's parts.
#[cfg(not(windows))]
const NAMES: [&str; 2] = ["libcudnn.so.9", "libcudnn.so.8"];
#[cfg(windows)]
const NAMES: [&str; 2] = ["cudnn64_9.dll", "cudnn64_8.dll"];

/// The library, which stays loaded: the one that ONNX Runtime has loaded, where it has.
fn library() -> Option<&'static Library> {
    static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();
    // SAFETY: loading runs the library's initialisers; it is NVIDIA's, where the loader finds it.
    LIBRARY.get_or_init(|| NAMES.iter().find_map(|name| unsafe { Library::new(*name) }.ok())).as_ref()
}

/// Whether the library is there.
pub(super) fn is_there() -> bool {
    library().is_some()
}

/// # Safety
/// F is the type of the function of that name.
unsafe fn symbol<F: Copy>(name: &str) -> Result<F> {
    let library = library().ok_or_else(|| Error::engine("the library cuDNN, version 8 or 9, is not found"))?;
    // SAFETY: by this function's contract.
    let symbol = unsafe { library.get::<F>(name.as_bytes()) };
    symbol.map(|symbol| *symbol).map_err(|error| Error::engine(format!("cuDNN has no {name}: {error}")))
}

fn check(function: &str, status: u32) -> Result<()> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: the function takes any number, and what it returns is a text that stays.
    let words = unsafe {
        let words = symbol::<unsafe extern "C" fn(u32) -> *const c_char>("cudnnGetErrorString")?;
        CStr::from_ptr(words(status)).to_string_lossy()
    };
    Err(Error::engine(format!("cuDNN's {function}: {words}")))
}

/// Gives `work` a handle, whose calls go into `stream`. It is the caller's alone meanwhile, and is kept for the next:
/// making one takes long.
pub(super) fn with_handle<T>(device: Device, stream: CUstream, work: impl FnOnce(Raw) -> Result<T>) -> Result<T> {
    struct Handle(Raw);
    // SAFETY: cuDNN takes a handle on any thread, on one at a time.
    unsafe impl Send for Handle {}
    static IDLE: Mutex<Vec<(Device, Handle)>> = Mutex::new(Vec::new());
    let idle = || IDLE.lock().unwrap_or_else(PoisonError::into_inner);

    let kept = {
        let mut idle = idle();
        let place = idle.iter().position(|(of, _)| *of == device);
        place.map(|place| idle.swap_remove(place).1.0)
    };
    let handle = match kept {
        Some(handle) => handle,
        None => {
            let mut handle = std::ptr::null_mut();
            // SAFETY: the out pointer is valid, and the thread has the card's context.
            unsafe { create(&mut handle) }?;
            handle
        }
    };
    // SAFETY: the handle is valid, and the stream is one of its card.
    let result = unsafe { set_stream(handle, stream) }.and_then(|()| work(handle));
    idle().push((device, Handle(handle)));
    result
}

/// What describes a tensor or a convolution to cuDNN.
pub(super) struct Descriptor {
    raw: Raw,
    destroy: unsafe fn(Raw) -> Result<()>,
}

// SAFETY: after it is made, cuDNN only reads it.
unsafe impl Send for Descriptor {}
// SAFETY: as above.
unsafe impl Sync for Descriptor {}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nobody has it any more. Nothing can be done where cuDNN refuses.
        let _ = unsafe { (self.destroy)(self.raw) };
    }
}

impl Descriptor {
    fn new(create: unsafe fn(*mut Raw) -> Result<()>, destroy: unsafe fn(Raw) -> Result<()>) -> Result<Self> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: the out pointer is valid.
        unsafe { create(&mut raw) }?;
        Ok(Self { raw, destroy })
    }

    pub(super) fn raw(&self) -> Raw {
        self.raw
    }

    /// Of a float32 tensor in row-major order, of less than 2³¹ elements.
    pub(super) fn tensor(sizes: &[c_int]) -> Result<Self> {
        let mut strides = vec![1; sizes.len()];
        for axis in (1..sizes.len()).rev() {
            strides[axis - 1] = strides[axis] * sizes[axis];
        }
        let new = Self::new(create_tensor, destroy_tensor)?;
        let float = cudnnDataType_t::CUDNN_DATA_FLOAT as u32;
        // SAFETY: the lists have so many entries.
        unsafe { set_tensor(new.raw, float, sizes.len() as c_int, sizes.as_ptr(), strides.as_ptr()) }?;
        Ok(new)
    }

    /// Of float32 weights in row-major order.
    pub(super) fn filter(sizes: &[c_int]) -> Result<Self> {
        let new = Self::new(create_filter, destroy_filter)?;
        let float = cudnnDataType_t::CUDNN_DATA_FLOAT as u32;
        let format = cudnnTensorFormat_t::CUDNN_TENSOR_NCHW as u32;
        // SAFETY: the list has so many entries.
        unsafe { set_filter(new.raw, float, format, sizes.len() as c_int, sizes.as_ptr()) }?;
        Ok(new)
    }

    /// Of a convolution that adds up float32, with as many entries in each list.
    pub(super) fn convolution(
        pads: &[c_int],
        strides: &[c_int],
        dilations: &[c_int],
        groups: c_int,
        math: u32,
    ) -> Result<Self> {
        let new = Self::new(create_convolution, destroy_convolution)?;
        let float = cudnnDataType_t::CUDNN_DATA_FLOAT as u32;
        // As the standard's `Conv` is.
        let mode = cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION as u32;
        let (axes, pads, strides, dilations) =
            (pads.len() as c_int, pads.as_ptr(), strides.as_ptr(), dilations.as_ptr());
        // SAFETY: the lists have so many entries.
        unsafe {
            set_convolution(new.raw, axes, pads, strides, dilations, mode, float)?;
            set_groups(new.raw, groups)?;
            set_math(new.raw, math)?;
        }
        Ok(new)
    }
}
