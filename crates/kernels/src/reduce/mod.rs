//! `Reduce`: the sum or the mean of a formula over axes of its operands, in one pass over them.

mod sums;

use crate::elementwise::ahead::Ahead;
use crate::elementwise::machine::Machine;
use crate::elementwise::operands::Operands;
use crate::elementwise::{Operand, Program, TASK, part, shape};
use crate::floats::Floats;
use crate::layout::{Block, Layout};
use crate::simd::{self, Level, Vectorised};
use crate::threads::Threads;
use gnp_base::{Error, Result};
use std::cell::Cell;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use sums::Sums;

/// What is computed of the formula's values.
#[derive(Clone, Debug)]
pub struct Reduction {
    /// The axes that are summed over, of the operands broadcast against each other; a negative one counts from the
    /// last. None are all.
    pub axes: Vec<i64>,
    /// Whether the output keeps them, with the size 1.
    pub keep: bool,
    /// Whether the sums are divided by how many elements they are of.
    pub is_mean: bool,
}

impl Reduction {
    /// Which of so many axes are summed over.
    pub(crate) fn reduced(&self, rank: usize) -> Result<Vec<bool>> {
        let mut reduced = vec![self.axes.is_empty(); rank];
        for &axis in &self.axes {
            let place = if axis < 0 { axis + rank as i64 } else { axis };
            let place = usize::try_from(place).ok().and_then(|place| reduced.get_mut(place));
            *place.ok_or_else(|| Error::input(format!("there is no axis {axis}: the operands have {rank}")))? = true;
        }
        Ok(reduced)
    }

    /// The shape of the output.
    ///
    /// # Errors
    /// Where the operands do not broadcast or are not those of the formula, or have no such axes.
    pub fn shape(&self, program: &Program, operands: &[Operand<'_>]) -> Result<Vec<usize>> {
        self.of(&shape(program, operands)?)
    }

    /// The shape of the output, where `sizes` is what the operands broadcast to.
    pub(crate) fn of(&self, sizes: &[usize]) -> Result<Vec<usize>> {
        let sizes = sizes.iter().zip(self.reduced(sizes.len())?);
        Ok(sizes.filter_map(|(&size, is)| if is { self.keep.then_some(1) } else { Some(size) }).collect())
    }
}

/// Into how many parts the work is divided at most. They are the same for any number of threads, and so is the result.
const PARTS: usize = 64;

/// Computes the sums or means into `output`, whose shape is that of [`Reduction::shape`].
///
/// Some hundred elements are added in float32, in lanes, and those sums in double precision. The result is the same to
/// the bit for any number of threads.
///
/// # Errors
/// Those of [`Reduction::shape`], and where `output` is not of that shape.
pub fn reduce(
    program: &Program,
    reduction: &Reduction,
    operands: &[Operand<'_>],
    output: Floats<'_>,
    threads: &dyn Threads,
) -> Result<()> {
    let outputs: usize = reduction.shape(program, operands)?.iter().product();
    if output.len() != outputs {
        return Err(Error::internal(format!("the output has {} floats and not {outputs}", output.len())));
    }
    let sizes = shape(program, operands)?;
    let reduced = reduction.reduced(sizes.len())?;
    let count: usize = sizes.iter().zip(&reduced).filter(|(_, is)| **is).map(|(size, _)| size).product();
    let scale = if reduction.is_mean { 1.0 / count as f64 } else { 1.0 };
    if count == 0 {
        // SAFETY: the kernel has not begun.
        unsafe { output.cells() }.iter().for_each(|cell| cell.set((0.0 * scale) as f32));
    }
    if count * outputs == 0 {
        return Ok(());
    }
    let shapes: Vec<&[usize]> = operands.iter().map(|operand| operand.shape).collect();
    let layout = Layout::new(&shapes, &sizes, &reduced, program.registers);
    let wanted = (outputs * count * (program.cost + 1) / TASK).clamp(1, PARTS);
    let kept = wanted.min(layout.kept);
    let of_each = (wanted / kept).clamp(1, layout.reduced);
    let partial: Vec<Mutex<Vec<f64>>> =
        (0..if of_each > 1 { kept * of_each } else { 0 }).map(|_| Mutex::default()).collect();
    threads.run(kept * of_each, &|task| {
        let (own, share) = (task / of_each, task % of_each);
        simd::run(Blocks {
            program,
            layout: &layout,
            operands,
            output,
            scale,
            kept: part(layout.kept, kept, own),
            reduced: part(layout.reduced, of_each, share),
            partial: partial.get(task),
        });
    });
    if of_each > 1 {
        // SAFETY: the tasks have ended.
        let output = unsafe { output.cells() };
        let partial: Vec<Vec<f64>> =
            partial.into_iter().map(|sums| sums.into_inner().unwrap_or_else(PoisonError::into_inner)).collect();
        let mut block = Block::default();
        for (own, shares) in partial.chunks(of_each).enumerate() {
            let mut first = 0;
            for number in part(layout.kept, kept, own) {
                layout.block(number, 0, &mut block);
                let outputs = layout.outputs(block.reach);
                let total = |place: usize| shares.iter().map(|sums| sums[first + place]).sum();
                write(output, &block, (0..outputs).map(total), scale);
                first += outputs;
            }
        }
    }
    Ok(())
}

/// Writes the outputs of `block`.
fn write(output: &[Cell<f32>], block: &Block, sums: impl Iterator<Item = f64>, scale: f64) {
    let start = block.starts.last().copied().unwrap_or_default();
    output[start..].iter().zip(sums).for_each(|(cell, sum)| cell.set((sum * scale) as f32));
}

/// A part of the work: for each of some blocks of outputs, the sum of some blocks.
struct Blocks<'a> {
    program: &'a Program,
    layout: &'a Layout,
    operands: &'a [Operand<'a>],
    output: Floats<'a>,
    scale: f64,
    kept: Range<usize>,
    reduced: Range<usize>,
    /// Where sums are left that others are to be added to.
    partial: Option<&'a Mutex<Vec<f64>>>,
}

impl Vectorised for Blocks<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let memory = vec![Cell::new(0.0); Machine::memory(self.program, self.layout.most)];
        let mut machine = Machine::new(self.program, &memory, self.layout.most);
        let scratch = vec![Cell::new(0.0); Operands::memory(self.layout, self.operands)];
        let mut operands = Operands::new(self.layout, self.operands, &scratch);
        let target = vec![Cell::new(0.0); self.layout.most];
        let mut sums = Sums::new(self.layout.pattern(self.operands.len()), self.layout.outputs(self.layout.reach));
        let [mut block, mut next] = [Block::default(), Block::default()];
        let mut ahead = Ahead::of(self.program);
        self.layout.block(self.kept.start, self.reduced.start, &mut next);
        for kept in self.kept.clone() {
            sums.clear();
            for reduced in self.reduced.clone() {
                std::mem::swap(&mut block, &mut next);
                ahead.clear();
                let is_last = reduced + 1 == self.reduced.end;
                let (kept, reduced) = if is_last { (kept + 1, self.reduced.start) } else { (kept, reduced + 1) };
                if kept < self.kept.end {
                    self.layout.block(kept, reduced, &mut next);
                    if ahead.is_worth() {
                        operands.runs(&next, &mut ahead);
                    }
                }
                let target = &target[..self.layout.elements(block.reach)];
                let value = machine.evaluate::<L>(operands.values(&block), target, &ahead);
                sums.add::<L>(value, target);
            }
            // The reach of the last block is that of all, if it is along outputs.
            let outputs = self.layout.outputs(block.reach);
            let sums = &sums.get()[..outputs];
            match self.partial {
                Some(partial) => partial.lock().unwrap_or_else(PoisonError::into_inner).extend(sums),
                // SAFETY: these outputs are this task's alone.
                None => write(unsafe { self.output.cells() }, &block, sums.iter().copied(), self.scale),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Spawned, at, operands_of, shapes_to};
    use crate::threads::Caller;
    use gnp_base::formula::Formula;
    use proptest::prelude::*;

    fn computed(
        formula: &Formula,
        reduction: &Reduction,
        data: &[Vec<f32>],
        shapes: &[Vec<usize>],
        threads: &dyn Threads,
    ) -> Vec<f32> {
        let program = Program::new(formula);
        let operands = operands_of(data, shapes);
        let mut output = vec![f32::NAN; reduction.shape(&program, &operands).unwrap().iter().product()];
        reduce(&program, reduction, &operands, Floats::from(&mut output[..]), threads).unwrap();
        output
    }

    proptest! {
        #[test]
        fn sums_over_any_axes_are_those_of_the_values(
            text in prop::sample::select(vec!["x0", "x1", "x0 * x1 + x2", "2", "(x0 > 1) * x2", "x0 * x0"]),
            (sizes, shapes) in shapes_to(3),
            mask in any::<u8>(),
            (is_mean, keep, is_negative) in any::<(bool, bool, bool)>(),
        ) {
            let formula: Formula = text.parse().unwrap();
            let rank = sizes.len() as i64;
            let is_reduced = |axis: &usize| mask >> axis & 1 == 1;
            let places: Vec<usize> = (0..sizes.len()).filter(is_reduced).collect();
            let places = if places.is_empty() { (0..sizes.len()).collect() } else { places };
            let axes = places.iter().map(|&axis| if is_negative { axis as i64 - rank } else { axis as i64 }).collect();
            let reduction = Reduction { axes, keep, is_mean };
            let data: Vec<Vec<f32>> = shapes.iter().enumerate().map(|(of, shape)| {
                (0..shape.iter().product()).map(|place: usize| ((place * 31 + of * 17) % 41) as f32 * 0.125 - 2.5).collect()
            }).collect();
            let kept: Vec<usize> =
                sizes.iter().enumerate().map(|(axis, &size)| if places.contains(&axis) { 1 } else { size }).collect();
            let mut expected = vec![0.0; kept.iter().product()];
            let count = sizes.iter().product::<usize>() / expected.len();
            for number in 0..sizes.iter().product() {
                let operands: Vec<f32> =
                    data.iter().zip(&shapes).map(|(data, shape)| data[at(number, &sizes, shape)]).collect();
                expected[at(number, &sizes, &kept)] += f64::from(formula.evaluate(&operands));
            }
            let scale = if is_mean { 1.0 / count as f64 } else { 1.0 };
            let program = Program::new(&formula);
            let shape = reduction.shape(&program, &operands_of(&data, &shapes)).unwrap();
            prop_assert_eq!(shape.len(), if keep { sizes.len() } else { sizes.len() - places.len() });
            let found = computed(&formula, &reduction, &data, &shapes, &Caller);
            prop_assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                // What the sum loses, and what the result does when it is rounded to float32.
                let rounded = f64::from(f32::EPSILON) * (expected * scale).abs();
                let bound = 1e-6 * scale * (count as f64).sqrt() * 20.0 + rounded;
                prop_assert!((f64::from(*found) - expected * scale).abs() <= bound, "{} {}", found, expected * scale);
            }
            // To the bit, whoever computes them.
            prop_assert_eq!(&found, &computed(&formula, &reduction, &data, &shapes, &Spawned(3)));
        }
    }

    #[test]
    fn sums_of_many_elements_are_exact_to_a_float() {
        // A naive sum in float32 is wrong in the fourth digit.
        let data = vec![(0..3_000_000).map(|n: u32| (n % 10) as f32 * 0.1).collect::<Vec<f32>>()];
        let exact: f64 = data[0].iter().map(|x| f64::from(*x)).sum();
        let sum = |shape: &[usize], axes: &[i64]| {
            let reduction = Reduction { axes: axes.to_vec(), keep: false, is_mean: false };
            computed(&"x0".parse().unwrap(), &reduction, &data, &[shape.to_vec()], &Spawned(2))
        };
        assert!((f64::from(sum(&[3_000_000], &[])[0]) - exact).abs() < 2e-7 * exact);
        for (column, first) in sum(&[1_500_000, 2], &[0]).into_iter().zip(0..) {
            let exact: f64 = data[0][first..].iter().step_by(2).map(|x| f64::from(*x)).sum();
            assert!((f64::from(column) - exact).abs() < 2e-7 * exact);
        }
        let columns: f64 = sum(&[30_000, 100], &[0]).iter().map(|x| f64::from(*x)).sum();
        assert!((columns - exact).abs() < 2e-7 * exact);
    }

    #[test]
    fn the_sum_of_nothing_is_0_and_its_mean_no_number() {
        let sum = |is_mean| {
            let reduction = Reduction { axes: vec![0], keep: false, is_mean };
            computed(&"x0".parse().unwrap(), &reduction, &[vec![]], &[vec![0, 2]], &Caller)
        };
        assert_eq!(sum(false), [0.0, 0.0]);
        assert!(sum(true).iter().all(|mean| mean.is_nan()));
    }

    #[test]
    fn an_axis_that_is_not_there_is_refused() {
        let reduction = Reduction { axes: vec![2], keep: false, is_mean: false };
        let program = Program::new(&"x0".parse().unwrap());
        let (data, shapes) = ([vec![0.0; 6]], [vec![2, 3]]);
        let error = reduction.shape(&program, &operands_of(&data, &shapes)).unwrap_err();
        assert_eq!(error.to_string(), "there is no axis 2: the operands have 2");
    }
}
