//! `Elementwise(x0, x1, …)`: the attribute `formula` for each element of the inputs, broadcast against each other.

use super::{Inputs, Kernel, Kind};
use crate::elementwise::{Operand, Program, elementwise, shape};
use crate::ort::attributes::Attributes;
use crate::ort::context::Context;
use gnp_base::Result;

pub(super) const KIND: Kind =
    Kind { name: "Elementwise", inputs: Inputs::Any, create, shape: Some(|shapes| shapes.broadcast()), in_place: true };

fn create(attributes: &Attributes<'_>) -> Result<Box<dyn Kernel>> {
    Ok(Box::new(Elementwise(Program::new(&attributes.text(c"formula")?.parse()?))))
}

struct Elementwise(Program);

impl Kernel for Elementwise {
    fn run(&self, context: &Context<'_>) -> Result<()> {
        let inputs = context.inputs()?;
        let operands: Vec<Operand<'_>> = inputs.iter().map(|input| input.operand()).collect();
        let output = context.output(&shape(&self.0, &operands)?)?;
        elementwise(&self.0, &operands, output, context)
    }
}
