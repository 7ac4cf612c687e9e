//! `ConvWeights(w)`: the weights of a convolution as ONNX Runtime's own convolutions on blocks of channels read them.
//! Its attributes are the fields of [`WeightLayout`].

use super::{Inputs, Kernel, Kind, Target};
use crate::conv::{WeightLayout, lay_out_weights};
use crate::ort::attributes::Attributes;
use crate::ort::context::Context;
use gnp_base::contract::functions::CONV_WEIGHTS;
use gnp_base::{Error, Result};

pub(super) const KIND: Kind = Kind {
    name: CONV_WEIGHTS,
    is_function: false,
    inputs: Inputs::Exactly(1),
    outputs: 1,
    create,
    is_on_cuda: false,
    shape: None,
    in_place: false,
};

fn create(attributes: &Attributes<'_>, _: Target) -> Result<Box<dyn Kernel>> {
    let block = attributes.int(c"block", 0);
    let block = usize::try_from(block).ok().filter(|block| (1..=64).contains(block));
    let block = block.ok_or_else(|| Error::input("the attribute `block` is no number of channels"))?;
    let is = |name| attributes.int(name, 0) != 0;
    Ok(Box::new(ConvWeights(WeightLayout { block, both: is(c"both"), adjoint: is(c"adjoint") })))
}

struct ConvWeights(WeightLayout);

impl Kernel for ConvWeights {
    fn run(&self, context: &Context<'_>) -> Result<()> {
        let inputs = context.inputs()?;
        let [w] = &inputs[..] else { return Err(Error::input("it has one input, w")) };
        let [m, c, places @ ..] = &w.shape[..] else {
            return Err(Error::input(format!("{:?} is the shape of no weights", w.shape)));
        };
        let shape = [&self.0.channels([*m, *c]), places].concat();
        let output = context.output(0, &shape)?;
        // SAFETY: the output of this kind is never the memory of an input, and nobody else has it now.
        let to = unsafe { output.write() };
        lay_out_weights(w.read(), [*m, *c, places.iter().product()], self.0, to, context)
    }
}
