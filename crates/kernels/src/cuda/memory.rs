//! Copies between a card's memory and the processor's, in the primary context of the card that the memory is of.

use super::device::check;
use cudarc::driver::sys;
use gnp_base::Result;
use std::ffi::c_void;

/// Copies `bytes` to `address` on the card, and returns when that is done.
///
/// # Errors
/// What the driver refuses.
///
/// # Safety
/// So many bytes are writable at `address`, and nothing on the card uses them now. The thread has the card's context.
pub unsafe fn to_device(address: *mut c_void, bytes: &[u8]) -> Result<()> {
    // SAFETY: by this function's contract.
    unsafe {
        check(sys::cuMemcpyHtoD_v2(address as u64, bytes.as_ptr().cast(), bytes.len()))?;
        // The driver may return from a short copy while it is under way, and ONNX Runtime's stream waits for no other.
        check(sys::cuStreamSynchronize(std::ptr::null_mut()))
    }
}

/// Copies what is at `address` on the card to `bytes`, and returns when that is done.
///
/// # Errors
/// What the driver refuses.
///
/// # Safety
/// So many bytes are readable at `address`, and nothing on the card writes them now. The thread has the card's context.
pub unsafe fn to_host(bytes: &mut [u8], address: *const c_void) -> Result<()> {
    // SAFETY: by this function's contract.
    check(unsafe { sys::cuMemcpyDtoH_v2(bytes.as_mut_ptr().cast(), address as u64, bytes.len()) })
}

/// Gives the calling thread the primary context of a card, which ONNX Runtime computes in.
///
/// # Errors
/// Where there is no such card, or the driver does not start.
pub fn enter(device: u32) -> Result<()> {
    let number = i32::try_from(device).unwrap_or(i32::MAX);
    let (mut card, mut context) = (0, std::ptr::null_mut());
    // SAFETY: the out pointers are valid. The context stays for the process, as ONNX Runtime's own use of it does.
    unsafe {
        check(sys::cuInit(0))?;
        check(sys::cuDeviceGet(&mut card, number))?;
        check(sys::cuDevicePrimaryCtxRetain(&mut context, card))?;
        check(sys::cuCtxSetCurrent(context))
    }
}

/// The bytes that are free on a card; none where there is no such card, or no driver.
pub fn free(device: u32) -> Option<u64> {
    // SAFETY: loading the library runs its initialisers; it is NVIDIA's, where the loader finds it.
    if !unsafe { sys::is_culib_present() } {
        return None;
    }
    enter(device).ok()?;
    let (mut free, mut total) = (0, 0);
    // SAFETY: the out pointers are valid, and the thread has a context.
    check(unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) }).ok()?;
    Some(free as u64)
}
