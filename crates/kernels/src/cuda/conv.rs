//! The gradients of convolutions, by cuDNN ("cuDNN API", `cudnnConvolutionBackwardFilter` and
//! `cudnnConvolutionBackwardData`; versions 8 and 9 have both).
//!
//! Of the algorithms that give the same bits in each run the fastest is taken: cuDNN measures them when a convolution
//! is first computed in a process.

use super::cudnn::{ConvDescriptor, Filter, Handle, Shape, api, check};
use super::device::{self, Device};
use super::queue::{Queue, Tensor};
use crate::conv::Conv;
use cudarc::cudnn::sys::{
    self, cudnnConvolutionBwdDataAlgo_t as DataAlgorithm, cudnnConvolutionBwdDataAlgoPerf_t as DataMeasured,
    cudnnConvolutionBwdFilterAlgo_t as FilterAlgorithm, cudnnConvolutionBwdFilterAlgoPerf_t as FilterMeasured,
    cudnnDeterminism_t, cudnnMathType_t, cudnnStatus_t,
};
use cudarc::driver::sys::{self as driver, CUdeviceptr};
use gnp_base::{Error, Result};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{LazyLock, Mutex, PoisonError};

/// A gradient of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Gradient {
    /// dw, of x and dy.
    Weight,
    /// dx, of dy and w.
    Input,
}

/// The kernel of a node.
pub(crate) struct ConvGradient {
    of: Gradient,
    tf32: bool,
    /// What the last run needed, which the next one mostly does.
    last: Mutex<Option<(Conv, Device, Plan)>>,
}

/// How cuDNN computes it.
#[derive(Clone, Copy, Debug)]
struct Algorithm {
    number: Number,
    math: cudnnMathType_t,
    /// The memory that it works in, in bytes.
    workspace: usize,
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Weight(FilterAlgorithm),
    Input(DataAlgorithm),
}

/// One convolution for cuDNN.
struct Plan {
    /// x with its pads where cuDNN is not told of them, and x within it: cuDNN pads both ends of an axis alike.
    padded: Option<Padded>,
    x: Shape,
    dy: Shape,
    w: Filter,
    conv: ConvDescriptor,
    algorithm: Option<Algorithm>,
}

struct Padded {
    floats: usize,
    /// Where x begins, in floats.
    begin: usize,
    /// x as it lies in there.
    inner: Shape,
    /// x by itself.
    plain: Shape,
}

/// The tensors of a run.
#[derive(Clone, Copy)]
struct Addresses {
    x: CUdeviceptr,
    dy: CUdeviceptr,
    w: CUdeviceptr,
}

const ONE: f32 = 1.0;
const ZERO: f32 = 0.0;
const GIB: usize = 1 << 30;
/// Of so many algorithms cuDNN tells.
const MOST: usize = 16;

/// What was measured: convolutions are alike, in one network and in both passes of a step.
static KNOWN: LazyLock<Mutex<HashMap<(Device, Gradient, bool, Conv), Algorithm>>> = LazyLock::new(Mutex::default);

fn number(value: &f32) -> *const c_void {
    std::ptr::from_ref(value).cast()
}

impl ConvGradient {
    pub(crate) fn new(of: Gradient, tf32: bool) -> Self {
        Self { of, tf32, last: Mutex::default() }
    }

    /// Puts the kernel into the queue. `first` and `second` are x and dy for the weights, dy and w for the input.
    ///
    /// # Safety
    /// The tensors have the shapes that `conv` says, no two are the same memory, and they are there until the queue has
    /// come so far.
    pub(crate) unsafe fn enqueue(
        &self,
        conv: &Conv,
        first: Tensor<'_>,
        second: Tensor<'_>,
        output: Tensor<'_>,
        queue: &dyn Queue,
    ) -> Result<()> {
        let floats: usize = output.shape.iter().product();
        if floats == 0 {
            return Ok(());
        }
        if first.shape.contains(&0) || second.shape.contains(&0) {
            // SAFETY: the output has so many floats; the rest is the contract of this function.
            return unsafe { zeros(output.address, floats, queue) };
        }
        let at = match self.of {
            Gradient::Weight => Addresses { x: first.address, dy: second.address, w: output.address },
            Gradient::Input => Addresses { x: output.address, dy: first.address, w: second.address },
        };
        let device = Device::current()?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if !last.as_ref().is_some_and(|(of, on, _)| of == conv && *on == device) {
            *last = Some((conv.clone(), device, Plan::new(conv, self.tf32)?));
        }
        let Some((.., plan)) = &mut *last else { return Err(Error::internal("a plan was made and is not there")) };
        Handle::with(device, queue.stream()?, |handle| {
            if plan.algorithm.is_none() {
                plan.algorithm = self.known(conv, device);
            }
            let Some(padded) = &plan.padded else { return self.run(conv, device, handle, plan, at, queue) };
            let (begin, bytes) = ((padded.begin * size_of::<f32>()) as u64, padded.floats * size_of::<f32>());
            let (floats, inner, plain) = (padded.floats, padded.inner.pointer(), padded.plain.pointer());
            queue.scratch(bytes, &mut |whole| {
                let (from, to) = (at.x as *const c_void, (whole + begin) as *mut c_void);
                // SAFETY: x lies within the scratch memory by its strides there; the rest is the contract of this
                // function.
                unsafe {
                    if self.of == Gradient::Weight {
                        zeros(whole, floats, queue)?;
                        let (one, zero) = (number(&ONE), number(&ZERO));
                        check((api()?.cudnnTransformTensor)(handle, one, plain, from, zero, inner, to))?;
                    }
                    self.run(conv, device, handle, plan, Addresses { x: whole, ..at }, queue)?;
                    if self.of == Gradient::Input {
                        let (one, zero) = (number(&ONE), number(&ZERO));
                        let (from, to) = (to.cast_const(), at.x as *mut c_void);
                        check((api()?.cudnnTransformTensor)(handle, one, inner, from, zero, plain, to))?;
                    }
                }
                Ok(())
            })
        })
    }

    fn run(
        &self,
        conv: &Conv,
        device: Device,
        handle: sys::cudnnHandle_t,
        plan: &Plan,
        at: Addresses,
        queue: &dyn Queue,
    ) -> Result<()> {
        let algorithm = match plan.algorithm {
            Some(algorithm) => algorithm,
            None => self.fastest(conv, device, handle, plan, at)?,
        };
        plan.conv.set_math(algorithm.math)?;
        let mut work = |workspace: CUdeviceptr| {
            let (x, dy, w) = (plan.x.pointer(), plan.dy.pointer(), plan.w.pointer());
            let api = api()?;
            let (conv, size, one, zero) = (plan.conv.pointer(), algorithm.workspace, number(&ONE), number(&ZERO));
            let (at_x, at_dy, at_w, room) =
                (at.x as *mut c_void, at.dy as *mut c_void, at.w as *mut c_void, workspace as *mut c_void);
            // SAFETY: the tensors are those that the descriptors say, and the workspace has the size that cuDNN told.
            check(unsafe {
                match algorithm.number {
                    Number::Weight(number) => (api.cudnnConvolutionBackwardFilter)(
                        handle, one, x, at_x, dy, at_dy, conv, number, room, size, zero, w, at_w,
                    ),
                    Number::Input(number) => (api.cudnnConvolutionBackwardData)(
                        handle, one, w, at_w, dy, at_dy, conv, number, room, size, zero, x, at_x,
                    ),
                }
            })
        };
        if algorithm.workspace == 0 { work(0) } else { queue.scratch(algorithm.workspace, &mut work) }
    }

    /// The algorithm that was chosen before, here or for another node.
    fn known(&self, conv: &Conv, device: Device) -> Option<Algorithm> {
        let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(device, self.of, self.tf32, conv.clone())).copied()
    }

    /// The fastest algorithm, measured.
    fn fastest(
        &self,
        conv: &Conv,
        device: Device,
        handle: sys::cudnnHandle_t,
        plan: &Plan,
        at: Addresses,
    ) -> Result<Algorithm> {
        let measured = self.measured(handle, plan, at, &Room::new()?)?;
        let chosen = measured.into_iter().find(|(is_good, _)| *is_good).map(|(_, algorithm)| algorithm);
        let chosen = chosen.ok_or_else(|| Error::engine("cuDNN has no algorithm for this convolution's gradient"))?;
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert((device, self.of, self.tf32, conv.clone()), chosen);
        Ok(chosen)
    }

    /// All algorithms, the fastest first, and whether each can be taken.
    fn measured(
        &self,
        handle: sys::cudnnHandle_t,
        plan: &Plan,
        at: Addresses,
        room: &Room,
    ) -> Result<Vec<(bool, Algorithm)>> {
        let (x, dy, w) = (plan.x.pointer(), plan.dy.pointer(), plan.w.pointer());
        let (conv, size, most) = (plan.conv.pointer(), room.bytes, MOST as i32);
        let (at_x, at_dy, at_w, room) =
            (at.x as *mut c_void, at.dy as *mut c_void, at.w as *mut c_void, room.address as *mut c_void);
        let is_good = |status, determinism| {
            status == cudnnStatus_t::CUDNN_STATUS_SUCCESS && determinism == cudnnDeterminism_t::CUDNN_DETERMINISTIC
        };
        let mut count = 0;
        plan.conv.set_math(plan.conv.math)?;
        // SAFETY: the tensors are those that the descriptors say, the output among them is written over; the lists have
        // room for so many, of which cuDNN writes the first `count`.
        unsafe {
            match self.of {
                Gradient::Weight => {
                    let mut found: [std::mem::MaybeUninit<FilterMeasured>; MOST] =
                        [const { std::mem::MaybeUninit::uninit() }; MOST];
                    check((api()?.cudnnFindConvolutionBackwardFilterAlgorithmEx)(
                        handle,
                        x,
                        at_x,
                        dy,
                        at_dy,
                        conv,
                        w,
                        at_w,
                        most,
                        &mut count,
                        found.as_mut_ptr().cast(),
                        room,
                        size,
                    ))?;
                    let found = found.iter().take(count as usize).map(|one| one.assume_init());
                    let algorithm = |one: FilterMeasured| Algorithm {
                        number: Number::Weight(one.algo),
                        math: one.mathType,
                        workspace: one.memory,
                    };
                    Ok(found.map(|one| (is_good(one.status, one.determinism), algorithm(one))).collect())
                }
                Gradient::Input => {
                    let mut found: [std::mem::MaybeUninit<DataMeasured>; MOST] =
                        [const { std::mem::MaybeUninit::uninit() }; MOST];
                    check((api()?.cudnnFindConvolutionBackwardDataAlgorithmEx)(
                        handle,
                        w,
                        at_w,
                        dy,
                        at_dy,
                        conv,
                        x,
                        at_x,
                        most,
                        &mut count,
                        found.as_mut_ptr().cast(),
                        room,
                        size,
                    ))?;
                    let found = found.iter().take(count as usize).map(|one| one.assume_init());
                    let algorithm = |one: DataMeasured| Algorithm {
                        number: Number::Input(one.algo),
                        math: one.mathType,
                        workspace: one.memory,
                    };
                    Ok(found.map(|one| (is_good(one.status, one.determinism), algorithm(one))).collect())
                }
            }
        }
    }
}

impl Plan {
    fn new(conv: &Conv, tf32: bool) -> Result<Self> {
        let window = conv.window();
        let is_even = window.begin() == window.end();
        let math = if tf32 { cudnnMathType_t::CUDNN_DEFAULT_MATH } else { cudnnMathType_t::CUDNN_FMA_MATH };
        let x = conv.x();
        let whole: Vec<usize> = if is_even {
            x.clone()
        } else {
            let pads = window.begin().iter().zip(window.end()).map(|(begin, end)| begin + end);
            x.iter().zip([0, 0].into_iter().chain(pads)).map(|(size, pad)| size + pad).collect()
        };
        let padded = if is_even {
            None
        } else {
            let strides = strides(&whole);
            let begin = window.begin().iter().zip(&strides[2..]).map(|(begin, stride)| begin * stride).sum();
            let (inner, plain) = (Shape::new(&x, &strides)?, Shape::plain(&x)?);
            Some(Padded { floats: whole.iter().product(), begin, inner, plain })
        };
        let pads = if is_even { window.begin().to_vec() } else { vec![0; window.begin().len()] };
        Ok(Self {
            padded,
            x: Shape::plain(&whole)?,
            dy: Shape::plain(&conv.y())?,
            w: Filter::new(&conv.w())?,
            conv: ConvDescriptor::new(&pads, window.strides(), window.dilations(), window.group(), math)?,
            algorithm: None,
        })
    }
}

/// The strides of a tensor in row-major order.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides: Vec<usize> = shape
        .iter()
        .rev()
        .scan(1, |next, size| {
            let stride = *next;
            *next *= size;
            Some(stride)
        })
        .collect();
    strides.reverse();
    strides
}

/// # Safety
/// So many floats are at `address`, until the queue has come so far.
unsafe fn zeros(address: CUdeviceptr, floats: usize, queue: &dyn Queue) -> Result<()> {
    // SAFETY: by this function's contract.
    device::check(unsafe { driver::cuMemsetD32Async(address, 0, floats, queue.stream()?) })
}

/// Memory that algorithms are measured with: as much as there is, up to a gibibyte.
struct Room {
    address: CUdeviceptr,
    bytes: usize,
}

impl Room {
    fn new() -> Result<Self> {
        for bytes in [GIB, GIB / 4, GIB / 32] {
            let mut address = 0;
            // SAFETY: the out pointer is valid.
            if device::check(unsafe { driver::cuMemAlloc_v2(&mut address, bytes) }).is_ok() {
                return Ok(Self { address, bytes });
            }
        }
        Ok(Self { address: 0, bytes: 0 })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: the memory is ours; freeing it waits for what uses it.
            let _ = unsafe { driver::cuMemFree_v2(self.address) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::{Layout, Window, grad_input, grad_weight};
    use crate::cuda::testing::{Card, values};
    use crate::threads::Caller;
    use proptest::prelude::*;

    #[test]
    fn strides_are_those_of_rows() {
        assert_eq!(strides(&[2, 3, 4]), [12, 4, 1]);
    }

    fn on_card(of: Gradient, tf32: bool, conv: &Conv, first: &[f32], second: &[f32]) -> Vec<f32> {
        let card = Card::new();
        let (x, y, w) = (conv.x(), conv.y(), conv.w());
        let (shapes, output) = if of == Gradient::Weight { ([&x, &y], &w) } else { ([&y, &w], &x) };
        let inputs = [card.upload(first), card.upload(second)];
        let memory = card.upload(&vec![f32::NAN; output.iter().product()]);
        let tensor = |number: usize| Tensor { address: inputs[number].address, shape: shapes[number] };
        let to = Tensor { address: memory.address, shape: output };
        // SAFETY: the memory lives until it is read back.
        unsafe { ConvGradient::new(of, tf32).enqueue(conv, tensor(0), tensor(1), to, &card) }.unwrap();
        card.download(&memory)
    }

    fn compared(of: Gradient, tf32: bool, conv: &Conv) -> Result<(), TestCaseError> {
        let (x, y, w) = (values(0, &conv.x()), values(1, &conv.y()), values(2, &conv.w()));
        let plain = Layout::Plain;
        let (expected, found) = match of {
            Gradient::Weight => {
                let mut dw = vec![0.0; w.len()];
                grad_weight(conv, (&x, plain), (&y, plain), &mut dw, &Caller).unwrap();
                (dw, on_card(of, tf32, conv, &x, &y))
            }
            Gradient::Input => {
                let mut dx = vec![0.0; x.len()];
                grad_input(conv, (&y, plain), &w, (&mut dx, plain), &Caller).unwrap();
                (dx, on_card(of, tf32, conv, &y, &w))
            }
        };
        let scale = expected.iter().fold(1.0f32, |most, value| most.max(value.abs()));
        let bound = if tf32 { 2e-3 } else { 1e-5 } * scale;
        for (found, expected) in found.iter().zip(&expected) {
            prop_assert!((found - expected).abs() <= bound, "{} {} of {}", found, expected, scale);
        }
        Ok(())
    }

    fn convs() -> impl Strategy<Value = Conv> {
        let axis = (1..4i64, 1..3i64, 1..3i64, 0..2i64, 0..3i64, 5..12usize);
        let axes = prop::collection::vec(axis, 1..4);
        (axes, 1..4usize, 1..4usize, 1..4i64, 1..3usize, any::<bool>()).prop_map(
            |(axes, inputs, outputs, group, batch, is_even)| {
                let list = |of: fn(&(i64, i64, i64, i64, i64, usize)) -> i64| axes.iter().map(of).collect::<Vec<_>>();
                let end = if is_even { list(|axis| axis.3) } else { list(|axis| axis.4) };
                let pads = [list(|axis| axis.3), end].concat();
                let window =
                    Window::new(&list(|axis| axis.0), &list(|axis| axis.1), &list(|axis| axis.2), &pads, group)
                        .unwrap();
                let group = group as usize;
                let x = [vec![batch, inputs * group], axes.iter().map(|axis| axis.5).collect()].concat();
                Conv::new(window, &x, outputs * group).unwrap()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        #[ignore = "needs an NVIDIA GPU"]
        fn gradients_are_those_of_the_processor(conv in convs(), of_weight in any::<bool>()) {
            let of = if of_weight { Gradient::Weight } else { Gradient::Input };
            compared(of, false, &conv)?;
        }
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn tf32_is_as_exact_as_it_is_and_every_run_gives_the_same_bits() {
        let window = Window::new(&[3, 3], &[1, 1], &[1, 1], &[1, 1, 1, 1], 1).unwrap();
        let conv = Conv::new(window, &[8, 32, 16, 16], 64).unwrap();
        for of in [Gradient::Weight, Gradient::Input] {
            compared(of, true, &conv).unwrap();
            let (first, second) = match of {
                Gradient::Weight => (values(0, &conv.x()), values(1, &conv.y())),
                Gradient::Input => (values(1, &conv.y()), values(2, &conv.w())),
            };
            assert_eq!(on_card(of, true, &conv, &first, &second), on_card(of, true, &conv, &first, &second));
        }
    }
}
