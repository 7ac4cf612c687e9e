//! `ConvGradWeight(x, dy)`: the gradient of a convolution's weights. Its attributes are those of `Conv`, with the pads as
//! numbers; `blocked`, where it is not 0, says that x and dy come with their channels in blocks of so many, last.

use super::{Inputs, Kernel, Kind};
use crate::conv::{Conv, Layout, Window, grad_weight};
use crate::ort::attributes::Attributes;
use crate::ort::context::Context;
use gnp_base::{Error, Result};

pub(super) const KIND: Kind =
    Kind { name: "ConvGradWeight", inputs: Inputs::Exactly(2), create, shape: None, in_place: false };

/// The window of a convolution, by its attributes.
pub(super) fn window(attributes: &Attributes<'_>) -> Result<Window> {
    let ints = |name| attributes.ints(name);
    let (strides, dilations, pads) = (ints(c"strides")?, ints(c"dilations")?, ints(c"pads")?);
    Window::new(&ints(c"kernel_shape")?, &strides, &dilations, &pads, attributes.int(c"group", 1))
}

fn create(attributes: &Attributes<'_>) -> Result<Box<dyn Kernel>> {
    let blocked = attributes.int(c"blocked", 0);
    let layout = match usize::try_from(blocked) {
        Ok(0) => Layout::Plain,
        Ok(block @ (8 | 16)) => Layout::Blocked(block),
        _ => return Err(Error::input(format!("the attribute `blocked` is {blocked}: it must be 0, 8 or 16"))),
    };
    Ok(Box::new(ConvGradWeight { window: window(attributes)?, layout }))
}

struct ConvGradWeight {
    window: Window,
    layout: Layout,
}

impl Kernel for ConvGradWeight {
    fn run(&self, context: &Context<'_>) -> Result<()> {
        let inputs = context.inputs()?;
        let [x, dy] = &inputs[..] else { return Err(Error::input("it has two inputs, x and dy")) };
        let plain = |shape: &[usize]| match (self.layout, shape) {
            (Layout::Blocked(block), [batch, channels, spatial @ .., last]) if *last == block => {
                Ok([&[*batch, channels * block], spatial].concat())
            }
            (Layout::Plain, _) => Ok(shape.to_vec()),
            _ => Err(Error::input(format!("{shape:?} has no channels in blocks as `blocked` says"))),
        };
        let conv = Conv::between(self.window.clone(), &plain(&x.shape)?, &plain(&dy.shape)?)?;
        let output = context.output(&conv.w())?;
        // SAFETY: the output of this kind is never the memory of an input, and nobody else has it now.
        let dw = unsafe { output.write() };
        grad_weight(&conv, (x.read(), self.layout), (dy.read(), self.layout), dw, context)
    }
}
