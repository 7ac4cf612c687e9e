//! `ConvGradWeight(x, dy)`: the gradient of a convolution's weights. Its attributes are those of `Conv`, with the pads
//! as numbers; `blocked` says which of x and dy come with their channels in blocks, last.

use super::{Inputs, Kernel, Kind, Target};
use crate::conv::{Conv, Layout, Window, grad_weight};
#[cfg(feature = "cuda")]
use crate::cuda::{ConvGradient, Gradient};
use crate::ort::attributes::Attributes;
use crate::ort::context::Context;
use gnp_base::contract::functions::CONV_GRAD_WEIGHT;
use gnp_base::{Error, Result};
use std::ffi::CStr;

/// [`gnp_base::contract::functions::BLOCKED`].
pub(super) const BLOCKED: &CStr = c"blocked";

pub(super) const KIND: Kind = Kind {
    name: CONV_GRAD_WEIGHT,
    is_function: true,
    inputs: Inputs::Exactly(2),
    outputs: 1,
    create,
    is_on_cuda: true,
    shape: None,
    in_place: false,
};

/// The window of a convolution, by its attributes.
pub(super) fn window(attributes: &Attributes<'_>) -> Result<Window> {
    let ints = |name| attributes.ints(name);
    let (strides, dilations, pads) = (ints(c"strides")?, ints(c"dilations")?, ints(c"pads")?);
    Window::new(&ints(c"kernel_shape")?, &strides, &dilations, &pads, attributes.int(c"group", 1))
}

/// The layouts of two tensors, by the attribute [`BLOCKED`].
pub(super) fn layouts(attributes: &Attributes<'_>) -> Result<[Layout; 2]> {
    let blocks = attributes.ints(BLOCKED)?;
    match blocks[..] {
        [] => Ok([Layout::Plain; 2]),
        [first, second] => Ok([layout(first)?, layout(second)?]),
        _ => Err(Error::input(format!("the attribute `blocked` is {blocks:?}: there are two tensors"))),
    }
}

/// The layout with blocks of so many channels, or none.
pub(super) fn layout(block: i64) -> Result<Layout> {
    match block {
        0 => Ok(Layout::Plain),
        8 => Ok(Layout::Blocked(8)),
        16 => Ok(Layout::Blocked(16)),
        _ => Err(Error::input(format!("the attribute `blocked` has {block}: blocks are of 0, 8 or 16"))),
    }
}

/// The shape of a tensor as it would be plain.
pub(super) fn plain(layout: Layout, shape: &[usize]) -> Result<Vec<usize>> {
    match (layout, shape) {
        (Layout::Blocked(block), [batch, channels, spatial @ .., last]) if *last == block => {
            Ok([&[*batch, channels * block], spatial].concat())
        }
        (Layout::Plain, _) => Ok(shape.to_vec()),
        _ => Err(Error::input(format!("{shape:?} has no channels in blocks as `blocked` says"))),
    }
}

fn create(attributes: &Attributes<'_>, target: Target) -> Result<Box<dyn Kernel>> {
    let window = window(attributes)?;
    Ok(match target {
        Target::Cpu => Box::new(ConvGradWeight { window, layouts: layouts(attributes)? }),
        #[cfg(feature = "cuda")]
        Target::Cuda { tf32 } => Box::new(OnCard { window, gradient: ConvGradient::new(Gradient::Weight, tf32) }),
    })
}

#[cfg(feature = "cuda")]
struct OnCard {
    window: Window,
    gradient: ConvGradient,
}

#[cfg(feature = "cuda")]
impl Kernel for OnCard {
    fn run(&self, context: &Context<'_>) -> Result<()> {
        let inputs = context.inputs()?;
        let [x, dy] = &inputs[..] else { return Err(Error::input("it has two inputs, x and dy")) };
        let conv = Conv::between(self.window.clone(), &x.shape, &dy.shape)?;
        let shape = conv.w();
        // SAFETY: ONNX Runtime keeps inputs and output until its stream has come so far, apart from each other.
        unsafe { self.gradient.enqueue(&conv, x.tensor(), dy.tensor(), context.on_card(&shape)?, context) }
    }
}

struct ConvGradWeight {
    window: Window,
    layouts: [Layout; 2],
}

impl Kernel for ConvGradWeight {
    fn run(&self, context: &Context<'_>) -> Result<()> {
        let inputs = context.inputs()?;
        let [x, dy] = &inputs[..] else { return Err(Error::input("it has two inputs, x and dy")) };
        let [of_x, of_dy] = self.layouts;
        let conv = Conv::between(self.window.clone(), &plain(of_x, &x.shape)?, &plain(of_dy, &dy.shape)?)?;
        let output = context.output(0, &conv.w())?;
        // SAFETY: the output of this kind is never the memory of an input, and nobody else has it now.
        let dw = unsafe { output.write() };
        grad_weight(&conv, (x.read(), of_x), (dy.read(), of_dy), dw, context)
    }
}
