//! A card for tests.

use super::device::check;
use super::memory;
use super::queue::Queue;
use cudarc::driver::sys::{self, CUdeviceptr, CUstream};
use gnp_base::Result;
use std::ffi::c_void;

/// The first card, with a stream of its own.
pub(crate) struct Card {
    stream: CUstream,
}

/// Memory of the card.
pub(crate) struct Memory {
    pub(crate) address: CUdeviceptr,
    length: usize,
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the memory is ours.
        unsafe { check(sys::cuMemFree_v2(self.address)) }.unwrap();
    }
}

impl Card {
    pub(crate) fn new() -> Self {
        memory::enter(0).unwrap();
        let mut stream = std::ptr::null_mut();
        // SAFETY: the out pointer is valid.
        unsafe { check(sys::cuStreamCreate(&mut stream, 1)) }.unwrap();
        Self { stream }
    }

    fn allocate(&self, bytes: usize) -> CUdeviceptr {
        let mut address = 0;
        // SAFETY: the out pointer is valid.
        unsafe { check(sys::cuMemAlloc_v2(&mut address, bytes.max(16))) }.unwrap();
        address
    }

    pub(crate) fn upload(&self, floats: &[f32]) -> Memory {
        let address = self.allocate(size_of_val(floats));
        let bytes: Vec<u8> = floats.iter().flat_map(|x| x.to_le_bytes()).collect();
        // SAFETY: the memory has room for the bytes.
        unsafe { memory::to_device(address as *mut c_void, &bytes) }.unwrap();
        Memory { address, length: floats.len() }
    }

    /// After all that is in the stream.
    pub(crate) fn download(&self, memory: &Memory) -> Vec<f32> {
        let mut bytes = vec![0; 4 * memory.length];
        // SAFETY: the memory has so many bytes, and the stream is ours.
        unsafe {
            check(sys::cuStreamSynchronize(self.stream)).unwrap();
            memory::to_host(&mut bytes, memory.address as *const c_void).unwrap();
        }
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        // SAFETY: the stream is ours.
        unsafe { check(sys::cuStreamDestroy_v2(self.stream)) }.unwrap();
    }
}

impl Queue for Card {
    fn stream(&self) -> Result<CUstream> {
        Ok(self.stream)
    }

    fn scratch(&self, bytes: usize, work: &mut dyn FnMut(CUdeviceptr) -> Result<()>) -> Result<()> {
        let memory = Memory { address: self.allocate(bytes), length: bytes / 4 };
        work(memory.address)?;
        // SAFETY: the stream is ours.
        check(unsafe { sys::cuStreamSynchronize(self.stream) })
    }
}

/// Values for operand number `of`, which are no two neighbours the same.
pub(crate) fn values(of: usize, shape: &[usize]) -> Vec<f32> {
    (0..shape.iter().product()).map(|place: usize| ((place * 31 + of * 17) % 41) as f32 * 0.125 - 2.5).collect()
}
