//! Source texts, compiled, and their launches.

use super::device::{Device, check};
use cudarc::driver::sys::{self as driver, CUfunction, CUstream};
use cudarc::nvrtc::{result as nvrtc, sys as nvrtc_sys};
use gnp_base::{Error, Result};
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::{LazyLock, Mutex, PoisonError};

/// What the function of every source text is called.
pub(super) const NAME: &str = "gnp_kernel";

/// A function on a card. It stays loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program(CUfunction);

// SAFETY: a handle that the driver takes on any thread.
unsafe impl Send for Program {}
// SAFETY: as above.
unsafe impl Sync for Program {}

impl Program {
    /// The function [`NAME`] of `source`, compiled for `device`: once in a process.
    pub(crate) fn new(source: &str, device: Device) -> Result<Self> {
        static KNOWN: LazyLock<Mutex<HashMap<(Device, String), Program>>> = LazyLock::new(Mutex::default);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (device, source.to_owned());
        if let Some(program) = known.get(&key) {
            return Ok(*program);
        }
        let image = compile(source, device.capability)?;
        let name = CString::new(NAME).map_err(|_| Error::internal("a name holds a NUL"))?;
        let (mut module, mut function) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the image is one of the compiler's, the name is NUL-terminated, the out pointers are valid.
        unsafe {
            check(driver::cuModuleLoadData(&mut module, image.as_ptr().cast()))?;
            check(driver::cuModuleGetFunction(&mut function, module, name.as_ptr()))?;
        }
        known.insert(key, Self(function));
        Ok(Self(function))
    }

    /// Puts the function into `stream`, for a grid of blocks of threads.
    ///
    /// # Safety
    /// `arguments` are those of the function, and what it reads and writes is there until it has run.
    pub(crate) unsafe fn launch(
        &self,
        stream: CUstream,
        grid: [u32; 2],
        block: [u32; 2],
        arguments: &Arguments,
    ) -> Result<()> {
        let mut pointers: Vec<*mut c_void> =
            arguments.0.iter().map(|argument| std::ptr::from_ref(argument).cast_mut().cast()).collect();
        // SAFETY: the driver copies the arguments; the rest is the contract of this function.
        check(unsafe {
            let none = std::ptr::null_mut();
            let ([columns, rows], [x, y]) = (grid, block);
            driver::cuLaunchKernel(self.0, columns, rows, 1, x, y, 1, 0, stream, pointers.as_mut_ptr(), none)
        })
    }
}

/// The arguments of a launch. Of those that are shorter than eight bytes the card reads the first ones, which are the
/// low ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments(Vec<u64>);

impl Arguments {
    /// An address, or a whole number of either size.
    pub(crate) fn push(&mut self, value: u64) {
        self.0.push(value);
    }

    /// A float32.
    pub(crate) fn push_float(&mut self, value: f32) {
        self.0.push(value.to_bits().into());
    }
}

/// Machine code for a card.
fn compile(source: &str, capability: u32) -> Result<Vec<u8>> {
    let text = CString::new(source).map_err(|_| Error::internal("a source text holds a NUL"))?;
    let refused = |error: nvrtc::NvrtcError| Error::engine(format!("NVIDIA's compiler (NVRTC): {error:?}"));
    let program = nvrtc::create_program(&text, None).map_err(refused)?;
    // SAFETY: the program is valid until it is destroyed, at the end.
    unsafe {
        let options = [format!("-arch=sm_{capability}"), "--std=c++17".to_owned()];
        let compiled = nvrtc::compile_program(program, &options).map_err(|error| {
            let log = nvrtc::get_program_log(program).ok();
            let says = log.map(|log| log.iter().take_while(|c| **c != 0).map(|c| *c as u8 as char).collect::<String>());
            refused(error).help(says.unwrap_or_default())
        });
        let image = compiled.and_then(|()| {
            let mut size = 0;
            nvrtc_sys::nvrtcGetCUBINSize(program, &mut size).result().map_err(refused)?;
            let mut image = vec![0u8; size];
            nvrtc_sys::nvrtcGetCUBIN(program, image.as_mut_ptr().cast()).result().map_err(refused)?;
            Ok(image)
        });
        let _ = nvrtc::destroy_program(program);
        image
    }
}

#[cfg(test)]
pub(super) fn compiles(source: &str) -> Result<usize> {
    compile(source, 90).map(|image| image.len())
}
