//! A session's stream on a card, and memory of the session's arena.

use super::context::Context;
use super::status::check;
use crate::cuda::{Device, OfOperands, Queue, Tensor};
use cudarc::driver::sys::{CUdeviceptr, CUstream};
use gnp_base::{Error, Result};
use ort_sys::{OrtAllocator, OrtAllocatorType, OrtApi, OrtMemType, OrtMemoryInfo};
use std::collections::HashMap;
use std::ptr;
use std::sync::{LazyLock, Mutex, PoisonError};

impl Context<'_> {
    /// The output, which has this shape from now on, in a card's memory.
    pub(crate) fn on_card<'s>(&self, shape: &'s [usize]) -> Result<Tensor<'s>> {
        Ok(Tensor { address: self.output(0, shape)?.address(), shape })
    }

    /// Puts `kernel` into the session's stream, with all inputs as operands.
    ///
    /// # Safety
    /// No input is the output's memory, but for a kernel that says otherwise.
    pub(crate) unsafe fn enqueue(&self, kernel: &impl OfOperands) -> Result<()> {
        let inputs = self.inputs()?;
        let operands: Vec<_> = inputs.iter().map(|input| input.tensor()).collect();
        let shape = kernel.shape(&operands.iter().map(|operand| operand.shape).collect::<Vec<_>>())?;
        // SAFETY: ONNX Runtime keeps inputs and output until its stream has come so far; the rest is the contract of
        // this function.
        unsafe { kernel.enqueue(&operands, self.on_card(&shape)?, self) }
    }
}

impl Queue for Context<'_> {
    fn stream(&self) -> Result<CUstream> {
        let mut stream = ptr::null_mut();
        // SAFETY: the context and the out pointer are valid.
        unsafe { check(self.api, (self.api.KernelContext_GetGPUComputeStream)(self.pointer, &mut stream))? };
        Ok(stream.cast())
    }

    fn scratch(&self, bytes: usize, work: &mut dyn FnMut(CUdeviceptr) -> Result<()>) -> Result<()> {
        let allocator = Allocator::of(self)?;
        let mut memory = ptr::null_mut();
        // SAFETY: the allocator and the out pointer are valid. What is freed is lent out again only to what comes later
        // in this stream, so the work may be under way still.
        unsafe {
            check(self.api, (self.api.AllocatorAlloc)(allocator.pointer, bytes, &mut memory))?;
            let done = work(memory as CUdeviceptr);
            check(self.api, (self.api.AllocatorFree)(allocator.pointer, memory))?;
            done
        }
    }
}

/// The session's allocator of a card's memory.
struct Allocator {
    api: &'static OrtApi,
    pointer: *mut OrtAllocator,
}

impl Drop for Allocator {
    fn drop(&mut self) {
        // SAFETY: the allocator is ours to release.
        unsafe { (self.api.ReleaseAllocator)(self.pointer) }
    }
}

impl Allocator {
    fn of(context: &Context<'_>) -> Result<Self> {
        let api = context.api;
        let mut pointer = ptr::null_mut();
        let memory = memory(api, Device::current()?.number)?;
        // SAFETY: the context, the description and the out pointer are valid.
        unsafe { check(api, (api.KernelContext_GetAllocator)(context.pointer, memory, &mut pointer))? };
        if pointer.is_null() {
            Err(Error::engine("the session lends no memory of the card"))
        } else {
            Ok(Self { api, pointer })
        }
    }
}

/// What ONNX Runtime calls the memory of card number `card`. It is never released.
fn memory(api: &'static OrtApi, card: i32) -> Result<*const OrtMemoryInfo> {
    static KNOWN: LazyLock<Mutex<HashMap<(usize, i32), usize>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (ptr::from_ref(api) as usize, card);
    if let Some(address) = known.get(&key) {
        return Ok(*address as *const OrtMemoryInfo);
    }
    let mut pointer = ptr::null_mut();
    let (allocator, kind) = (OrtAllocatorType::OrtDeviceAllocator, OrtMemType::OrtMemTypeDefault);
    // SAFETY: the name is NUL-terminated and the out pointer valid.
    unsafe { check(api, (api.CreateMemoryInfo)(c"Cuda".as_ptr(), allocator, card, kind, &mut pointer))? };
    known.insert(key, pointer as usize);
    Ok(pointer)
}
