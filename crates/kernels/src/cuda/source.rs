//! Source texts: a formula, and the walk through its operands.

use crate::layout::{self, Axis};
use gnp_base::formula::{Formula, Operation, Term, TermId};
use gnp_base::{Error, Result};
use std::fmt::Write as _;

/// The floats that a thread reads at once.
pub(super) const WIDTH: usize = 4;

/// The device function `f` of the formula: `float f(float x0, …)`.
pub(super) fn function(formula: &Formula) -> String {
    let terms = formula.terms();
    let mut text = String::from("__device__ __forceinline__ float f(");
    let operands: Vec<String> = used(formula).into_iter().map(|number| format!("float x{number}")).collect();
    text += &operands.join(", ");
    text += ") {\n";
    for (place, term) in terms.iter().enumerate() {
        let value = match term {
            Term::Operand(number) => format!("x{number}"),
            Term::Constant(value) => format!("__int_as_float(0x{:08x})", value.to_bits()),
            Term::Apply(operation, arguments) => expression(*operation, arguments),
        };
        let _ = writeln!(text, "  const float t{place} = {value};");
    }
    let _ = writeln!(text, "  return t{};\n}}", terms.len().saturating_sub(1));
    text
}

/// The sizes that operands of these shapes broadcast to, where they are as many as the formula has.
pub(super) fn broadcast(formula: &Formula, shapes: &[&[usize]]) -> Result<Vec<usize>> {
    if shapes.len() < formula.operands() {
        let (takes, has) = (formula.operands(), shapes.len());
        return Err(Error::input(format!("the formula has {takes} operands, and there are {has} inputs")));
    }
    layout::broadcast(shapes)
}

/// The numbers of the operands that a formula names, in order.
pub(super) fn used(formula: &Formula) -> Vec<usize> {
    let mut numbers: Vec<usize> = formula
        .terms()
        .iter()
        .filter_map(|term| if let Term::Operand(number) = term { Some(*number) } else { None })
        .collect();
    numbers.sort_unstable();
    numbers
}

fn expression(operation: Operation, arguments: &[TermId]) -> String {
    let argument = |place: usize| arguments.get(place).map_or(String::new(), |id| format!("t{}", id.index()));
    let (a, b, c) = (argument(0), argument(1), argument(2));
    let truth = |is: String| format!("({is}) ? 1.0f : 0.0f");
    match operation {
        Operation::Add => format!("{a} + {b}"),
        Operation::Sub => format!("{a} - {b}"),
        Operation::Mul => format!("{a} * {b}"),
        Operation::Div => format!("{a} / {b}"),
        Operation::Neg => format!("-{a}"),
        Operation::Abs => format!("fabsf({a})"),
        Operation::Exp => format!("expf({a})"),
        Operation::Log => format!("logf({a})"),
        Operation::Sqrt => format!("sqrtf({a})"),
        Operation::Reciprocal => format!("1.0f / {a}"),
        Operation::Erf => format!("erff({a})"),
        Operation::Tanh => format!("tanhf({a})"),
        Operation::Sigmoid => format!("1.0f / (1.0f + expf(-{a}))"),
        Operation::Pow => format!("powf({a}, {b})"),
        Operation::Min => format!("({a} < {b} || {a} != {a}) ? {a} : {b}"),
        Operation::Max => format!("({a} > {b} || {a} != {a}) ? {a} : {b}"),
        Operation::Sign => format!("({a} > 0.0f ? 1.0f : 0.0f) - ({a} < 0.0f ? 1.0f : 0.0f)"),
        Operation::Floor => format!("floorf({a})"),
        Operation::Ceil => format!("ceilf({a})"),
        Operation::Round => format!("rintf({a})"),
        Operation::Sin => format!("sinf({a})"),
        Operation::Cos => format!("cosf({a})"),
        Operation::Less => truth(format!("{a} < {b}")),
        Operation::LessOrEqual => truth(format!("{a} <= {b}")),
        Operation::Greater => truth(format!("{a} > {b}")),
        Operation::GreaterOrEqual => truth(format!("{a} >= {b}")),
        Operation::Equal => truth(format!("{a} == {b}")),
        Operation::And => truth(format!("{a} != 0.0f && {b} != 0.0f")),
        Operation::Or => truth(format!("{a} != 0.0f || {b} != 0.0f")),
        Operation::Not => truth(format!("{a} == 0.0f")),
        Operation::Where => format!("{a} != 0.0f ? {b} : {c}"),
    }
}

/// The type of places, for tensors of so many elements.
pub(super) fn place_type(elements: usize) -> &'static str {
    // Twice as many places as there are elements can be counted, so no sum of two of them is too large.
    if elements < 1 << 30 { "unsigned int" } else { "unsigned long long" }
}

/// The text that finds the numbers `{name}0`, `{name}1`, … along axes of an element's number in `{name}`. The sizes
/// but the first are those that the arguments `n_{axis}` tell.
pub(super) fn numbers(name: &str, axes: &[usize]) -> String {
    let mut text = String::new();
    for (place, axis) in axes.iter().enumerate().rev() {
        let _ = match place {
            0 => writeln!(text, "  const I at_{axis} = {name};"),
            _ => writeln!(text, "  const I at_{axis} = {name} % n_{axis}; {name} /= n_{axis};"),
        };
    }
    text
}

/// The place of an operand by the numbers along those of `axes` that it moves with, by arguments `s{operand}_{axis}`.
pub(super) fn place(operand: usize, axes: &[Axis], along: &[usize]) -> String {
    let moves = along.iter().filter(|axis| axes[**axis].strides[operand] != 0);
    let terms: Vec<String> = moves
        .map(|axis| {
            if axes[*axis].strides[operand] == 1 {
                format!("at_{axis}")
            } else {
                format!("at_{axis} * s{operand}_{axis}")
            }
        })
        .collect();
    if terms.is_empty() { "0".to_owned() } else { terms.join(" + ") }
}

/// How a thread reads operands, and hands them to the formula: `width` neighbours along the last axis at once.
pub(super) struct Reading<'a> {
    pub(super) axes: &'a [Axis],
    /// The numbers of the operands that are read.
    pub(super) used: &'a [usize],
    pub(super) width: usize,
}

impl Reading<'_> {
    /// Whether an operand has a float for each neighbour, and not one for all.
    fn is_run(&self, of: usize) -> bool {
        self.width > 1 && self.axes.last().is_some_and(|axis| axis.strides[of] == 1)
    }

    /// The text that reads operand number `of` at `place`.
    pub(super) fn read(&self, of: usize, place: &str) -> String {
        if self.is_run(of) {
            format!("  const float4 v{of} = *(const float4*)(p{of} + ({place}));\n")
        } else {
            format!("  const float v{of} = p{of}[{place}];\n")
        }
    }

    /// What the formula makes of the neighbour that is called `lane` in a `float4`.
    pub(super) fn value(&self, lane: &str) -> String {
        let value = |&of: &usize| if self.is_run(of) { format!("v{of}.{lane}") } else { format!("v{of}") };
        format!("f({})", self.used.iter().map(value).collect::<Vec<_>>().join(", "))
    }
}

/// Whether runs of [`WIDTH`] floats along the last axis are runs in all operands of those numbers, or one float there.
pub(super) fn is_wide(axes: &[Axis], operands: &[usize]) -> bool {
    let Some((last, outer)) = axes.split_last() else { return false };
    last.size.is_multiple_of(WIDTH)
        && operands.iter().all(|&of| match last.strides[of] {
            0 => true,
            1 => outer.iter().all(|axis| axis.strides[of].is_multiple_of(WIDTH)),
            _ => false,
        })
}

/// The arguments for the sizes and strides that [`declare`] declares, in that order.
pub(super) fn sizes(axes: &[Axis], operands: &[usize]) -> Vec<u64> {
    let strides = operands.iter().flat_map(|&of| axes.iter().map(move |axis| axis.strides[of]));
    let strides = strides.filter(|stride| *stride > 1);
    axes.iter().map(|axis| axis.size).chain(strides).map(|size| size as u64).collect()
}

/// The parameters for the sizes of all axes, and for the strides of operands that are neither 0 nor 1.
pub(super) fn declare(axes: &[Axis], operands: &[usize]) -> String {
    let mut text = String::new();
    for axis in 0..axes.len() {
        let _ = write!(text, ", I n_{axis}");
    }
    for of in operands {
        for (number, axis) in axes.iter().enumerate() {
            if axis.strides[*of] > 1 {
                let _ = write!(text, ", I s{of}_{number}");
            }
        }
    }
    text
}
