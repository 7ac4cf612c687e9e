//! `LayerNormGrad(x, dy, scale, mean, inverse_deviation)`: the gradient of a LayerNormalization, of its input, its scale
//! and its bias. Its attributes are those of `LayerNorm` but for `epsilon`.

use super::layer_norm::{Normalisation, as_input};
use super::{Inputs, Kernel, Kind, Target};
use crate::layer_norm::{Cotangents, LayerNormGrad as Grad};
use crate::ort::attributes::Attributes;
use crate::ort::context::Context;
use gnp_base::contract::functions::LAYER_NORM_GRAD;
use gnp_base::{Error, Result};

pub(super) const KIND: Kind = Kind {
    name: LAYER_NORM_GRAD,
    is_function: true,
    inputs: Inputs::Exactly(5),
    outputs: 3,
    create,
    is_on_cuda: false,
    shape: Some(as_input),
    in_place: false,
};

fn create(attributes: &Attributes<'_>, _: Target) -> Result<Box<dyn Kernel>> {
    Ok(Box::new(LayerNormGrad(Normalisation::of(attributes)?)))
}

struct LayerNormGrad(Normalisation);

impl Kernel for LayerNormGrad {
    fn run(&self, context: &Context<'_>) -> Result<()> {
        let inputs = context.inputs()?;
        let [x, dy, scale, mean, inverse_deviation] = &inputs[..] else {
            return Err(Error::input("it has five inputs: x, dy, scale, mean and inverse_deviation"));
        };
        let channels = self.0.channels(&x.shape)?;
        let shapes = [&x.shape, &scale.shape, &scale.shape];
        let [dx, dscale, dbias] = [0, 1, 2].map(|number| context.output(number, shapes[number]));
        // SAFETY: outputs of this kind are never the memory of an input, and nobody else has them now.
        let [dx, dscale, dbias] = [dx?, dscale?, dbias?].map(|output| unsafe { output.write() });
        let [x, dy, scale] = [x, dy, scale].map(|input| input.read());
        let [mean, inverse_deviation] = [mean, inverse_deviation].map(|input| input.read());
        let grad = Grad { channels, x, dy, scale, mean, inverse_deviation };
        grad.run(Cotangents { dx, dscale, dbias }, context)
    }
}
