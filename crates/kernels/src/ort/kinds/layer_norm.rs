//! `LayerNorm(x, scale)` and `LayerNorm(x, scale, bias)`: a LayerNormalization, its means and inverse deviations. Its
//! attributes: `axis` and `epsilon`, those of the standard's operator; `channels_first`, whether x is images, [N, C,
//! spatial…], of which C is normalised over, and `blocked`, whether their channels are in blocks, last.

use super::conv_grad_weight::{BLOCKED, layout};
use super::{Inputs, Kernel, Kind, Target};
use crate::conv::Layout;
use crate::layer_norm::{Channels, LayerNorm as Norm, Normalised};
use crate::ort::attributes::Attributes;
use crate::ort::context::Context;
use crate::ort::shapes::{Shapes, Size};
use gnp_base::contract::functions::LAYER_NORM;
use gnp_base::{Error, Result};
use std::ffi::CStr;

/// [`gnp_base::contract::functions::CHANNELS_FIRST`].
const CHANNELS_FIRST: &CStr = c"channels_first";

pub(super) const KIND: Kind = Kind {
    name: LAYER_NORM,
    is_function: false,
    inputs: Inputs::Any,
    outputs: 3,
    create,
    is_on_cuda: false,
    shape: Some(as_input),
    in_place: false,
};

/// The first output is as the first input.
pub(super) fn as_input(shapes: &Shapes<'_>) -> Option<Vec<Size>> {
    shapes.known(0)
}

fn create(attributes: &Attributes<'_>, _: Target) -> Result<Box<dyn Kernel>> {
    let epsilon = attributes.float(c"epsilon", 1e-5);
    Ok(Box::new(LayerNorm { of: Normalisation::of(attributes)?, epsilon }))
}

/// What a LayerNormalization goes over.
pub(super) enum Normalisation {
    /// All axes from this one on.
    From(i64),
    /// The channels of images.
    Images(Layout),
}

impl Normalisation {
    pub(super) fn of(attributes: &Attributes<'_>) -> Result<Self> {
        Ok(match attributes.int(CHANNELS_FIRST, 0) {
            0 => Self::From(attributes.int(c"axis", -1)),
            _ => Self::Images(layout(attributes.int(BLOCKED, 0))?),
        })
    }

    /// The channels of a tensor of this shape.
    pub(super) fn channels(&self, shape: &[usize]) -> Result<Channels> {
        match self {
            Self::From(axis) => Channels::last(shape, *axis),
            Self::Images(layout) => Channels::of_images(shape, *layout),
        }
    }

    /// The shape of the means: that of the tensor with 1 for each axis that is normalised over, which comes last.
    fn means(&self, shape: &[usize]) -> Vec<usize> {
        match (self, shape) {
            (Self::From(axis), _) => {
                let first = if *axis < 0 { axis + shape.len() as i64 } else { *axis };
                shape.iter().zip(0..).map(|(&size, axis)| if axis < first { size } else { 1 }).collect()
            }
            (Self::Images(Layout::Plain), [images, _, spatial @ ..])
            | (Self::Images(Layout::Blocked(_)), [images, _, spatial @ .., _]) => [&[*images], spatial, &[1]].concat(),
            _ => Vec::new(),
        }
    }
}

struct LayerNorm {
    of: Normalisation,
    epsilon: f32,
}

impl Kernel for LayerNorm {
    fn run(&self, context: &Context<'_>) -> Result<()> {
        let inputs = context.inputs()?;
        let (x, scale, bias) = match &inputs[..] {
            [x, scale] => (x, scale, None),
            [x, scale, bias] => (x, scale, Some(bias.read())),
            _ => return Err(Error::input("it has two inputs, x and scale, and may have a bias")),
        };
        let (channels, means) = (self.of.channels(&x.shape)?, self.of.means(&x.shape));
        let outputs = [context.output(0, &x.shape)?, context.output(1, &means)?, context.output(2, &means)?];
        // SAFETY: outputs of this kind are never the memory of an input, and nobody else has them now.
        let [y, mean, inverse_deviation] = outputs.map(|output| unsafe { output.write() });
        let norm = Norm { channels, epsilon: self.epsilon, x: x.read(), scale: scale.read(), bias };
        norm.run(Normalised { y, mean, inverse_deviation }, context)
    }
}
