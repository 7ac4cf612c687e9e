//! `Elementwise(x0, x1, …)`: the attribute `formula` for each element of the inputs, broadcast against each other.

use super::{Inputs, Kernel, Kind, Target};
use crate::elementwise::{Operand, Program, elementwise, shape};
use crate::ort::attributes::Attributes;
use crate::ort::context::Context;
use gnp_base::Result;
use gnp_base::contract::functions::ELEMENTWISE;

pub(super) const KIND: Kind = Kind {
    name: ELEMENTWISE,
    is_function: true,
    inputs: Inputs::Any,
    outputs: 1,
    create,
    is_on_cuda: true,
    shape: Some(|shapes| shapes.broadcast()),
    in_place: true,
};

fn create(attributes: &Attributes<'_>, target: Target) -> Result<Box<dyn Kernel>> {
    let formula = attributes.text(c"formula")?.parse()?;
    Ok(match target {
        Target::Cpu => Box::new(Elementwise(Program::new(&formula))),
        #[cfg(feature = "cuda")]
        Target::Cuda { .. } => Box::new(crate::cuda::Elementwise::new(formula)),
    })
}

struct Elementwise(Program);

impl Kernel for Elementwise {
    fn run(&self, context: &Context<'_>) -> Result<()> {
        let inputs = context.inputs()?;
        let operands: Vec<Operand<'_>> = inputs.iter().map(|input| input.operand()).collect();
        let output = context.output(0, &shape(&self.0, &operands)?)?;
        elementwise(&self.0, &operands, output, context)
    }
}

#[cfg(feature = "cuda")]
impl Kernel for crate::cuda::Elementwise {
    fn run(&self, context: &Context<'_>) -> Result<()> {
        // SAFETY: ONNX Runtime was told that an input may be the output's memory, which this kernel permits.
        unsafe { context.enqueue(self) }
    }
}
