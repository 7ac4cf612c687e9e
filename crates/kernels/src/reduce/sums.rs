//! The sums of a block's elements: of some hundred in float32, in lanes, and of those in double precision.

use crate::elementwise::machine::Value;
use crate::layout::Pattern;
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
    pub(crate) fn add(&mut self, value: Value<'_>, scratch: &[Cell<f32>]) {
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
            Pattern::Scalar => self.sums[0] += f64::from(sum(elements)),
            Pattern::Run => {
                self.sums.iter_mut().zip(elements).for_each(|(sum, element)| *sum += f64::from(element.get()));
            }
            Pattern::Axes(axes) => {
                self.of_block.fill(0.0);
                match axes[..] {
                    [(_, 0), (run, 1)] => columns(elements, run, &mut self.of_block),
                    _ => runs(axes, elements, &mut self.of_block),
                }
                self.sums.iter_mut().zip(&self.of_block).for_each(|(sum, of_block)| *sum += f64::from(*of_block));
            }
        }
    }
}

/// What is added at a time.
const LANES: usize = 16;

type Lanes = [f32; LANES];

#[inline(always)]
fn plus(a: Lanes, b: &[Cell<f32>; LANES]) -> Lanes {
    let mut sum = a;
    for lane in 0..LANES {
        sum[lane] = a[lane] + b[lane].get();
    }
    sum
}

/// The sum of some elements, by halves.
#[inline(always)]
fn sum(elements: &[Cell<f32>]) -> f32 {
    let (vectors, rest) = elements.as_chunks::<LANES>();
    let rest: f32 = rest.iter().map(Cell::get).sum();
    if vectors.is_empty() {
        return rest;
    }
    let (wide, vectors) = vectors.as_chunks::<4>();
    let [mut a, mut b, mut c, mut d] = [[0.0; LANES]; 4];
    for [p, q, r, s] in wide {
        (a, b, c, d) = (plus(a, p), plus(b, q), plus(c, r), plus(d, s));
    }
    for vector in vectors {
        a = plus(a, vector);
    }
    let mut lanes: Lanes = std::array::from_fn(|lane| (a[lane] + b[lane]) + (c[lane] + d[lane]));
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
    }
    lanes[0] + rest
}

/// Adds the rows of `run` elements to each other.
#[inline(always)]
fn columns(elements: &[Cell<f32>], run: usize, sums: &mut [f32]) {
    let whole = run / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        let [mut even, mut odd] = [[0.0; LANES]; 2];
        let mut rows = elements.chunks_exact(run).filter_map(|row| row[start..].first_chunk());
        while let Some(row) = rows.next() {
            even = plus(even, row);
            if let Some(row) = rows.next() {
                odd = plus(odd, row);
            }
        }
        sums[start..].iter_mut().zip(even.iter().zip(odd)).for_each(|(sum, (even, odd))| *sum += even + odd);
    }
    if whole < run {
        for row in elements.chunks_exact(run) {
            sums[whole..].iter_mut().zip(&row[whole..]).for_each(|(sum, element)| *sum += element.get());
        }
    }
}

/// Adds the elements, which come along `axes`, to their sums. The first axis may end early.
#[inline(always)]
fn runs(axes: &[(usize, usize)], elements: &[Cell<f32>], sums: &mut [f32]) {
    let Some((&(run, step), outer)) = axes.split_last() else { return };
    let mut walk = crate::layout::Walk::new(outer);
    for elements in elements.chunks(run) {
        let start = walk.next();
        if step == 0 {
            sums[start] += sum(elements);
        } else {
            sums[start..].iter_mut().zip(elements).for_each(|(sum, element)| *sum += element.get());
        }
    }
}
