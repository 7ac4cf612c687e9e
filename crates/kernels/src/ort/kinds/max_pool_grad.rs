//! `MaxPoolGrad(x, dy)`: the gradient of a maximum over windows. Its attributes are those of `MaxPool`, with the pads
//! as numbers; `blocked` says whether all tensors have their channels in blocks, last.

use super::conv_grad_weight::{layouts, plain, window};
use super::{Inputs, Kernel, Kind, Target};
use crate::conv::{Layout, Window};
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::max_pool::{MaxPool, grad};
use crate::ort::attributes::Attributes;
use crate::ort::context::{Context, Input};
use gnp_base::contract::functions::MAX_POOL_GRAD;
use gnp_base::{Error, Result};

pub(super) const KIND: Kind = Kind {
    name: MAX_POOL_GRAD,
    is_function: true,
    inputs: Inputs::Exactly(2),
    outputs: 1,
    create,
    is_on_cuda: true,
    shape: None,
    in_place: false,
};

fn create(attributes: &Attributes<'_>, target: Target) -> Result<Box<dyn Kernel>> {
    let window = window(attributes)?;
    let [layout, of_dy] = layouts(attributes)?;
    if layout != of_dy {
        return Err(Error::input("x and dy are to be in blocks of the same size"));
    }
    Ok(match target {
        Target::Cpu => Box::new(MaxPoolGrad { window, layout }),
        #[cfg(feature = "cuda")]
        Target::Cuda { .. } => Box::new(OnCard { window }),
    })
}

fn two<'i, 'a>(inputs: &'i [Input<'a>]) -> Result<[&'i Input<'a>; 2]> {
    match inputs {
        [x, dy] => Ok([x, dy]),
        _ => Err(Error::input("it has two inputs, x and dy")),
    }
}

#[cfg(feature = "cuda")]
struct OnCard {
    window: Window,
}

#[cfg(feature = "cuda")]
impl Kernel for OnCard {
    fn run(&self, context: &Context<'_>) -> Result<()> {
        let inputs = context.inputs()?;
        let [x, dy] = two(&inputs)?;
        let pool = MaxPool::new(&self.window, &x.shape, &dy.shape)?;
        // SAFETY: ONNX Runtime keeps inputs and output until its stream has come so far, apart from each other.
        unsafe { cuda::max_pool::enqueue(&pool, x.tensor(), dy.tensor(), context.on_card(&x.shape)?, context) }
    }
}

struct MaxPoolGrad {
    window: Window,
    layout: Layout,
}

impl Kernel for MaxPoolGrad {
    fn run(&self, context: &Context<'_>) -> Result<()> {
        let inputs = context.inputs()?;
        let [x, dy] = two(&inputs)?;
        let pool = MaxPool::new(&self.window, &plain(self.layout, &x.shape)?, &plain(self.layout, &dy.shape)?)?;
        let output = context.output(0, &x.shape)?;
        // SAFETY: the output of this kind is never the memory of an input, and nobody else has it now.
        let dx = unsafe { output.write() };
        grad(&pool, self.layout, x.read(), dy.read(), dx, context)
    }
}
