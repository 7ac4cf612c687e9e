//! `MatMul(a, b)` and `MatMul(a, b, bias)`: a product of matrices. Its attributes: `a_axes`, `b_axes` and `y_axes`, the
//! orders of the axes of both inputs and of the output; `alpha`.

use super::{Inputs, Kernel, Kind, Target};
use crate::matmul::MatMul;
use crate::ort::attributes::Attributes;
use crate::ort::context::Context;
use crate::ort::shapes::{Shapes, Size};
use gnp_base::contract::functions::MATMUL;
use gnp_base::{Error, Result};
use std::ffi::CStr;

pub(super) const KIND: Kind = Kind {
    name: MATMUL,
    is_function: false,
    inputs: Inputs::Any,
    outputs: 1,
    create,
    is_on_cuda: false,
    shape: Some(shape),
    in_place: false,
};

const A_AXES: &CStr = c"a_axes";
const B_AXES: &CStr = c"b_axes";
const Y_AXES: &CStr = c"y_axes";

fn create(attributes: &Attributes<'_>, _: Target) -> Result<Box<dyn Kernel>> {
    let axes = |name: &CStr| {
        let axes = attributes.ints(name)?.into_iter().map(|axis| usize::try_from(axis).ok()).collect();
        let axes: Option<Vec<_>> = axes;
        axes.ok_or_else(|| Error::input(format!("the attribute {name:?} has an axis below 0")))
    };
    let alpha = attributes.float(c"alpha", 1.0);
    Ok(Box::new(MatMul { a_axes: axes(A_AXES)?, b_axes: axes(B_AXES)?, y_axes: axes(Y_AXES)?, alpha }))
}

impl Kernel for MatMul {
    fn run(&self, context: &Context<'_>) -> Result<()> {
        let inputs = context.inputs()?;
        let (a, b, bias) = match &inputs[..] {
            [a, b] => (a, b, None),
            [a, b, bias] => (a, b, Some(bias.read())),
            _ => return Err(Error::input("it has two inputs, a and b, and may have a bias")),
        };
        let output = context.output(0, &self.shape(&a.shape, &b.shape)?)?;
        MatMul::run(self, (a.read(), &a.shape), (b.read(), &b.shape), bias, output, context)
    }
}

/// The shape of the output where no axis of a batch has to be repeated.
fn shape(shapes: &Shapes<'_>) -> Option<Vec<Size>> {
    let ordered = |sizes: Vec<Size>, axes: &CStr| {
        let axes = shapes.ints(axes);
        let at = |axis: &i64| sizes.get(usize::try_from(*axis).ok()?).cloned();
        if axes.is_empty() { Some(sizes) } else { axes.iter().map(at).collect() }
    };
    let (a, b) = (ordered(shapes.known(0)?, A_AXES)?, ordered(shapes.known(1)?, B_AXES)?);
    let ([of_a @ .., m, _], [of_b @ .., _, n]) = (&a[..], &b[..]) else { return None };
    let batch = match (of_a, of_b) {
        (batch, []) | ([], batch) => batch,
        (batch, other) if batch == other => batch,
        _ => return None,
    };
    ordered(batch.iter().chain([m, n]).cloned().collect(), Y_AXES)
}
