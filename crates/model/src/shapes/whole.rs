//! Whole numbers, computed exactly.
//!
//! tract takes int64 constants on their way to sizes for numbers of 32 bits: 2⁶³ − 1, which exporters write for "to the
//! end", becomes −1. So what is done to the numbers of shapes, axes and bounds is computed here, as ONNX Runtime does
//! (overflow wraps); what is not, tract is asked with the large numbers left out.

use super::convert::{closed, ints};
use crate::graph::SMALL;
use crate::onnx::DataType;
use crate::onnx::proto::NodeProto;
use tract_onnx::tract_hir::internal::{DatumType, Factoid as _, InferenceFact, TDim, tensor1};

/// A small constant of whole numbers, some of which may be expressions in symbols.
struct Numbers {
    sizes: Vec<usize>,
    elements: Vec<TDim>,
    is_int32: bool,
}

impl Numbers {
    /// The numbers of a constant of int64, int32, or sizes.
    fn of(fact: &InferenceFact) -> Option<Self> {
        let tensor = fact.value.concretize()?;
        if tensor.len() > SMALL {
            return None;
        }
        let elements = match tensor.datum_type() {
            DatumType::TDim => tensor.to_plain_array_view::<TDim>().ok()?.iter().cloned().collect(),
            DatumType::I64 | DatumType::I32 => ints(fact)?.into_iter().map(TDim::Val).collect(),
            _ => return None,
        };
        let is_int32 = tensor.datum_type() == DatumType::I32;
        Some(Self { sizes: tensor.shape().to_vec(), elements, is_int32 })
    }

    fn into_fact(self) -> Option<InferenceFact> {
        let Self { sizes, elements, is_int32 } = self;
        let numbers: Option<Vec<i64>> = elements.iter().map(number).collect();
        let tensor = match numbers {
            Some(numbers) if is_int32 => tensor1(&numbers.iter().map(|&n| n as i32).collect::<Vec<_>>()),
            Some(numbers) => tensor1(&numbers),
            None => tensor1(&elements),
        };
        Some(tensor.into_shape(&sizes).ok()?.into())
    }

    fn numbers(&self) -> Option<Vec<i64>> {
        self.elements.iter().map(number).collect()
    }

    fn reshaped(self, sizes: Vec<usize>) -> Option<Self> {
        (product(&sizes)? == self.elements.len()).then_some(Self { sizes, ..self })
    }
}

/// How many elements a tensor of these sizes has.
fn product(sizes: &[usize]) -> Option<usize> {
    sizes.iter().try_fold(1, |product: usize, &size| product.checked_mul(size))
}

fn number(element: &TDim) -> Option<i64> {
    if let TDim::Val(value) = element { Some(*value) } else { None }
}

/// The constant that `node` makes of constants of whole numbers; none where it is not one of the operators here.
pub(super) fn infer(node: &NodeProto, input: impl Fn(usize) -> Option<InferenceFact>) -> Option<InferenceFact> {
    if !node.domain().is_empty() {
        return None;
    }
    let operand = |index: usize| Numbers::of(&input(index)?);
    let numbers = |name: &str, index: usize| match node.ints(name) {
        Some(ints) => Some(ints.to_vec()),
        None => ints(&input(index)?),
    };
    let made = match node.op_type() {
        "Identity" => operand(0)?,
        "Cast" => cast(operand(0)?, node.int("to", 0))?,
        "Reshape" => {
            let x = operand(0)?;
            let sizes = new_sizes(&x, &numbers("shape", 1)?, node.int("allowzero", 0) == 1)?;
            x.reshaped(sizes)?
        }
        "Squeeze" => {
            let x = operand(0)?;
            let rank = x.sizes.len();
            let axes = if node.input(1).is_some() || node.attribute("axes").is_some() {
                places(&numbers("axes", 1)?, rank)?
            } else {
                (0..rank).filter(|&axis| x.sizes[axis] == 1).collect()
            };
            let sizes = x.sizes.iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, &size)| size);
            let sizes = sizes.collect();
            x.reshaped(sizes)?
        }
        "Unsqueeze" => {
            let x = operand(0)?;
            let axes = numbers("axes", 1).filter(|axes| axes.len() <= SMALL)?;
            let rank = x.sizes.len() + axes.len();
            let axes = places(&axes, rank)?;
            let mut old = x.sizes.iter();
            let sizes = (0..rank).map(|axis| if axes.contains(&axis) { Some(1) } else { old.next().copied() });
            let sizes = sizes.collect::<Option<_>>()?;
            x.reshaped(sizes)?
        }
        "Concat" => concat((0..node.input.len()).map(operand).collect::<Option<_>>()?)?,
        "Gather" => gather(&operand(0)?, &input(1)?, node.int("axis", 0))?,
        "Slice" => {
            let x = operand(0)?;
            let is_given = |name: &str, index| node.attribute(name).is_some() || node.input(index).is_some();
            let axes = if is_given("axes", 3) { numbers("axes", 3)? } else { vec![0] };
            let steps = if is_given("steps", 4) { numbers("steps", 4)? } else { vec![1] };
            slice(x, &numbers("starts", 1)?, &numbers("ends", 2)?, &axes, &steps)?
        }
        "Neg" => with_zero(&operand(0)?, i64::wrapping_sub)?,
        "Add" => elementwise(&operand(0)?, &operand(1)?, |a, b| Some(a.wrapping_add(b)))?,
        "Sub" => elementwise(&operand(0)?, &operand(1)?, |a, b| Some(a.wrapping_sub(b)))?,
        "Mul" => elementwise(&operand(0)?, &operand(1)?, |a, b| Some(a.wrapping_mul(b)))?,
        "Div" => elementwise(&operand(0)?, &operand(1)?, |a, b| (b != 0).then(|| a.wrapping_div(b)))?,
        "Min" => extreme((0..node.input.len()).map(operand).collect::<Option<_>>()?, i64::min)?,
        "Max" => extreme((0..node.input.len()).map(operand).collect::<Option<_>>()?, i64::max)?,
        _ => return None,
    };
    made.into_fact()
}

/// A fact for tract: without its numbers, where tract would take them for others.
pub(super) fn without_large(fact: InferenceFact) -> InferenceFact {
    let is_large = |number: &i64| i32::try_from(*number).is_err();
    match Numbers::of(&fact) {
        Some(Numbers { elements, .. }) if elements.iter().filter_map(number).any(|n| is_large(&n)) => {
            fact.without_value()
        }
        _ => fact,
    }
}

fn cast(x: Numbers, to: i64) -> Option<Numbers> {
    match DataType::try_from(i32::try_from(to).ok()?).ok()? {
        DataType::Int64 => Some(Numbers { is_int32: false, ..x }),
        DataType::Int32 => Some(Numbers { elements: wrapped(&x.numbers()?), is_int32: true, ..x }),
        _ => None,
    }
}

/// The numbers in 32 bits.
fn wrapped(numbers: &[i64]) -> Vec<TDim> {
    numbers.iter().map(|&n| TDim::Val((n as i32).into())).collect()
}

/// The sizes that `Reshape` makes of its second input.
fn new_sizes(x: &Numbers, shape: &[i64], zero_is_a_size: bool) -> Option<Vec<usize>> {
    let size = |(axis, &size): (usize, &i64)| match size {
        0 if !zero_is_a_size => x.sizes.get(axis).copied(),
        -1 => Some(1),
        size => usize::try_from(size).ok(),
    };
    let mut sizes = shape.iter().enumerate().map(size).collect::<Option<Vec<_>>>()?;
    if let Some(open) = shape.iter().position(|&size| size == -1) {
        sizes[open] = x.elements.len().checked_div(product(&sizes)?)?;
    }
    Some(sizes)
}

/// Axes as positions.
fn places(axes: &[i64], rank: usize) -> Option<Vec<usize>> {
    let place = |&axis: &i64| usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok();
    axes.iter().map(place).collect()
}

fn concat(parts: Vec<Numbers>) -> Option<Numbers> {
    if parts.iter().any(|part| part.sizes.len() != 1) {
        return None;
    }
    let is_int32 = parts.iter().any(|part| part.is_int32);
    let elements: Vec<TDim> = parts.into_iter().flat_map(|part| part.elements).collect();
    (elements.len() <= SMALL).then(|| Numbers { sizes: vec![elements.len()], elements, is_int32 })
}

/// Elements of a vector.
fn gather(x: &Numbers, indices: &InferenceFact, axis: i64) -> Option<Numbers> {
    if x.sizes.len() != 1 || !matches!(axis, 0 | -1) {
        return None;
    }
    let sizes = closed(&indices.shape)?
        .iter()
        .map(|dim| usize::try_from(dim.concretize()?.to_i64().ok()?).ok())
        .collect::<Option<_>>()?;
    let at = places(&ints(indices)?, x.elements.len())?;
    let elements = at.into_iter().map(|at| x.elements.get(at).cloned()).collect::<Option<_>>()?;
    Some(Numbers { sizes, elements, is_int32: x.is_int32 })
}

/// A part of a vector.
fn slice(x: Numbers, starts: &[i64], ends: &[i64], axes: &[i64], steps: &[i64]) -> Option<Numbers> {
    let (&[start], &[end], &[0 | -1], &[step], &[size]) = (starts, ends, axes, steps, &x.sizes[..]) else {
        return None;
    };
    let size = size as i64;
    let from_front = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
    let (start, end) = (from_front(start), from_front(end));
    let elements: Vec<TDim> = match step {
        0 => return None,
        1.. => (start.clamp(0, size)..end.clamp(0, size)).step_by(step as usize).collect::<Vec<_>>(),
        _ => {
            let (first, last) = (start.clamp(-1, size - 1), end.clamp(-1, size - 1));
            (last + 1..=first).rev().step_by(step.unsigned_abs() as usize).collect()
        }
    }
    .into_iter()
    .map(|at| x.elements[at as usize].clone())
    .collect();
    Some(Numbers { sizes: vec![elements.len()], elements, is_int32: x.is_int32 })
}

fn with_zero(x: &Numbers, f: impl Fn(i64, i64) -> i64) -> Option<Numbers> {
    let zero = Numbers { sizes: vec![], elements: vec![TDim::Val(0)], is_int32: x.is_int32 };
    elementwise(&zero, x, |a, b| Some(f(a, b)))
}

fn extreme(operands: Vec<Numbers>, f: impl Fn(i64, i64) -> i64 + Copy) -> Option<Numbers> {
    let mut operands = operands.into_iter();
    let first = operands.next()?;
    operands.try_fold(first, |a, b| elementwise(&a, &b, |a, b| Some(f(a, b))))
}

/// The operands have one shape, or one of them is a single number.
fn elementwise(a: &Numbers, b: &Numbers, f: impl Fn(i64, i64) -> Option<i64>) -> Option<Numbers> {
    let sizes = match (a, b) {
        (a, b) if a.sizes == b.sizes => &a.sizes,
        (one, other) if one.elements.len() == 1 && one.sizes.len() <= other.sizes.len() => &other.sizes,
        (other, one) if one.elements.len() == 1 && one.sizes.len() <= other.sizes.len() => &other.sizes,
        _ => return None,
    };
    let count = sizes.iter().product();
    let (x, y) = (a.numbers()?, b.numbers()?);
    let pairs = x.iter().cycle().zip(y.iter().cycle()).take(count);
    let numbers = pairs.map(|(&x, &y)| f(x, y)).collect::<Option<Vec<_>>>()?;
    let is_int32 = a.is_int32 && b.is_int32;
    let elements = if is_int32 { wrapped(&numbers) } else { numbers.into_iter().map(TDim::Val).collect() };
    Some(Numbers { sizes: sizes.clone(), elements, is_int32 })
}
