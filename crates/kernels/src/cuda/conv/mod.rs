//! Gradients of convolutions, by cuDNN.
//!
//! cuDNN has several algorithms for each. The first run for certain sizes measures those that give the same numbers in
//! each run, and the process keeps the fastest.
//!
//! | File | What it holds |
//! |---|---|
//! | `shape` | a convolution's sizes as cuDNN takes them |
//! | `frame` | x with zeros around it, for padding that cuDNN does not have |
//! | `plan` | which algorithm it is, and its runs |

mod frame;
mod plan;
mod shape;

use super::cudnn;
use super::device::{Device, check};
use super::queue::{Queue, Tensor};
use crate::conv::Conv;
use cudarc::driver::sys as driver;
use gnp_base::Result;
use plan::{Addresses, Key, Plan};
use shape::Shape;
use std::fmt;

/// What of a convolution a gradient is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Gradient {
    /// w.
    Weight,
    /// x.
    Input,
}

impl fmt::Display for Gradient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Weight => "the weights",
            Self::Input => "the input",
        })
    }
}

/// The gradient of a convolution's weights or of its input: see [`crate::conv`].
pub(crate) struct ConvGradient {
    of: Gradient,
    tf32: bool,
}

impl ConvGradient {
    /// `tf32` permits to round factors to TensorFloat-32, which has the exponents of a float32 and 10 bits after the
    /// point; sums are of float32 in any case.
    pub(crate) fn new(of: Gradient, tf32: bool) -> Self {
        Self { of, tf32 }
    }

    /// Puts the kernel into the queue. For the weights, `first` is x, `second` is dy and `output` is dw; for the input,
    /// `first` is dy, `second` is w and `output` is dx.
    ///
    /// # Errors
    /// More than three axes, tensors of 2³¹ elements or more, what cuDNN refuses.
    ///
    /// # Safety
    /// The tensors have the shapes of the convolution's and are there until the queue has come so far. None is the
    /// output's memory. In the first run for these sizes the stream is not being captured.
    pub(crate) unsafe fn enqueue(
        &self,
        conv: &Conv,
        first: Tensor<'_>,
        second: Tensor<'_>,
        output: Tensor<'_>,
        queue: &dyn Queue,
    ) -> Result<()> {
        let (first, second, output) = (first.address, second.address, output.address);
        if conv.is_empty() {
            if self.of == Gradient::Input {
                return Ok(());
            }
            let count = conv.w().iter().product();
            // SAFETY: dw has so many floats; the rest is the contract of this function.
            return check(unsafe { driver::cuMemsetD32Async(output, 0, count, queue.stream()?) });
        }
        let (shape, frame) = Shape::new(conv)?;
        let key = Key { device: Device::current()?, shape, of: self.of, tf32: self.tf32 };
        // SAFETY: the contract of this function; a frame has the memory that it tells.
        unsafe {
            match (self.of, frame) {
                (Gradient::Weight, None) => compute(&key, [first, second, output], queue),
                (Gradient::Input, None) => compute(&key, [second, first, output], queue),
                (Gradient::Weight, Some(frame)) => queue.scratch(frame.bytes(), &mut |framed| {
                    frame.pad(first, framed, queue)?;
                    compute(&key, [framed, second, output], queue)
                }),
                (Gradient::Input, Some(frame)) => queue.scratch(frame.bytes(), &mut |framed| {
                    compute(&key, [second, first, framed], queue)?;
                    frame.crop(framed, output, queue)
                }),
            }
        }
    }
}

/// # Safety
/// As [`ConvGradient::enqueue`], for operands of the sizes of the key's shape.
unsafe fn compute(key: &Key, at: Addresses, queue: &dyn Queue) -> Result<()> {
    cudnn::with_handle(key.device, queue.stream()?, |handle| {
        // SAFETY: the contract of this function; the handle's calls go into the queue's stream.
        unsafe { Plan::of(key, handle, at, queue)?.run(handle, at, queue) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::testing::{Attributes, convolutions, noise};
    use crate::conv::{Layout, grad_input, grad_weight};
    use crate::cuda::testing::Card;
    use crate::threads::Caller;
    use proptest::prelude::*;

    /// x, dy and w.
    fn data(conv: &Conv) -> [Vec<f32>; 3] {
        let noise = |shape: Vec<usize>, seed| noise(shape.iter().product(), seed);
        [noise(conv.x(), 1), noise(conv.y(), 2), noise(conv.w(), 3)]
    }

    fn on_card(conv: &Conv, of: Gradient, tf32: bool) -> Vec<f32> {
        let [x, dy, w] = data(conv);
        let (first, second, output) = match of {
            Gradient::Weight => ((x, conv.x()), (dy, conv.y()), conv.w()),
            Gradient::Input => ((dy, conv.y()), (w, conv.w()), conv.x()),
        };
        let card = Card::new();
        let memory = [&first.0, &second.0].map(|data| card.upload(data));
        let written = card.upload(&vec![f32::NAN; output.iter().product()]);
        let tensor = |at: usize, shape| Tensor { address: memory[at].address, shape };
        let (first, second) = (tensor(0, &first.1), tensor(1, &second.1));
        let output = Tensor { address: written.address, shape: &output };
        // SAFETY: the memory lives until it is read back.
        unsafe { ConvGradient::new(of, tf32).enqueue(conv, first, second, output, &card) }.unwrap();
        card.download(&written)
    }

    fn on_processor(conv: &Conv, of: Gradient) -> Vec<f32> {
        let [x, dy, w] = data(conv);
        let plain = Layout::Plain;
        let mut output = vec![f32::NAN; if of == Gradient::Weight { w.len() } else { x.len() }];
        match of {
            Gradient::Weight => grad_weight(conv, (&x, plain), (&dy, plain), &mut output, &Caller),
            Gradient::Input => grad_input(conv, (&dy, plain), &w, (&mut output, plain), &Caller),
        }
        .unwrap();
        output
    }

    /// Compares both gradients with the processor's, relative to their largest element.
    fn check(conv: &Conv, tf32: bool, tolerance: f32) {
        for of in [Gradient::Weight, Gradient::Input] {
            let (found, expected) = (on_card(conv, of, tf32), on_processor(conv, of));
            assert_eq!(found.len(), expected.len());
            // Factors are up to one, so a largest element that is smaller is an accident.
            let scale = expected.iter().fold(0.1_f32, |scale, value| scale.max(value.abs()));
            for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
                let difference = (found - expected).abs();
                assert!(
                    difference <= tolerance * scale,
                    "the gradient of {of}, element {place}: {found}, not {expected}, of up to {scale}: {conv:?}"
                );
            }
        }
    }

    fn each() -> impl Strategy<Value = (Attributes, Vec<usize>, usize)> {
        let padded = (1..4_usize).prop_flat_map(convolutions);
        (padded, any::<bool>()).prop_map(|((mut attributes, x, outputs), is_even)| {
            let axes = attributes.kernel.len();
            if is_even {
                attributes.pads.copy_within(..axes, axes);
            }
            (attributes, x, outputs)
        })
    }

    /// Layers as networks have them: kernel, stride, pads at the begin and at the end, groups; x; channels of y.
    fn layers() -> Vec<Conv> {
        let layer = |kernel: i64, stride: i64, [begin, end]: [i64; 2], group, x: &[usize], outputs| {
            let pads = vec![begin, begin, end, end];
            let (kernel, strides, dilations) = (vec![kernel; 2], vec![stride; 2], vec![1; 2]);
            Conv::new(Attributes { kernel, strides, dilations, pads, group }.window(), x, outputs).unwrap()
        };
        vec![
            layer(3, 1, [1, 1], 1, &[4, 32, 14, 14], 32),
            layer(3, 2, [1, 1], 1, &[4, 32, 14, 14], 64),
            layer(3, 2, [0, 1], 1, &[4, 16, 16, 16], 32),
            layer(1, 1, [0, 0], 1, &[4, 64, 14, 14], 32),
            layer(1, 2, [0, 0], 1, &[2, 24, 9, 9], 80),
            layer(7, 2, [3, 3], 1, &[2, 3, 32, 32], 16),
            layer(4, 4, [0, 0], 1, &[2, 3, 32, 32], 48),
            layer(3, 1, [1, 1], 32, &[4, 32, 14, 14], 32),
            layer(5, 2, [1, 2], 40, &[2, 40, 18, 18], 40),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 80, max_shrink_iters: 40, ..ProptestConfig::default() })]

        #[test]
        #[ignore = "needs an NVIDIA GPU"]
        fn gradients_are_those_of_the_processor((attributes, x, outputs) in each()) {
            if let Ok(conv) = Conv::new(attributes.window(), &x, outputs) {
                check(&conv, false, 1e-5);
            }
        }

        #[test]
        #[ignore = "needs an NVIDIA GPU"]
        fn gradients_with_tf32_are_near_those_of_the_processor((attributes, x, outputs) in each()) {
            if let Ok(conv) = Conv::new(attributes.window(), &x, outputs) {
                check(&conv, true, 2e-3);
            }
        }
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn gradients_of_the_layers_of_known_networks() {
        for layer in layers() {
            check(&layer, false, 1e-5);
            check(&layer, true, 2e-3);
        }
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn each_run_gives_the_same_bits() {
        for layer in layers() {
            for (of, tf32) in [(Gradient::Weight, false), (Gradient::Weight, true), (Gradient::Input, false)] {
                let bits = || on_card(&layer, of, tf32).iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                assert!(bits() == bits(), "the gradient of {of}: {layer:?}");
            }
        }
    }
}
