//! Runs a program over a block, one instruction after the other.

use super::ahead::Ahead;
use super::program::{Code, Program, Source};
use crate::math;
use crate::simd::Level;
use gnp_base::formula::Operation;
use std::cell::Cell;

/// A value of a block: one for all of its elements, or one each.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    One(f32),
    Each(&'a [Cell<f32>]),
}

/// A program with its registers.
pub(crate) struct Machine<'a> {
    program: &'a Program,
    memory: &'a [Cell<f32>],
    block: usize,
    values: Vec<Value<'a>>,
}

impl<'a> Machine<'a> {
    /// How many floats the registers of `program` take for blocks of at most so many.
    pub(crate) fn memory(program: &Program, block: usize) -> usize {
        program.registers * block
    }

    /// Registers are in `memory`.
    pub(crate) fn new(program: &'a Program, memory: &'a [Cell<f32>], block: usize) -> Self {
        Self { program, memory, block, values: vec![Value::One(0.0); program.registers + 1] }
    }

    /// The value of the formula for the operands of one block. What has to be computed for each element is left in
    /// `target`, which has the block's length and may be an operand. Meanwhile memory is asked for `ahead`.
    #[inline(always)]
    pub(crate) fn evaluate<L: Level>(
        &mut self,
        operands: &[Value<'a>],
        target: &'a [Cell<f32>],
        ahead: &Ahead<'_>,
    ) -> Value<'a> {
        let program = self.program;
        let mut result = None;
        for (place, instruction) in program.instructions.iter().enumerate() {
            ahead.ask(place);
            let arguments = instruction.arguments.map(|source| self.value(source, operands));
            let value = if let [Value::One(a), Value::One(b), Value::One(c)] = arguments {
                Value::One(scalar(instruction.code, [a, b, c]))
            } else {
                let is_last = place + 1 == program.instructions.len();
                let memory = |start: usize| &self.memory[start..start + target.len()];
                let target = if is_last { target } else { memory(instruction.register * self.block) };
                each::<L>(instruction.code, arguments, target);
                Value::Each(target)
            };
            self.values[instruction.register] = value;
            result = Some(value);
        }
        result.unwrap_or_else(|| self.value(program.result, operands))
    }

    #[inline(always)]
    fn value(&self, source: Source, operands: &[Value<'a>]) -> Value<'a> {
        match source {
            Source::Operand(number) => operands[number],
            Source::Constant(value) => Value::One(value),
            Source::Register(register) => self.values[register],
        }
    }
}

fn scalar(code: Code, [a, b, c]: [f32; 3]) -> f32 {
    match code {
        Code::Operation(operation) => operation.evaluate(&[a, b, c]),
        Code::MultiplyAdd => a * b + c,
        Code::MultiplySubtract => a * b - c,
        Code::SubtractProduct => c - a * b,
        Code::Cube => a * a * a,
    }
}

/// The instruction for each element.
#[inline(always)]
fn each<L: Level>(code: Code, arguments: [Value<'_>; 3], target: &[Cell<f32>]) {
    use Operation as O;
    let [a, b, _] = arguments;
    let truth = |is: bool| if is { 1.0 } else { 0.0 };
    match code {
        Code::MultiplyAdd => ternary(target, arguments, |a, b, c| L::mul_add(a, b, c)),
        Code::MultiplySubtract => ternary(target, arguments, |a, b, c| L::mul_add(a, b, -c)),
        Code::SubtractProduct => ternary(target, arguments, |a, b, c| L::mul_add(-a, b, c)),
        Code::Cube => unary(target, a, |a| a * a * a),
        Code::Operation(operation) => match operation {
            O::Add => binary(target, a, b, |a, b| a + b),
            O::Sub => binary(target, a, b, |a, b| a - b),
            O::Mul => binary(target, a, b, |a, b| a * b),
            O::Div => binary(target, a, b, |a, b| a / b),
            O::Neg => unary(target, a, |a| -a),
            O::Abs => unary(target, a, |a| a.abs()),
            O::Exp => unary(target, a, |a| math::exp::<L>(a)),
            O::Log => unary(target, a, |a| math::log::<L>(a)),
            O::Sqrt => unary(target, a, |a| a.sqrt()),
            O::Reciprocal => unary(target, a, |a| 1.0 / a),
            O::Erf => unary(target, a, |a| math::erf::<L>(a)),
            O::Tanh => unary(target, a, |a| math::tanh::<L>(a)),
            O::Sigmoid => unary(target, a, |a| math::sigmoid::<L>(a)),
            O::Min => binary(target, a, b, |a, b| if a < b || a.is_nan() { a } else { b }),
            O::Max => binary(target, a, b, |a, b| if a > b || a.is_nan() { a } else { b }),
            O::Sign => unary(target, a, |a| truth(a > 0.0) - truth(a < 0.0)),
            O::Floor => unary(target, a, |a| a.floor()),
            O::Ceil => unary(target, a, |a| a.ceil()),
            O::Round => unary(target, a, |a| a.round_ties_even()),
            O::Less => binary(target, a, b, |a, b| truth(a < b)),
            O::LessOrEqual => binary(target, a, b, |a, b| truth(a <= b)),
            O::Greater => binary(target, a, b, |a, b| truth(a > b)),
            O::GreaterOrEqual => binary(target, a, b, |a, b| truth(a >= b)),
            O::Equal => binary(target, a, b, |a, b| truth(a == b)),
            O::And => binary(target, a, b, |a, b| truth((a != 0.0) & (b != 0.0))),
            O::Or => binary(target, a, b, |a, b| truth((a != 0.0) | (b != 0.0))),
            O::Not => unary(target, a, |a| truth(a == 0.0)),
            O::Where => ternary(target, arguments, |a, b, c| if a != 0.0 { b } else { c }),
            // Rare in a step, and calls.
            O::Pow | O::Sin | O::Cos => binary(target, a, b, |a, b| operation.evaluate(&[a, b])),
        },
    }
}

/// An argument of a loop.
trait Argument: Copy {
    /// Whether it has so many elements.
    fn has(self, count: usize) -> bool;

    /// # Safety
    /// It has more elements than `place`.
    unsafe fn at(self, place: usize) -> f32;
}

impl Argument for f32 {
    #[inline(always)]
    fn has(self, _: usize) -> bool {
        true
    }

    #[inline(always)]
    unsafe fn at(self, _: usize) -> f32 {
        self
    }
}

impl Argument for &[Cell<f32>] {
    #[inline(always)]
    fn has(self, count: usize) -> bool {
        self.len() >= count
    }

    #[inline(always)]
    unsafe fn at(self, place: usize) -> f32 {
        // SAFETY: by this function's contract.
        unsafe { self.get_unchecked(place) }.get()
    }
}

#[inline(always)]
fn unary(target: &[Cell<f32>], a: Value<'_>, f: impl Fn(f32) -> f32) {
    let Value::Each(a) = a else { return };
    let a = &a[..target.len()];
    target.iter().zip(a).for_each(|(target, a)| target.set(f(a.get())));
}

#[inline(always)]
fn binary(target: &[Cell<f32>], a: Value<'_>, b: Value<'_>, f: impl Fn(f32, f32) -> f32) {
    match (a, b) {
        (Value::Each(a), Value::Each(b)) => each2(target, a, b, f),
        (Value::Each(a), Value::One(b)) => each2(target, a, b, f),
        (Value::One(a), Value::Each(b)) => each2(target, a, b, f),
        (Value::One(a), Value::One(b)) => each2(target, a, b, f),
    }
}

#[inline(always)]
fn ternary(target: &[Cell<f32>], [a, b, c]: [Value<'_>; 3], f: impl Fn(f32, f32, f32) -> f32) {
    match (a, b) {
        (Value::Each(a), Value::Each(b)) => third(target, a, b, c, f),
        (Value::Each(a), Value::One(b)) => third(target, a, b, c, f),
        (Value::One(a), Value::Each(b)) => third(target, a, b, c, f),
        (Value::One(a), Value::One(b)) => third(target, a, b, c, f),
    }
}

#[inline(always)]
fn third(target: &[Cell<f32>], a: impl Argument, b: impl Argument, c: Value<'_>, f: impl Fn(f32, f32, f32) -> f32) {
    match c {
        Value::Each(c) => each3(target, a, b, c, f),
        Value::One(c) => each3(target, a, b, c, f),
    }
}

// Lengths are checked once: a loop that may end at each element does its last ones one by one.

#[inline(always)]
fn each2(target: &[Cell<f32>], a: impl Argument, b: impl Argument, f: impl Fn(f32, f32) -> f32) {
    assert!(a.has(target.len()) && b.has(target.len()));
    for (place, target) in target.iter().enumerate() {
        // SAFETY: the assertion.
        target.set(unsafe { f(a.at(place), b.at(place)) });
    }
}

#[inline(always)]
fn each3(target: &[Cell<f32>], a: impl Argument, b: impl Argument, c: impl Argument, f: impl Fn(f32, f32, f32) -> f32) {
    assert!(a.has(target.len()) && b.has(target.len()) && c.has(target.len()));
    for (place, target) in target.iter().enumerate() {
        // SAFETY: the assertion.
        target.set(unsafe { f(a.at(place), b.at(place), c.at(place)) });
    }
}
