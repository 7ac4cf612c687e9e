//! `ConvGradInput(dy, w)`: the gradient of a convolution's input. Its attributes are those of `Conv`, with the pads as
//! numbers; `output_padding`, how much of x strides leave over at the end of each axis; and `blocked`, which of dy and
//! dx have their channels in blocks, last.

use super::conv_grad_weight::{layouts, plain, window};
use super::{Inputs, Kernel, Kind, Target};
use crate::conv::{Conv, Layout, Window, grad_input};
#[cfg(feature = "cuda")]
use crate::cuda::{ConvGradient, Gradient};
use crate::ort::attributes::Attributes;
use crate::ort::context::Context;
use gnp_base::contract::functions::CONV_GRAD_INPUT;
use gnp_base::{Error, Result};

pub(super) const KIND: Kind = Kind {
    name: CONV_GRAD_INPUT,
    is_function: true,
    inputs: Inputs::Exactly(2),
    outputs: 1,
    create,
    is_on_cuda: true,
    shape: None,
    in_place: false,
};

fn create(attributes: &Attributes<'_>, target: Target) -> Result<Box<dyn Kernel>> {
    let (window, left_over) = (window(attributes)?, attributes.ints(c"output_padding")?);
    Ok(match target {
        Target::Cpu => Box::new(ConvGradInput { window, left_over, layouts: layouts(attributes)? }),
        #[cfg(feature = "cuda")]
        Target::Cuda { tf32 } => {
            Box::new(OnCard { window, left_over, gradient: ConvGradient::new(Gradient::Input, tf32) })
        }
    })
}

#[cfg(feature = "cuda")]
struct OnCard {
    window: Window,
    left_over: Vec<i64>,
    gradient: ConvGradient,
}

#[cfg(feature = "cuda")]
impl Kernel for OnCard {
    fn run(&self, context: &Context<'_>) -> Result<()> {
        let inputs = context.inputs()?;
        let [dy, w] = &inputs[..] else { return Err(Error::input("it has two inputs, dy and w")) };
        let conv = Conv::making(self.window.clone(), &dy.shape, &w.shape, &self.left_over)?;
        let shape = conv.x();
        // SAFETY: ONNX Runtime keeps inputs and output until its stream has come so far, apart from each other.
        unsafe { self.gradient.enqueue(&conv, dy.tensor(), w.tensor(), context.on_card(&shape)?, context) }
    }
}

struct ConvGradInput {
    window: Window,
    left_over: Vec<i64>,
    layouts: [Layout; 2],
}

impl Kernel for ConvGradInput {
    fn run(&self, context: &Context<'_>) -> Result<()> {
        let inputs = context.inputs()?;
        let [dy, w] = &inputs[..] else { return Err(Error::input("it has two inputs, dy and w")) };
        let [of_dy, of_dx] = self.layouts;
        let conv = Conv::making(self.window.clone(), &plain(of_dy, &dy.shape)?, &w.shape, &self.left_over)?;
        let output = context.output(0, &of_dx.shape(&conv.x()))?;
        // SAFETY: the output of this kind is never the memory of an input, and nobody else has it now.
        let dx = unsafe { output.write() };
        grad_input(&conv, (dy.read(), of_dy), w.read(), (dx, of_dx), context)
    }
}
