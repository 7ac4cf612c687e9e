//! The sums of a block's elements: of some hundred in float32, in lanes, and of those in double precision.

use crate::elementwise::machine::Value;
use crate::layout::{Pattern, Walk};
use crate::simd::{LANES, Level, Sums as _};
use std::cell::Cell;

/// The outputs of a block, added up over several blocks.
pub(crate) struct Sums {
    /// How the outputs lie in a block.
    pattern: Pattern,
    /// The sum of one block, where an output is the sum of several elements of it.
    of_block: Vec<f32>,
    sums: Vec<f64>,
}

impl Sums {
    /// Sums for blocks of at most so many outputs, which lie in it by `pattern`.
    pub(crate) fn new(pattern: Pattern, outputs: usize) -> Self {
        Self { pattern, of_block: vec![0.0; outputs], sums: vec![0.0; outputs] }
    }

    /// The sums, of which the first ones are those of the outputs of the blocks.
    pub(crate) fn get(&self) -> &[f64] {
        &self.sums
    }

    pub(crate) fn clear(&mut self) {
        self.sums.fill(0.0);
    }

    /// Adds the elements of a block. `scratch` has as many.
    #[inline(always)]
    pub(crate) fn add<L: Level>(&mut self, value: Value<'_>, scratch: &[Cell<f32>]) {
        let elements = match (value, &self.pattern) {
            (Value::One(value), Pattern::Scalar) => {
                self.sums[0] += f64::from(value) * scratch.len() as f64;
                return;
            }
            (Value::One(value), _) => {
                scratch.iter().for_each(|cell| cell.set(value));
                scratch
            }
            (Value::Each(elements), _) => elements,
        };
        match &self.pattern {
            Pattern::Scalar => self.sums[0] += f64::from(sum::<L>(elements)),
            Pattern::Run => {
                self.sums.iter_mut().zip(elements).for_each(|(sum, element)| *sum += f64::from(element.get()));
            }
            Pattern::Axes(axes) => {
                self.of_block.fill(0.0);
                add_along::<L>(axes, elements, &mut self.of_block);
                self.sums.iter_mut().zip(&self.of_block).for_each(|(sum, of_block)| *sum += f64::from(*of_block));
            }
        }
    }
}

/// The sum of some elements: side by side, and of those by halves.
#[inline(always)]
fn sum<L: Level>(elements: &[Cell<f32>]) -> f32 {
    let (vectors, rest) = elements.as_chunks::<LANES>();
    let rest: f32 = rest.iter().map(Cell::get).sum();
    let (wide, vectors) = vectors.as_chunks::<4>();
    let [mut a, mut b, mut c, mut d] = [L::Sums::zero(); 4];
    // Four at a time: while one addition is done, others begin.
    for [p, q, r, s] in wide {
        (a, b, c, d) = (a.plus(p), b.plus(q), c.plus(r), d.plus(s));
    }
    for vector in vectors {
        a = a.plus(vector);
    }
    a.and(b).and(c.and(d)).total() + rest
}

/// Adds the elements, which come along `axes`, to their sums. The first axis may end early.
#[inline(always)]
fn add_along<L: Level>(axes: &[(usize, usize)], elements: &[Cell<f32>], sums: &mut [f32]) {
    match axes {
        [outer @ .., (rows, 0), (run, 1)] => {
            let mut walk = Walk::new(outer);
            for group in elements.chunks(rows * run) {
                let start = walk.next();
                columns::<L>(group, *run, &mut sums[start..start + run]);
            }
        }
        [outer @ .., (run, 0)] => {
            let mut walk = Walk::new(outer);
            for row in elements.chunks(*run) {
                sums[walk.next()] += sum::<L>(row);
            }
        }
        [outer @ .., (run, _)] => {
            let mut walk = Walk::new(outer);
            for row in elements.chunks(*run) {
                add(row, &mut sums[walk.next()..]);
            }
        }
        [] => {}
    }
}

/// Adds each element to its own sum.
#[inline(always)]
fn add(elements: &[Cell<f32>], sums: &mut [f32]) {
    sums.iter_mut().zip(elements).for_each(|(sum, element)| *sum += element.get());
}

/// Adds rows of `run` elements to the sums of their columns.
#[inline(always)]
fn columns<L: Level>(elements: &[Cell<f32>], run: usize, sums: &mut [f32]) {
    // The sums of some columns stay in registers. Of long rows they are in the cache, and what is read is in order.
    const SHORT: usize = 256;
    let in_registers = if run <= SHORT { run / LANES * LANES } else { 0 };
    for start in (0..in_registers).step_by(LANES) {
        let [mut even, mut odd] = [L::Sums::zero(); 2];
        let mut rows = elements.chunks_exact(run).filter_map(|row| row[start..].first_chunk());
        while let Some(row) = rows.next() {
            even = even.plus(row);
            if let Some(row) = rows.next() {
                odd = odd.plus(row);
            }
        }
        sums[start..].iter_mut().zip(even.and(odd).get()).for_each(|(sum, of_column)| *sum += of_column);
    }
    if in_registers < run {
        elements.chunks_exact(run).for_each(|row| add(&row[in_registers..], &mut sums[in_registers..]));
    }
}
