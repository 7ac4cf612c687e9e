//! Kernels on NVIDIA's cards.
//!
//! The driver, the compiler for its cards (NVRTC) and cuDNN are loaded when they are first called, so nothing of CUDA
//! is needed to build this. A formula becomes a source text in CUDA C++, made for the way in which its operands
//! broadcast, and is compiled once in a process. Convolutions' gradients are cuDNN's.

mod conv;
mod cudnn;
mod device;
mod elementwise;
mod last;
pub(crate) mod max_pool;
pub mod memory;
mod program;
mod queue;
mod reduce;
mod source;
#[cfg(test)]
mod testing;

pub(crate) use conv::{ConvGradient, Gradient};
pub(crate) use device::Device;
pub(crate) use elementwise::Elementwise;
pub(crate) use queue::{OfOperands, Queue, Tensor};
pub(crate) use reduce::Reduce;

/// What is missing for kernels to run on a card: the name of a library; `None` where all are there.
pub fn missing() -> Option<&'static str> {
    // SAFETY: loading the libraries runs their initialisers; they are NVIDIA's, where the loader finds them.
    unsafe {
        if !cudarc::driver::sys::is_culib_present() {
            Some("libcuda")
        } else if !cudarc::nvrtc::sys::is_culib_present() {
            Some("libnvrtc")
        } else if !cudnn::is_there() {
            Some("libcudnn")
        } else {
            None
        }
    }
}
