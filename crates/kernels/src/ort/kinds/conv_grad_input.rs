//! `ConvGradInput(dy, w)`: the gradient of a convolution's input. Its attributes are those of `Conv`, with the pads as
//! numbers, and `output_padding`: how much of x strides leave over at the end of each axis.

use super::conv_grad_weight::window;
use super::{Inputs, Kernel, Kind};
use crate::conv::{Conv, Layout, Window, grad_input};
use crate::ort::attributes::Attributes;
use crate::ort::context::Context;
use gnp_base::{Error, Result};

pub(super) const KIND: Kind =
    Kind { name: "ConvGradInput", inputs: Inputs::Exactly(2), create, shape: None, in_place: false };

fn create(attributes: &Attributes<'_>) -> Result<Box<dyn Kernel>> {
    let left_over = attributes.ints(c"output_padding")?;
    Ok(Box::new(ConvGradInput { window: window(attributes)?, left_over }))
}

struct ConvGradInput {
    window: Window,
    left_over: Vec<i64>,
}

impl Kernel for ConvGradInput {
    fn run(&self, context: &Context<'_>) -> Result<()> {
        let inputs = context.inputs()?;
        let [dy, w] = &inputs[..] else { return Err(Error::input("it has two inputs, dy and w")) };
        let conv = Conv::making(self.window.clone(), &dy.shape, &w.shape, &self.left_over)?;
        let output = context.output(&conv.x())?;
        // SAFETY: the output of this kind is never the memory of an input, and nobody else has it now.
        let dx = unsafe { output.write() };
        grad_input(&conv, (dy.read(), Layout::Plain), w.read(), (dx, Layout::Plain), context)
    }
}
