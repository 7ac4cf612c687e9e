//! `Reduce(x0, x1, …)`: the sum, or with the attribute `mean` the mean, of the attribute `formula` over `axes`, which
//! stay with the size 1 where `keepdims` is not 0. Without `axes` it is that of all elements.

use super::{Inputs, Kernel, Kind, Target};
use crate::elementwise::{Operand, Program};
use crate::ort::attributes::Attributes;
use crate::ort::context::Context;
use crate::ort::shapes::{Shapes, Size};
use crate::reduce::{Reduction, reduce};
use gnp_base::Result;
use gnp_base::contract::functions::REDUCE;
use std::ffi::CStr;

pub(super) const KIND: Kind = Kind {
    name: REDUCE,
    is_function: true,
    inputs: Inputs::Any,
    outputs: 1,
    create,
    is_on_cuda: true,
    shape: Some(shape),
    in_place: false,
};

const AXES: &CStr = c"axes";
const KEEP: &CStr = c"keepdims";

fn create(attributes: &Attributes<'_>, target: Target) -> Result<Box<dyn Kernel>> {
    let formula = attributes.text(c"formula")?.parse()?;
    let (keep, is_mean) = (attributes.int(KEEP, 1) != 0, attributes.int(c"mean", 0) != 0);
    let reduction = Reduction { axes: attributes.ints(AXES)?, keep, is_mean };
    Ok(match target {
        Target::Cpu => Box::new(Reduce { program: Program::new(&formula), reduction }),
        #[cfg(feature = "cuda")]
        Target::Cuda { .. } => Box::new(crate::cuda::Reduce::new(formula, reduction)),
    })
}

struct Reduce {
    program: Program,
    reduction: Reduction,
}

impl Kernel for Reduce {
    fn run(&self, context: &Context<'_>) -> Result<()> {
        let inputs = context.inputs()?;
        let operands: Vec<Operand<'_>> = inputs.iter().map(|input| input.operand()).collect();
        let output = context.output(0, &self.reduction.shape(&self.program, &operands)?)?;
        reduce(&self.program, &self.reduction, &operands, output, context)
    }
}

#[cfg(feature = "cuda")]
impl Kernel for crate::cuda::Reduce {
    fn run(&self, context: &Context<'_>) -> Result<()> {
        // SAFETY: ONNX Runtime was not told that an input may be the output's memory.
        unsafe { context.enqueue(self) }
    }
}

fn shape(shapes: &Shapes<'_>) -> Option<Vec<Size>> {
    let sizes = shapes.broadcast()?;
    let keep = shapes.int(KEEP, 1) != 0;
    let reduction = Reduction { axes: shapes.ints(AXES), keep, is_mean: false };
    let reduced = reduction.reduced(sizes.len()).ok()?;
    let sizes = sizes.into_iter().zip(reduced);
    Some(sizes.filter_map(|(size, is)| if is { keep.then_some(Size::Known(1)) } else { Some(size) }).collect())
}
