//! cuDNN's handle and descriptors, released when they are dropped.

mod api;

use super::conv::strides;
use super::device::Device;
use api::Api;
use cudarc::cudnn::sys::{
    cudnnConvolutionDescriptor_t, cudnnConvolutionMode_t, cudnnDataType_t, cudnnFilterDescriptor_t, cudnnHandle_t,
    cudnnMathType_t, cudnnStatus_t, cudnnTensorDescriptor_t, cudnnTensorFormat_t,
};
use cudarc::driver::sys::CUstream;
use gnp_base::{Error, Result};
use std::collections::HashMap;
use std::ffi::{CStr, c_int};
use std::sync::{LazyLock, Mutex, PoisonError};

const FLOAT: cudnnDataType_t = cudnnDataType_t::CUDNN_DATA_FLOAT;

/// cuDNN's functions.
pub(super) fn api() -> Result<&'static Api> {
    Api::find().ok_or_else(|| Error::engine("cannot load the library cuDNN, version 8 or 9"))
}

/// Whether the library is there.
pub(super) fn is_there() -> bool {
    Api::find().is_some()
}

/// What cuDNN says.
pub(super) fn check(status: cudnnStatus_t) -> Result<()> {
    if status == cudnnStatus_t::CUDNN_STATUS_SUCCESS {
        return Ok(());
    }
    // SAFETY: the text is NUL-terminated and lives as long as the library.
    let says = unsafe { CStr::from_ptr((api()?.cudnnGetErrorString)(status)) };
    Err(Error::engine(format!("cuDNN: {}", says.to_string_lossy())))
}

/// cuDNN on a card.
pub(super) struct Handle(cudnnHandle_t);

// SAFETY: cuDNN takes a handle on any thread, one at a time.
unsafe impl Send for Handle {}

impl Handle {
    /// Calls cuDNN for a stream of the current card. There is one handle a card, for the whole process: to make one
    /// takes a tenth of a second.
    pub(super) fn with<T>(
        device: Device,
        stream: CUstream,
        call: impl FnOnce(cudnnHandle_t) -> Result<T>,
    ) -> Result<T> {
        static HANDLES: LazyLock<Mutex<HashMap<Device, Handle>>> = LazyLock::new(Mutex::default);
        let mut handles = HANDLES.lock().unwrap_or_else(PoisonError::into_inner);
        let pointer = match handles.get(&device) {
            Some(handle) => handle.0,
            None => {
                let mut pointer = std::ptr::null_mut();
                // SAFETY: the out pointer is valid. The handle stays for the process.
                check(unsafe { (api()?.cudnnCreate)(&mut pointer) })?;
                handles.insert(device, Self(pointer));
                pointer
            }
        };
        // SAFETY: the handle is valid, and nobody else uses it while the lock is held.
        check(unsafe { (api()?.cudnnSetStream)(pointer, stream.cast()) })?;
        call(pointer)
    }
}

/// Sizes as cuDNN takes them, for two spatial axes at least: one alone is the second of two.
fn sizes(shape: &[usize], missing: usize) -> Result<Vec<c_int>> {
    let size = |&size: &usize| {
        c_int::try_from(size).map_err(|_| Error::input(format!("{shape:?} is larger than cuDNN's tensors")))
    };
    let mut sizes: Vec<c_int> = shape.iter().map(size).collect::<Result<_>>()?;
    if sizes.len() == 3 {
        sizes.insert(2, size(&missing)?);
    }
    Ok(sizes)
}

/// A tensor's shape and strides.
pub(super) struct Shape(cudnnTensorDescriptor_t);

// SAFETY: what is not written is read on any thread.
unsafe impl Send for Shape {}

impl Shape {
    /// A tensor \[N, C, spatial…\] in row-major order.
    pub(super) fn plain(shape: &[usize]) -> Result<Self> {
        Self::new(shape, &strides(shape))
    }

    pub(super) fn new(shape: &[usize], strides: &[usize]) -> Result<Self> {
        let (sizes, strides) = (sizes(shape, 1)?, sizes(strides, strides.get(2).copied().unwrap_or(1))?);
        let mut pointer = std::ptr::null_mut();
        // SAFETY: the out pointer is valid; the lists have one length.
        unsafe {
            check((api()?.cudnnCreateTensorDescriptor)(&mut pointer))?;
            let new = Self(pointer);
            let rank = sizes.len() as c_int;
            check((api()?.cudnnSetTensorNdDescriptor)(pointer, FLOAT, rank, sizes.as_ptr(), strides.as_ptr()))?;
            Ok(new)
        }
    }

    pub(super) fn pointer(&self) -> cudnnTensorDescriptor_t {
        self.0
    }
}

impl Drop for Shape {
    fn drop(&mut self) {
        if let Some(api) = Api::find() {
            // SAFETY: the descriptor is ours.
            let _ = unsafe { (api.cudnnDestroyTensorDescriptor)(self.0) };
        }
    }
}

/// The shape of a convolution's weights.
pub(super) struct Filter(cudnnFilterDescriptor_t);

// SAFETY: what is not written is read on any thread.
unsafe impl Send for Filter {}

impl Filter {
    /// Weights \[M, C / group, kernel…\] in row-major order.
    pub(super) fn new(shape: &[usize]) -> Result<Self> {
        let sizes = sizes(shape, 1)?;
        let mut pointer = std::ptr::null_mut();
        // SAFETY: the out pointer is valid, and the list has that length.
        unsafe {
            check((api()?.cudnnCreateFilterDescriptor)(&mut pointer))?;
            let new = Self(pointer);
            let (format, rank) = (cudnnTensorFormat_t::CUDNN_TENSOR_NCHW, sizes.len() as c_int);
            check((api()?.cudnnSetFilterNdDescriptor)(pointer, FLOAT, format, rank, sizes.as_ptr()))?;
            Ok(new)
        }
    }

    pub(super) fn pointer(&self) -> cudnnFilterDescriptor_t {
        self.0
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        if let Some(api) = Api::find() {
            // SAFETY: the descriptor is ours.
            let _ = unsafe { (api.cudnnDestroyFilterDescriptor)(self.0) };
        }
    }
}

/// The window of a convolution.
pub(super) struct ConvDescriptor {
    pointer: cudnnConvolutionDescriptor_t,
    /// How it may round.
    pub(super) math: cudnnMathType_t,
}

// SAFETY: it is used by one thread at a time, with the handle.
unsafe impl Send for ConvDescriptor {}

impl ConvDescriptor {
    pub(super) fn new(
        pads: &[usize],
        strides: &[usize],
        dilations: &[usize],
        group: usize,
        math: cudnnMathType_t,
    ) -> Result<Self> {
        let axes = |list: &[usize], missing| {
            // With the two axes before the spatial ones.
            sizes(&[&[1, 1], list].concat(), missing).map(|sizes| sizes[2..].to_vec())
        };
        let (pads, strides, dilations) = (axes(pads, 0)?, axes(strides, 1)?, axes(dilations, 1)?);
        let group = c_int::try_from(group).map_err(|_| Error::input("a convolution has more groups than cuDNN's"))?;
        let mut pointer = std::ptr::null_mut();
        // SAFETY: the out pointer is valid; the lists have one length.
        unsafe {
            check((api()?.cudnnCreateConvolutionDescriptor)(&mut pointer))?;
            let new = Self { pointer, math };
            let (mode, count) = (cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION, pads.len() as c_int);
            let (pads, strides, dilations) = (pads.as_ptr(), strides.as_ptr(), dilations.as_ptr());
            check((api()?.cudnnSetConvolutionNdDescriptor)(pointer, count, pads, strides, dilations, mode, FLOAT))?;
            check((api()?.cudnnSetConvolutionGroupCount)(pointer, group))?;
            new.set_math(math)?;
            Ok(new)
        }
    }

    pub(super) fn set_math(&self, math: cudnnMathType_t) -> Result<()> {
        // SAFETY: the descriptor is valid, and nobody else uses it now.
        check(unsafe { (api()?.cudnnSetConvolutionMathType)(self.pointer, math) })
    }

    pub(super) fn pointer(&self) -> cudnnConvolutionDescriptor_t {
        self.pointer
    }
}

impl Drop for ConvDescriptor {
    fn drop(&mut self) {
        if let Some(api) = Api::find() {
            // SAFETY: the descriptor is ours.
            let _ = unsafe { (api.cudnnDestroyConvolutionDescriptor)(self.pointer) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_axis_is_the_second_of_two() {
        assert_eq!(sizes(&[2, 3, 5], 1).unwrap(), [2, 3, 1, 5]);
        assert_eq!(sizes(&[2, 3, 5, 7], 1).unwrap(), [2, 3, 5, 7]);
        assert!(sizes(&[1 << 40], 1).is_err());
    }
}
