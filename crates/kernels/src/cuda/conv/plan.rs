//! Which of cuDNN's algorithms computes a gradient, and its runs.

use super::Gradient;
use super::shape::Shape;
use crate::cuda::cudnn::{self, Candidate, Descriptor, Raw};
use crate::cuda::device::Device;
use crate::cuda::queue::Queue;
use cudarc::cudnn::sys::{cudnnDeterminism_t, cudnnMathType_t};
use cudarc::driver::sys::CUdeviceptr;
use gnp_base::{Error, Result};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// No algorithm that works in more bytes is measured. One is run only where there is no other.
const MOST: usize = 1 << 30;
/// More algorithms than cuDNN has, each with all kinds of math.
const ROOM: usize = 32;

/// What is to be computed: the same for equal convolutions anywhere in the process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) device: Device,
    pub(super) shape: Shape,
    pub(super) of: Gradient,
    /// Whether factors may be rounded to TensorFloat-32.
    pub(super) tf32: bool,
}

/// Where the operands are, in cuDNN's order: x, dy and dw, or w, dy and dx.
pub(super) type Addresses = [CUdeviceptr; 3];

/// An algorithm, and what it is called with.
pub(super) struct Plan {
    call: Call,
    algorithm: u32,
    /// How many bytes it works in.
    memory: usize,
}

impl Plan {
    /// The fastest deterministic algorithm, which is measured once in a process. That writes the output.
    ///
    /// # Safety
    /// The operands have the sizes of the key's shape and are there until the queue has come so far; the handle's calls
    /// go into the queue, which is not being captured if the key is new.
    pub(super) unsafe fn of(key: &Key, handle: Raw, at: Addresses, queue: &dyn Queue) -> Result<Arc<Self>> {
        static KNOWN: LazyLock<Mutex<HashMap<Key, Arc<Plan>>>> = LazyLock::new(Mutex::default);
        // Measurements that ran at the same time would disturb each other.
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = known.get(key) {
            return Ok(Arc::clone(plan));
        }
        // SAFETY: the contract of this function.
        let plan = Arc::new(unsafe { Self::choose(key, handle, at, queue) }?);
        known.insert(key.clone(), Arc::clone(&plan));
        Ok(plan)
    }

    /// # Safety
    /// As [`Self::of`].
    unsafe fn choose(key: &Key, handle: Raw, at: Addresses, queue: &dyn Queue) -> Result<Self> {
        let call = Call::new(key, allowed_math(key.tf32))?;
        let usable = |candidates: Vec<Candidate>| {
            candidates.into_iter().filter_map(|one| Some((one, usable_math(&one, key.tf32)?))).collect::<Vec<_>>()
        };
        // SAFETY: the contract of this function.
        let listed = usable(unsafe { call.list(handle) }?);
        let mut sizes: Vec<usize> = listed.iter().map(|(one, _)| one.memory).filter(|size| *size <= MOST).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let mut measured = Vec::new();
        // In as much memory as the card has room for: cuDNN leaves out what needs more.
        for bytes in sizes.into_iter().rev() {
            let lent = lend(queue, bytes, &mut |workspace| {
                // SAFETY: as above, and the workspace has so many bytes. Algorithms that are listed can be tried still.
                measured = unsafe { call.measure(handle, at, workspace, bytes) }.unwrap_or_default();
                Ok(())
            });
            if lent.is_ok() {
                break;
            }
        }
        let mut refused = None;
        for (candidate, math) in usable(measured).into_iter().chain(listed) {
            // SAFETY: the contract of this function.
            let plan = Call::new(key, math).and_then(|call| unsafe {
                let memory = call.memory(handle, candidate.algorithm)?;
                let plan = Self { call, algorithm: candidate.algorithm, memory };
                plan.run(handle, at, queue)?;
                Ok(plan)
            });
            match plan {
                Ok(plan) => return Ok(plan),
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.unwrap_or_else(|| {
            let Key { shape: Shape { x, w, .. }, of, .. } = key;
            let message = format!("cuDNN has no deterministic algorithm for the gradient of {of} of a convolution");
            Error::unsupported(format!("{message} of x {x:?} with w {w:?}"))
        }))
    }

    /// Puts the computation into the queue.
    ///
    /// # Safety
    /// The operands have the sizes of the key's shape and are there until the queue has come so far; the handle's calls
    /// go into the queue.
    pub(super) unsafe fn run(&self, handle: Raw, at: Addresses, queue: &dyn Queue) -> Result<()> {
        lend(queue, self.memory, &mut |workspace| {
            // SAFETY: the contract of this function; the workspace has so many bytes.
            unsafe { self.call.compute(handle, at, self.algorithm, workspace, self.memory) }
        })
    }
}

/// Scratch memory, where any is needed.
fn lend(queue: &dyn Queue, bytes: usize, work: &mut dyn FnMut(CUdeviceptr) -> Result<()>) -> Result<()> {
    if bytes == 0 { work(0) } else { queue.scratch(bytes, work) }
}

/// By cuDNN's documentation of `cudnnMathType_t`, the default permits TF32, and FMA no tensor cores.
fn allowed_math(tf32: bool) -> u32 {
    if tf32 { cudnnMathType_t::CUDNN_DEFAULT_MATH as u32 } else { cudnnMathType_t::CUDNN_FMA_MATH as u32 }
}

/// The math that a candidate is to be run with, if it is one to run: none that rounds to less than is permitted.
fn usable_math(candidate: &Candidate, tf32: bool) -> Option<u32> {
    const DEFAULT: u32 = cudnnMathType_t::CUDNN_DEFAULT_MATH as u32;
    const FMA: u32 = cudnnMathType_t::CUDNN_FMA_MATH as u32;
    const TENSOR: u32 = cudnnMathType_t::CUDNN_TENSOR_OP_MATH as u32;
    let is_usable = candidate.status == 0 && candidate.determinism == cudnnDeterminism_t::CUDNN_DETERMINISTIC as u32;
    match candidate.math {
        _ if !is_usable => None,
        DEFAULT | FMA | TENSOR if tf32 => Some(candidate.math),
        DEFAULT | FMA => Some(FMA),
        _ => None,
    }
}

/// cuDNN's functions for a gradient, with the descriptors of its operands in their order.
struct Call {
    of: Gradient,
    operands: [Descriptor; 3],
    convolution: Descriptor,
}

impl Call {
    fn new(key: &Key, math: u32) -> Result<Self> {
        let Shape { x, y, w, pads, strides, dilations, groups } = &key.shape;
        let (x, y, w) = (Descriptor::tensor(x)?, Descriptor::tensor(y)?, Descriptor::filter(w)?);
        let operands = match key.of {
            Gradient::Weight => [x, y, w],
            Gradient::Input => [w, y, x],
        };
        let convolution = Descriptor::convolution(pads, strides, dilations, *groups, math)?;
        Ok(Self { of: key.of, operands, convolution })
    }

    fn raw(&self) -> ([Raw; 3], Raw) {
        (self.operands.each_ref().map(Descriptor::raw), self.convolution.raw())
    }

    /// What cuDNN expects of its algorithms, the best first.
    ///
    /// # Safety
    /// The handle is valid, and the caller's alone.
    unsafe fn list(&self, handle: Raw) -> Result<Vec<Candidate>> {
        let ([first, second, output], convolution) = self.raw();
        let list = match self.of {
            Gradient::Weight => cudnn::list_weight,
            Gradient::Input => cudnn::list_input,
        };
        candidates(|room, count, candidates| {
            // SAFETY: the descriptors are those that the function takes, the out pointers have room.
            unsafe { list(handle, first, second, convolution, output, room, count, candidates) }
        })
    }

    /// What they take in fact, the fastest first.
    ///
    /// # Safety
    /// As [`Plan::of`]; the workspace has so many bytes.
    unsafe fn measure(
        &self,
        handle: Raw,
        at: Addresses,
        workspace: CUdeviceptr,
        bytes: usize,
    ) -> Result<Vec<Candidate>> {
        let ([first, second, output], convolution) = self.raw();
        let measure = match self.of {
            Gradient::Weight => cudnn::measure_weight,
            Gradient::Input => cudnn::measure_input,
        };
        candidates(|room, count, candidates| {
            // SAFETY: the contract of this function, and as above.
            unsafe {
                measure(
                    handle,
                    first,
                    at[0],
                    second,
                    at[1],
                    convolution,
                    output,
                    at[2],
                    room,
                    count,
                    candidates,
                    workspace,
                    bytes,
                )
            }
        })
    }

    /// How many bytes an algorithm works in.
    ///
    /// # Safety
    /// The handle is valid, and the caller's alone.
    unsafe fn memory(&self, handle: Raw, algorithm: u32) -> Result<usize> {
        let ([first, second, output], convolution) = self.raw();
        let room = match self.of {
            Gradient::Weight => cudnn::room_weight,
            Gradient::Input => cudnn::room_input,
        };
        let mut bytes = 0;
        // SAFETY: the descriptors are those that the function takes, the out pointer is valid.
        unsafe { room(handle, first, second, convolution, output, algorithm, &mut bytes) }?;
        Ok(bytes)
    }

    /// # Safety
    /// As [`Plan::run`]; the workspace has so many bytes.
    unsafe fn compute(
        &self,
        handle: Raw,
        at: Addresses,
        algorithm: u32,
        workspace: CUdeviceptr,
        bytes: usize,
    ) -> Result<()> {
        let ([first, second, output], convolution) = self.raw();
        let compute = match self.of {
            Gradient::Weight => cudnn::grad_weight,
            Gradient::Input => cudnn::grad_input,
        };
        // The output is the gradient alone: nothing is added of what was there.
        let (one, zero) = (1.0, 0.0);
        // SAFETY: the contract of this function; cuDNN reads the factors before it returns.
        unsafe {
            compute(
                handle,
                &one,
                first,
                at[0],
                second,
                at[1],
                convolution,
                algorithm,
                workspace,
                bytes,
                &zero,
                output,
                at[2],
            )
        }
    }
}

/// Those that cuDNN writes.
fn candidates(write: impl FnOnce(i32, *mut i32, *mut Candidate) -> Result<()>) -> Result<Vec<Candidate>> {
    let mut candidates = vec![Candidate::default(); ROOM];
    let mut count = 0;
    write(ROOM as i32, &mut count, candidates.as_mut_ptr())?;
    candidates.truncate(usize::try_from(count).unwrap_or(0));
    Ok(candidates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::Conv;
    use crate::conv::testing::convolutions;
    use proptest::prelude::*;

    fn candidate(math: cudnnMathType_t) -> Candidate {
        let determinism = cudnnDeterminism_t::CUDNN_DETERMINISTIC as u32;
        Candidate { math: math as u32, determinism, ..Candidate::default() }
    }

    #[test]
    fn only_deterministic_algorithms_of_the_permitted_precision_are_run() {
        use cudnnMathType_t::{
            CUDNN_DEFAULT_MATH as DEFAULT, CUDNN_FMA_MATH as FMA, CUDNN_TENSOR_OP_MATH as TENSOR,
            CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION as HALF,
        };
        let usable = |tf32| [DEFAULT, FMA, TENSOR, HALF].map(|math| usable_math(&candidate(math), tf32));
        assert_eq!(usable(false), [Some(FMA as u32), Some(FMA as u32), None, None]);
        assert_eq!(usable(true), [Some(DEFAULT as u32), Some(FMA as u32), Some(TENSOR as u32), None]);
        assert!(usable_math(&Candidate { status: 1, ..candidate(FMA) }, true).is_none());
        assert!(usable_math(&Candidate { determinism: 0, ..candidate(FMA) }, true).is_none());
    }

    proptest! {
        #[test]
        #[ignore = "needs cuDNN"]
        fn cudnn_agrees_about_the_sizes((attributes, x, outputs) in (1..4_usize).prop_flat_map(convolutions)) {
            let Ok(conv) = Conv::new(attributes.window(), &x, outputs) else { return Ok(()) };
            if conv.is_empty() {
                return Ok(());
            }
            let (shape, _) = Shape::new(&conv).unwrap();
            let device = Device { number: 0, multiprocessors: 1, capability: 90 };
            let key = Key { device, shape, of: Gradient::Weight, tf32: false };
            let call = Call::new(&key, allowed_math(false)).unwrap();
            let ([x, _, w], convolution) = call.raw();
            let mut sizes = vec![0; key.shape.y.len()];
            // SAFETY: the descriptors are valid, and the out pointer has room for so many.
            unsafe { cudnn::output_sizes(convolution, x, w, sizes.len() as i32, sizes.as_mut_ptr()) }.unwrap();
            prop_assert_eq!(sizes, key.shape.y);
        }
    }
}
