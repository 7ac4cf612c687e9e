//! `ConvGradInput(dy, w)`: the gradient of a convolution's input. Its attributes are those of `Conv`, with the pads as
//! numbers; `output_padding`, how much of x strides leave over at the end of each axis; and `blocked`, which of dy and
//! dx have their channels in blocks, last.

use super::conv_grad_weight::{layouts, plain, window};
use super::{Inputs, Kernel, Kind, Target};
use crate::conv::{Conv, Layout, Window, grad_input};
use crate::ort::attributes::Attributes;
use crate::ort::context::Context;
use gnp_base::contract::functions::CONV_GRAD_INPUT;
use gnp_base::{Error, Result};

pub(super) const KIND: Kind =
    Kind { name: CONV_GRAD_INPUT, inputs: Inputs::Exactly(2), create, is_on_cuda: false, shape: None, in_place: false };

fn create(attributes: &Attributes<'_>, _: Target) -> Result<Box<dyn Kernel>> {
    let left_over = attributes.ints(c"output_padding")?;
    Ok(Box::new(ConvGradInput { window: window(attributes)?, left_over, layouts: layouts(attributes)? }))
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
        let output = context.output(&of_dx.shape(&conv.x()))?;
        // SAFETY: the output of this kind is never the memory of an input, and nobody else has it now.
        let dx = unsafe { output.write() };
        grad_input(&conv, (dy.read(), of_dy), w.read(), (dx, of_dx), context)
    }
}
