//! The operands of a block as values: where they lie in memory, or brought into the form of a block.

use super::Operand;
use super::ahead::Ahead;
use super::machine::Value;
use crate::layout::{Block, Layout, Pattern, Walk};
use std::cell::Cell;

/// The operands of a walk.
pub(crate) struct Operands<'a> {
    layout: &'a Layout,
    all: Vec<One<'a>>,
    values: Vec<Value<'a>>,
}

struct One<'a> {
    cells: &'a [Cell<f32>],
    pattern: Pattern,
    /// Where it is brought into the form of a block.
    expanded: &'a [Cell<f32>],
    /// The start and the reach of what is there.
    held: Option<(usize, usize)>,
}

impl<'a> Operands<'a> {
    /// How many floats it takes to bring operands into the form of a block.
    pub(crate) fn memory(layout: &Layout, operands: &[Operand<'_>]) -> usize {
        (0..operands.len()).filter(|of| matches!(layout.pattern(*of), Pattern::Axes(_))).count() * layout.most
    }

    /// The memory is [`Self::memory`] floats.
    pub(crate) fn new(layout: &'a Layout, operands: &[Operand<'a>], mut memory: &'a [Cell<f32>]) -> Self {
        let one = |(of, operand): (usize, &Operand<'a>)| {
            let pattern = layout.pattern(of);
            let expanded =
                if matches!(pattern, Pattern::Axes(_)) { memory.split_at(layout.most) } else { (memory, memory) };
            memory = expanded.1;
            // SAFETY: a kernel's inputs are not written while it runs, but where the output is the memory of one: of
            // that, an element is written by the task that has read it.
            One { cells: unsafe { operand.floats.cells() }, pattern, expanded: expanded.0, held: None }
        };
        let all: Vec<_> = operands.iter().enumerate().map(one).collect();
        Self { layout, values: Vec::with_capacity(all.len()), all }
    }

    /// The runs of memory that are the operands in `block`.
    #[inline(always)]
    pub(crate) fn runs(&self, block: &Block, ahead: &mut Ahead<'a>) {
        let elements = self.layout.elements(block.reach);
        let runs = self.all.iter().zip(&block.starts).filter(|(operand, _)| operand.pattern == Pattern::Run);
        runs.for_each(|(operand, &start)| ahead.push(&operand.cells[start..start + elements]));
    }

    /// The operands' values in `block`.
    #[inline(always)]
    pub(crate) fn values(&mut self, block: &Block) -> &[Value<'a>] {
        let elements = self.layout.elements(block.reach);
        self.values.clear();
        for (operand, &start) in self.all.iter_mut().zip(&block.starts) {
            self.values.push(match &operand.pattern {
                Pattern::Scalar => Value::One(operand.cells[start].get()),
                Pattern::Run => Value::Each(&operand.cells[start..start + elements]),
                Pattern::Axes(axes) => {
                    let expanded = &operand.expanded[..elements];
                    if operand.held != Some((start, block.reach)) {
                        operand.held = Some((start, block.reach));
                        expand(axes, &operand.cells[start..], expanded);
                    }
                    Value::Each(expanded)
                }
            });
        }
        &self.values
    }
}

/// Writes `cells`, as they lie along `axes`, one after the other, until `to` is full. The first axis may end early.
#[inline(always)]
fn expand(axes: &[(usize, usize)], cells: &[Cell<f32>], to: &[Cell<f32>]) {
    let Some((&(run, step), outer)) = axes.split_last() else { return };
    let mut walk = Walk::new(outer);
    for to in to.chunks(run) {
        let start = walk.next();
        if step == 0 {
            let one = cells[start].get();
            to.iter().for_each(|to| to.set(one));
        } else {
            to.iter().zip(&cells[start..]).for_each(|(to, from)| to.set(from.get()));
        }
    }
}
