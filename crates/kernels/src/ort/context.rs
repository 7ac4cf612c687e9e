//! What a kernel is run with: its inputs, its outputs, the session's threads.

use super::status::{caught, check};
use crate::elementwise::Operand;
use crate::floats::Floats;
use crate::threads::Threads;
use gnp_base::{Error, Result};
use ort_sys::{OrtApi, OrtKernelContext, OrtValue};
use std::ffi::c_void;
use std::ptr;
use std::sync::{Mutex, OnceLock, PoisonError};

/// One run of a kernel.
pub(crate) struct Context<'a> {
    pub(super) api: &'static OrtApi,
    pub(super) pointer: *mut OrtKernelContext,
    of: std::marker::PhantomData<&'a OrtKernelContext>,
}

// SAFETY: what kernels' threads call of it, `KernelContext_ParallelFor`, is called by the thread that runs the kernel.
unsafe impl Sync for Context<'_> {}

/// An input of a kernel, as it lies in memory: in a card's, for a kernel that computes there.
pub(crate) struct Input<'a> {
    pub(crate) floats: Floats<'a>,
    pub(crate) shape: Vec<usize>,
}

impl Input<'_> {
    pub(crate) fn operand(&self) -> Operand<'_> {
        Operand { floats: self.floats, shape: &self.shape }
    }

    /// On a card.
    #[cfg(feature = "cuda")]
    pub(crate) fn tensor(&self) -> crate::cuda::Tensor<'_> {
        crate::cuda::Tensor { address: self.floats.address(), shape: &self.shape }
    }

    /// The elements.
    pub(crate) fn read(&self) -> &[f32] {
        // SAFETY: an input is not written while a kernel runs whose output is never the memory of an input.
        unsafe { self.floats.read() }
    }
}

impl<'a> Context<'a> {
    /// # Safety
    /// `pointer` is valid for `'a`, and of the ONNX Runtime of `api`.
    pub(crate) unsafe fn new(api: &'static OrtApi, pointer: *mut OrtKernelContext) -> Self {
        Self { api, pointer, of: std::marker::PhantomData }
    }

    /// All inputs.
    pub(crate) fn inputs(&self) -> Result<Vec<Input<'a>>> {
        let mut count = 0;
        // SAFETY: the context and the out pointer are valid.
        unsafe { check(self.api, (self.api.KernelContext_GetInputCount)(self.pointer, &mut count))? };
        (0..count).map(|number| self.input(number)).collect()
    }

    fn input(&self, number: usize) -> Result<Input<'a>> {
        let (mut value, mut data, mut info) = (ptr::null(), ptr::null_mut(), ptr::null_mut());
        let (mut rank, api) = (0, self.api);
        // SAFETY: the context and all out pointers are valid; an input lives as long as the run. What is said of its
        // shape is released. The operators declare their inputs as float32.
        unsafe {
            check(api, (api.KernelContext_GetInput)(self.pointer, number, &mut value))?;
            if value.is_null() {
                return Err(Error::input(format!("input {number} is missing")));
            }
            check(api, (api.GetTensorMutableData)(value.cast_mut(), &mut data))?;
            check(api, (api.GetTensorTypeAndShape)(value, &mut info))?;
            let sizes = (|| {
                check(api, (api.GetDimensionsCount)(info, &mut rank))?;
                let mut sizes = vec![0i64; rank];
                check(api, (api.GetDimensions)(info, sizes.as_mut_ptr(), rank))?;
                Ok::<_, Error>(sizes)
            })();
            (api.ReleaseTensorTypeAndShapeInfo)(info);
            let shape: Vec<usize> = sizes?.into_iter().map(size).collect::<Result<_>>()?;
            let elements = shape.iter().product();
            Ok(Input { floats: Floats::new(data.cast(), elements), shape })
        }
    }

    /// The memory of an output, which has this shape from now on.
    pub(crate) fn output(&self, number: usize, shape: &[usize]) -> Result<Floats<'a>> {
        let sizes: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
        let (mut value, mut data): (*mut OrtValue, _) = (ptr::null_mut(), ptr::null_mut());
        let api = self.api;
        // SAFETY: the context, the sizes and the out pointers are valid; the output lives as long as the run.
        unsafe {
            check(api, (api.KernelContext_GetOutput)(self.pointer, number, sizes.as_ptr(), sizes.len(), &mut value))?;
            if value.is_null() {
                return Err(Error::input(format!("nothing takes output {number}")));
            }
            check(api, (api.GetTensorMutableData)(value, &mut data))?;
            Ok(Floats::new(data.cast(), shape.iter().product()))
        }
    }
}

fn size(size: i64) -> Result<usize> {
    usize::try_from(size).map_err(|_| Error::internal(format!("an input has an axis of the size {size}")))
}

/// The session's threads. How many they are ONNX Runtime does not tell: not more, mostly, than there are cores.
impl Threads for Context<'_> {
    fn count(&self) -> usize {
        static CORES: OnceLock<usize> = OnceLock::new();
        *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, Into::into))
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if tasks <= 1 {
            return (0..tasks).for_each(task);
        }
        let shared = Tasks { task, failed: Mutex::new(None) };
        let tasks_of = ptr::from_ref(&shared).cast_mut().cast();
        // SAFETY: the context is valid; the call returns when all tasks have ended, so what they borrow lives.
        let status = unsafe { (self.api.KernelContext_ParallelFor)(self.pointer, one, tasks, tasks, tasks_of) };
        // SAFETY: the status comes from this API.
        let refused = unsafe { check(self.api, status) }.err();
        let failed = shared.failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = failed.or(refused) {
            // The status of the run says it: whoever runs the kernel catches this.
            std::panic::resume_unwind(Box::new(error.to_string()));
        }
    }
}

struct Tasks<'a> {
    task: &'a (dyn Fn(usize) + Sync),
    /// The last failure.
    failed: Mutex<Option<Error>>,
}

/// Runs one of the tasks.
unsafe extern "C" fn one(tasks: *mut c_void, number: usize) {
    // SAFETY: it is what `run` passes, and lives until this returns.
    let tasks = unsafe { &*tasks.cast::<Tasks<'_>>() };
    if let Err(error) = caught(|| (tasks.task)(number)) {
        *tasks.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}
