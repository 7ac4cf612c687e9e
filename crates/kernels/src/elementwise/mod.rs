//! `Elementwise`: a formula for each element of its operands.

pub(crate) mod ahead;
pub(crate) mod machine;
pub(crate) mod operands;
mod program;

pub use program::Program;

use crate::floats::Floats;
use crate::layout::{Block, Layout, broadcast};
use crate::simd::{self, Level, Vectorised};
use crate::threads::Threads;
use ahead::Ahead;
use gnp_base::{Error, Result};
use machine::{Machine, Value};
use operands::Operands;
use std::cell::Cell;
use std::ops::Range;

/// An operand: its elements, in row-major order, and its shape.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    /// The elements.
    pub floats: Floats<'a>,
    /// The sizes of the axes.
    pub shape: &'a [usize],
}

/// The shape of the result, and whether `operands` are as many and as large as they have to be.
///
/// # Errors
/// Where the operands do not broadcast, or are not those of the formula.
pub fn shape(program: &Program, operands: &[Operand<'_>]) -> Result<Vec<usize>> {
    if operands.len() < program.operands() {
        let (has, takes) = (operands.len(), program.operands());
        return Err(Error::input(format!("the formula has {takes} operands, and there are {has} inputs")));
    }
    if let Some(wrong) = operands.iter().find(|one| one.shape.iter().product::<usize>() != one.floats.len()) {
        return Err(Error::internal(format!("{} floats are no {:?}", wrong.floats.len(), wrong.shape)));
    }
    broadcast(&operands.iter().map(|operand| operand.shape).collect::<Vec<_>>())
}

/// How many additions are worth a task of their own.
pub(crate) const TASK: usize = 1 << 15;

/// Computes the formula for each element of the operands, broadcast against each other, into `output`, which may be the
/// memory of an operand of the result's shape.
///
/// # Errors
/// Those of [`shape`], and where `output` is not of that shape.
pub fn elementwise(
    program: &Program,
    operands: &[Operand<'_>],
    output: Floats<'_>,
    threads: &dyn Threads,
) -> Result<()> {
    let sizes = shape(program, operands)?;
    let elements: usize = sizes.iter().product();
    if output.len() != elements {
        return Err(Error::internal(format!("the output has {} floats and not {elements}", output.len())));
    }
    if elements == 0 {
        return Ok(());
    }
    let shapes: Vec<&[usize]> = operands.iter().map(|operand| operand.shape).collect();
    let layout = Layout::new(&shapes, &sizes, &vec![false; sizes.len()], program.registers);
    let worth = (elements * program.cost / TASK).clamp(1, 4 * threads.count()).min(layout.kept);
    let tasks = if threads.count() == 1 { 1 } else { worth };
    threads.run(tasks, &|task| {
        let blocks = part(layout.kept, tasks, task);
        simd::run(Blocks { program, layout: &layout, operands, output, blocks });
    });
    Ok(())
}

/// Part number `part` of `parts` of `all`.
pub(crate) fn part(all: usize, parts: usize, part: usize) -> Range<usize> {
    let at = |part: usize| (all as u128 * part as u128 / parts as u128) as usize;
    at(part)..at(part + 1)
}

struct Blocks<'a> {
    program: &'a Program,
    layout: &'a Layout,
    operands: &'a [Operand<'a>],
    output: Floats<'a>,
    blocks: Range<usize>,
}

impl Blocks<'_> {
    /// The part of the output that a block is.
    fn target<'o>(&self, output: &'o [Cell<f32>], block: &Block) -> &'o [Cell<f32>] {
        let start = block.starts[self.operands.len()];
        &output[start..start + self.layout.elements(block.reach)]
    }
}

impl Vectorised for Blocks<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let memory = vec![Cell::new(0.0); Machine::memory(self.program, self.layout.most)];
        let mut machine = Machine::new(self.program, &memory, self.layout.most);
        let scratch = vec![Cell::new(0.0); Operands::memory(self.layout, self.operands)];
        let mut operands = Operands::new(self.layout, self.operands, &scratch);
        // SAFETY: each block of the output is written by one task, and read as an operand by that alone.
        let output = unsafe { self.output.cells() };
        let [mut block, mut next] = [Block::default(), Block::default()];
        let mut ahead = Ahead::of(self.program);
        self.layout.block(self.blocks.start, 0, &mut next);
        for number in self.blocks.clone() {
            std::mem::swap(&mut block, &mut next);
            ahead.clear();
            if number + 1 < self.blocks.end {
                self.layout.block(number + 1, 0, &mut next);
                if ahead.is_worth() {
                    operands.runs(&next, &mut ahead);
                    ahead.push(self.target(output, &next));
                }
            }
            let target = self.target(output, &block);
            let result = machine.evaluate::<L>(operands.values(&block), target, &ahead);
            match result {
                Value::One(value) => target.iter().for_each(|cell| cell.set(value)),
                Value::Each(from) if from.as_ptr() != target.as_ptr() => {
                    target.iter().zip(from).for_each(|(cell, from)| cell.set(from.get()));
                }
                Value::Each(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Spawned, at, operands_of, shapes_to};
    use crate::threads::Caller;
    use gnp_base::formula::{Formula, Operation, Term, TermId};
    use proptest::prelude::*;

    fn computed(formula: &Formula, data: &[Vec<f32>], shapes: &[Vec<usize>], threads: &dyn Threads) -> Vec<f32> {
        let program = Program::new(formula);
        let operands = operands_of(data, shapes);
        let mut output = vec![f32::NAN; shape(&program, &operands).unwrap().iter().product()];
        elementwise(&program, &operands, Floats::from(&mut output[..]), threads).unwrap();
        output
    }

    /// What the formula means, element by element.
    fn expected(formula: &Formula, data: &[Vec<f32>], shapes: &[Vec<usize>], sizes: &[usize]) -> Vec<f32> {
        let element = |number: usize| {
            let operands: Vec<f32> =
                data.iter().zip(shapes).map(|(data, shape)| data[at(number, sizes, shape)]).collect();
            formula.evaluate(&operands)
        };
        (0..sizes.iter().product()).map(element).collect()
    }

    /// Formulas of three operands whose values are exact where the operands are small whole numbers.
    fn exact_formulas() -> impl Strategy<Value = Formula> {
        use Operation as O;
        let operations = [
            O::Add,
            O::Add,
            O::Sub,
            O::Sub,
            O::Mul,
            O::Mul,
            O::Mul,
            O::Neg,
            O::Abs,
            O::Min,
            O::Max,
            O::Sign,
            O::Floor,
            O::Ceil,
            O::Round,
            O::Less,
            O::LessOrEqual,
            O::Greater,
            O::GreaterOrEqual,
            O::Equal,
            O::And,
            O::Or,
            O::Not,
            O::Where,
        ];
        prop::collection::vec((0..operations.len(), any::<[usize; 3]>()), 0..10).prop_map(move |terms| {
            let mut formula = Formula::builder();
            let mut ids: Vec<TermId> = (0..3).map(|number| formula.operand(number)).collect();
            ids.push(formula.constant(0.5));
            for (operation, arguments) in terms {
                let operation = operations[operation];
                let arguments = arguments.map(|place| ids[place % ids.len()]);
                ids.push(formula.apply(operation, &arguments[..operation.arity()]));
            }
            formula.finish(ids[ids.len() - 1])
        })
    }

    /// Whether all values on the way are small enough to be exact.
    fn is_exact(formula: &Formula, operands: &[f32]) -> bool {
        let mut values: Vec<f32> = Vec::new();
        formula.terms().iter().all(|term| {
            values.push(match term {
                Term::Operand(number) => operands[*number],
                Term::Constant(value) => *value,
                Term::Apply(operation, arguments) => {
                    operation.evaluate(&arguments.iter().map(|id| values[id.index()]).collect::<Vec<_>>())
                }
            });
            values[values.len() - 1].abs() < 1e4
        })
    }

    proptest! {
        #[test]
        fn any_formula_of_any_shapes_is_what_it_means(
            formula in exact_formulas(),
            (sizes, shapes) in shapes_to(3),
            seed in 0..1000usize,
        ) {
            let number = |of: usize, place: usize| ((place * 7 + place / 3 + of * 5 + seed) % 7) as f32 - 3.0;
            let data: Vec<Vec<f32>> = shapes.iter().enumerate().map(|(of, shape)| {
                (0..shape.iter().product()).map(|place| number(of, place)).collect()
            }).collect();
            prop_assume!((0..343).all(|n| is_exact(&formula, &[n % 7, n / 7 % 7, n / 49].map(|n| n as f32 - 3.0))));
            let expected = expected(&formula, &data, &shapes, &sizes);
            prop_assert_eq!(&computed(&formula, &data, &shapes, &Caller), &expected, "{}", formula);
            prop_assert_eq!(&computed(&formula, &data, &shapes, &Spawned(3)), &expected, "{}", formula);
        }
    }

    #[test]
    fn each_operation_is_what_it_means() {
        let sizes = [3, 7, 61];
        let shapes = [vec![3, 7, 61], vec![7, 1], vec![61]];
        let data: Vec<Vec<f32>> = shapes
            .iter()
            .map(|shape| (0..shape.iter().product()).map(|n: usize| (n * 37 % 1013) as f32 * 0.004 - 2.0).collect())
            .collect();
        let formulas = [
            "x0 / (abs(x1) + 0.1)",
            "exp(x0) - log(abs(x1) + 0.1)",
            "sqrt(abs(x0)) * reciprocal(x1 + 4)",
            "erf(x0) + tanh(x1) * sigmoid(x2)",
            "pow(x0, 2) + pow(x0, 3) + pow(abs(x1), x2) + pow(abs(x0), 0.5)",
            "sin(x0) * cos(x1)",
            "x0 * x1 - x2 * exp(x0 * x1) - (x0 - x1 * x2)",
            "x1 * x2",
            "x2",
            "1.5",
            "where(x0 > 0, x0, exp(x0) - 1)",
            "t0 = x0 * (1 + 0.044715 * x0 * x0); 0.5 * x0 * (1 + tanh(0.7978846 * t0)) + x1 * t0",
        ];
        for text in formulas {
            let formula: Formula = text.parse().unwrap();
            let (found, expected) =
                (computed(&formula, &data, &shapes, &Caller), expected(&formula, &data, &shapes, &sizes));
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() <= 4e-6 * expected.abs().max(1.0), "{text}: {found}, not {expected}");
            }
        }
    }

    #[test]
    fn the_output_may_be_an_operand() {
        let formula: Formula = "x0 * x1 + x0".parse().unwrap();
        let mut data: Vec<f32> = (0..5000).map(|n| n as f32).collect();
        let memory = Floats::from(&mut data[..]);
        let three = [3.0];
        let operands =
            [Operand { floats: memory, shape: &[5000] }, Operand { floats: Floats::from(&three[..]), shape: &[] }];
        elementwise(&Program::new(&formula), &operands, memory, &Spawned(2)).unwrap();
        assert!(data.iter().enumerate().all(|(n, found)| *found == n as f32 * 4.0));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let program = Program::new(&"x0 + x1".parse().unwrap());
        let data = vec![vec![0.0; 6], vec![0.0; 4]];
        let error = |shapes: &[Vec<usize>]| shape(&program, &operands_of(&data, shapes)).unwrap_err().to_string();
        assert!(error(&[vec![2, 3], vec![4]]).contains("do not broadcast"));
        assert!(error(&[vec![6]]).contains("the formula has 2 operands, and there are 1 inputs"));
    }
}
