//! `MatMul`: products of matrices, whose axes come and go in any order.
//!
//! What is multiplied is the crate `gemm`'s; here a tensor becomes matrices, without being moved, and a product becomes
//! tasks.

use crate::floats::Floats;
use crate::layout::broadcast;
use crate::threads::Threads;
use gnp_base::{Error, Result};
use std::ops::Range;

/// A product of two tensors, by matrices in their last two axes, as NumPy's `matmul`; axes are exchanged before it and
/// behind it as ONNX's `Transpose` does.
#[derive(Clone, Debug, PartialEq)]
pub struct MatMul {
    /// The axes of a, in the order in which they are meant; empty for that in which they come.
    pub a_axes: Vec<usize>,
    /// The same of b.
    pub b_axes: Vec<usize>,
    /// The axes of the product in the order in which they are written.
    pub y_axes: Vec<usize>,
    /// What the product is multiplied by.
    pub alpha: f32,
}

/// Whether these products are faster than ONNX Runtime's on this processor, as far as was measured: with AVX-512.
pub fn is_fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// A tensor.
pub type Tensor<'a> = (&'a [f32], &'a [usize]);

/// Multiplications that are worth a task.
const WORTH: usize = 1 << 20;

/// Rows, or columns, that a task has at least where a matrix is divided. What is divided is multiplied in the same
/// order as the whole: `gemm` has ways of its own for smaller ones alone.
const ROWS: usize = 128;

/// An axis: how long, and how far apart its neighbours are in each tensor.
#[derive(Clone, Copy, Debug)]
struct Axis {
    size: usize,
    a: usize,
    b: usize,
    y: usize,
}

impl MatMul {
    /// The shape of the product of tensors of these shapes, \[…, M, K\] and \[…, K, N\] with their axes in order.
    ///
    /// # Errors
    /// Where the shapes do not fit, or have not the axes that are named.
    pub fn shape(&self, a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
        let sizes = self.sizes(&ordered(a, &self.a_axes)?, &ordered(b, &self.b_axes)?)?;
        ordered(&sizes, &self.y_axes)
    }

    /// The shape of the product before its axes are exchanged.
    fn sizes(&self, a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
        match (a, b) {
            ([of_a @ .., m, k], [of_b @ .., other, n]) if k == other => {
                let mut sizes = broadcast(&[of_a, of_b])?;
                sizes.extend([*m, *n]);
                Ok(sizes)
            }
            _ => Err(Error::input(format!("matrices of the shapes {a:?} and {b:?} cannot be multiplied"))),
        }
    }

    /// Writes the product into `y`, plus `bias`, \[N\], where there is one.
    ///
    /// The result is the same to the bit for any number of threads.
    ///
    /// # Errors
    /// Those of [`Self::shape`], and where the bias or `y` does not fit.
    pub fn run(
        &self,
        (a, a_shape): Tensor<'_>,
        (b, b_shape): Tensor<'_>,
        bias: Option<&[f32]>,
        y: Floats<'_>,
        threads: &dyn Threads,
    ) -> Result<()> {
        let (a_sizes, b_sizes) = (ordered(a_shape, &self.a_axes)?, ordered(b_shape, &self.b_axes)?);
        let sizes = self.sizes(&a_sizes, &b_sizes)?;
        let y_shape = ordered(&sizes, &self.y_axes)?;
        let count = |shape: &[usize]| shape.iter().product::<usize>();
        let ([.., m, n], [.., k]) = (&sizes[..], &a_sizes[..]) else {
            return Err(Error::internal("a product of no matrices"));
        };
        let (m, n, k) = (*m, *n, *k);
        if count(a_shape) != a.len() || count(b_shape) != b.len() || count(&y_shape) != y.len() {
            return Err(Error::internal("tensors that are not of their shapes"));
        }
        if let Some(bias) = bias.filter(|bias| bias.len() != n) {
            return Err(Error::input(format!("a bias of {} numbers for {n} columns", bias.len())));
        }
        if y.len() == 0 {
            return Ok(());
        }
        let strides = Strides {
            a: ordered(&strides(a_shape), &self.a_axes)?,
            b: ordered(&strides(b_shape), &self.b_axes)?,
            y: placed(&strides(&y_shape), &self.y_axes),
        };
        let [a_rank, b_rank, y_rank] = [a_sizes.len(), b_sizes.len(), sizes.len()];
        let mut batch: Vec<Axis> = (0..y_rank - 2)
            .map(|axis| {
                let stride = |sizes: &[usize], strides: &[usize], rank: usize| match (axis + rank).checked_sub(y_rank) {
                    Some(own) if sizes[own] > 1 => strides[own],
                    _ => 0,
                };
                Axis {
                    size: sizes[axis],
                    a: stride(&a_sizes, &strides.a, a_rank),
                    b: stride(&b_sizes, &strides.b, b_rank),
                    y: strides.y[axis],
                }
            })
            .filter(|axis| axis.size > 1)
            .collect();
        let mut rows = Axis { size: m, a: strides.a[a_rank - 2], b: 0, y: strides.y[y_rank - 2] };
        let mut columns = Axis { size: n, a: 0, b: strides.b[b_rank - 1], y: strides.y[y_rank - 1] };
        // Many matrices with one other are one large matrix.
        while let Some(axis) = batch.last() {
            let last = if bias.is_none() && axis.a == 0 { &mut columns } else { &mut rows };
            let goes_on = |step: fn(&Axis) -> usize| step(axis) == step(last) * last.size;
            if !goes_on(|axis| axis.a) || !goes_on(|axis| axis.b) || !goes_on(|axis| axis.y) {
                break;
            }
            last.size *= axis.size;
            batch.pop();
        }
        let product = Product {
            matrices: batch.iter().map(|axis| axis.size).product(),
            batch,
            rows,
            columns,
            depth: Axis { size: k, a: strides.a[a_rank - 1], b: strides.b[b_rank - 2], y: 0 },
            alpha: self.alpha,
            bias,
            a: a.as_ptr(),
            b: b.as_ptr(),
            y,
        };
        product.run(threads);
        Ok(())
    }
}

struct Strides {
    a: Vec<usize>,
    b: Vec<usize>,
    y: Vec<usize>,
}

/// Matrices in memory.
struct Product<'a> {
    batch: Vec<Axis>,
    matrices: usize,
    rows: Axis,
    columns: Axis,
    depth: Axis,
    alpha: f32,
    bias: Option<&'a [f32]>,
    a: *const f32,
    b: *const f32,
    y: Floats<'a>,
}

// SAFETY: a and b are only read, and outlive it; each element of y is written by one task.
unsafe impl Sync for Product<'_> {}

impl Product<'_> {
    fn run(&self, threads: &dyn Threads) {
        let work = self.rows.size * self.columns.size * self.depth.size.max(1);
        let wanted = (self.matrices * work / WORTH).clamp(1, 4 * threads.count());
        if self.matrices >= wanted && self.matrices > 1 {
            let part = |task: usize| task * self.matrices / wanted..(task + 1) * self.matrices / wanted;
            threads.run(wanted, &|task| {
                part(task).for_each(|matrix| self.multiply(matrix, 0..self.rows.size, 0..self.columns.size));
            });
            return;
        }
        // Each part has to bring the other matrix in order for itself: no more of them than threads.
        let wanted = wanted.min(threads.count()).div_ceil(self.matrices);
        let by_rows = self.rows.size >= self.columns.size;
        let size = self.rows.size.max(self.columns.size);
        let length = size.div_ceil(wanted).next_multiple_of(16).max(ROWS);
        let parts = size / length + usize::from(size % length >= ROWS || size < length);
        threads.run(self.matrices * parts, &|task| {
            let part = task % parts;
            let end = if part + 1 == parts { size } else { (part + 1) * length };
            let (part, matrix) = (part * length..end, task / parts);
            if by_rows {
                self.multiply(matrix, part, 0..self.columns.size);
            } else {
                self.multiply(matrix, 0..self.rows.size, part);
            }
        });
    }

    /// Multiplies some rows of a matrix and some columns of the other.
    fn multiply(&self, mut matrix: usize, rows: Range<usize>, columns: Range<usize>) {
        let [mut a, mut b, mut y] = [
            rows.start * self.rows.a + columns.start * self.columns.a,
            rows.start * self.rows.b + columns.start * self.columns.b,
            rows.start * self.rows.y + columns.start * self.columns.y,
        ];
        for axis in self.batch.iter().rev() {
            let at = matrix % axis.size;
            matrix /= axis.size;
            (a, b, y) = (a + at * axis.a, b + at * axis.b, y + at * axis.y);
        }
        // SAFETY: `MatMul::run` has checked that the tensors are as large as their shapes say, of which sizes and
        // strides come: all places are in them. What this task writes no other reads or writes.
        unsafe {
            let y = self.y.pointer().add(y);
            if let Some(bias) = self.bias {
                for row in 0..rows.len() {
                    let y = y.add(row * self.rows.y);
                    bias[columns.clone()].iter().enumerate().for_each(|(n, bias)| *y.add(n * self.columns.y) = *bias);
                }
            }
            gemm::gemm(
                rows.len(),
                columns.len(),
                self.depth.size,
                y,
                self.columns.y as isize,
                self.rows.y as isize,
                self.bias.is_some(),
                self.a.add(a),
                self.depth.a as isize,
                self.rows.a as isize,
                self.b.add(b),
                self.columns.b as isize,
                self.depth.b as isize,
                1.0,
                self.alpha,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

/// How far the neighbours along each axis are apart.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// What there is of each axis, with the axes in this order.
fn ordered(of_axes: &[usize], order: &[usize]) -> Result<Vec<usize>> {
    if order.is_empty() {
        return Ok(of_axes.to_vec());
    }
    let has_all = (0..of_axes.len()).all(|axis| order.contains(&axis)) && order.len() == of_axes.len();
    let missing = || Error::input(format!("{order:?} are not the axes of a tensor that has {}", of_axes.len()));
    if has_all { Ok(order.iter().map(|&axis| of_axes[axis]).collect()) } else { Err(missing()) }
}

/// The opposite of [`ordered`], for an order that is one.
fn placed(of_axes: &[usize], order: &[usize]) -> Vec<usize> {
    let mut placed = of_axes.to_vec();
    order.iter().zip(of_axes).for_each(|(&axis, of_axis)| placed[axis] = *of_axis);
    placed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Spawned, at};
    use crate::threads::Caller;
    use proptest::prelude::*;

    /// A shuffle of so many axes.
    fn order(rank: usize) -> impl Strategy<Value = Vec<usize>> {
        prop_oneof![1 => Just(Vec::new()), 2 => Just((0..rank).collect::<Vec<_>>()).prop_shuffle()]
    }

    /// The shape as it comes for a tensor that is meant to have `sizes`.
    fn shape_of(sizes: &[usize], order: &[usize]) -> Vec<usize> {
        placed(sizes, order)
    }

    #[derive(Clone, Debug)]
    struct Case {
        product: MatMul,
        /// The sizes of both that are meant, and of what they broadcast to.
        sizes: [Vec<usize>; 2],
        has_bias: bool,
    }

    fn cases() -> impl Strategy<Value = Case> {
        let size = || prop_oneof![4 => 1..9usize, 2 => 15..40usize, 1 => 130..300usize];
        let batch = prop::collection::vec((1..4usize, any::<[bool; 2]>()), 0..3);
        (batch, [size(), size(), size()], any::<[usize; 2]>(), any::<bool>()).prop_flat_map(
            |(batch, [m, n, k], skipped, has_bias)| {
                let sizes = |which: usize, matrix: [usize; 2]| {
                    let kept = batch.iter().map(|(size, is)| if is[which] { *size } else { 1 });
                    let skipped = if batch.iter().all(|(_, is)| !is[which]) { skipped[which] % 3 } else { 0 };
                    kept.skip(skipped).chain(matrix).collect::<Vec<_>>()
                };
                let sizes = [sizes(0, [m, k]), sizes(1, [k, n])];
                let rank = sizes[0].len().max(sizes[1].len());
                let orders = (order(sizes[0].len()), order(sizes[1].len()), order(rank));
                (orders, prop_oneof![Just(1.0), Just(-0.5)]).prop_map(move |((a_axes, b_axes, y_axes), alpha)| Case {
                    product: MatMul { a_axes, b_axes, y_axes, alpha },
                    sizes: sizes.clone(),
                    has_bias,
                })
            },
        )
    }

    /// The number of a tensor at a place of its sizes as they are meant.
    fn element(data: &[f32], sizes: &[usize], order: &[usize], number: usize) -> f32 {
        let strides = ordered(&strides(&shape_of(sizes, order)), order).unwrap();
        let (mut left, mut place) = (number, 0);
        for (size, stride) in sizes.iter().zip(&strides).rev() {
            place += left % size * stride;
            left /= size;
        }
        data[place]
    }

    proptest! {
        #[test]
        fn products_are_what_they_mean(case in cases()) {
            let Case { product, sizes: [a_sizes, b_sizes], has_bias } = case;
            let numbers = |count: usize, seed: usize| -> Vec<f32> {
                (0..count).map(|i| ((i * 7 + i / 5 + seed) % 11) as f32 - 5.0).collect()
            };
            let (a, b) = (numbers(a_sizes.iter().product(), 1), numbers(b_sizes.iter().product(), 4));
            let y_sizes = product.sizes(&a_sizes, &b_sizes).unwrap();
            let [.., m, k] = a_sizes[..] else { panic!("no matrix") };
            let [.., n] = b_sizes[..] else { panic!("no matrix") };
            let bias = has_bias.then(|| numbers(n, 2));
            let (a_shape, b_shape) = (shape_of(&a_sizes, &product.a_axes), shape_of(&b_sizes, &product.b_axes));
            let y_shape = product.shape(&a_shape, &b_shape).unwrap();
            let count: usize = y_shape.iter().product();
            let computed = |threads: &dyn Threads| {
                let mut y = vec![f32::NAN; count];
                let to = Floats::from(&mut y[..]);
                product.run((&a, &a_shape), (&b, &b_shape), bias.as_deref(), to, threads).unwrap();
                y
            };
            let found = computed(&Caller);
            prop_assert_eq!(&found, &computed(&Spawned(3)));
            let batch = |sizes: &[usize]| sizes[..sizes.len() - 2].to_vec();
            let y_places = placed(&(0..y_sizes.len()).collect::<Vec<_>>(), &product.y_axes);
            for number in 0..count {
                let (matrix, row, column) = (number / (m * n), number / n % m, number % n);
                let of = |sizes: &[usize]| at(matrix, &batch(&y_sizes), &batch(sizes));
                let sum: f32 = (0..k)
                    .map(|i| {
                        element(&a, &a_sizes, &product.a_axes, of(&a_sizes) * m * k + row * k + i)
                            * element(&b, &b_sizes, &product.b_axes, of(&b_sizes) * k * n + i * n + column)
                    })
                    .sum();
                let expected = sum * product.alpha + bias.as_ref().map_or(0.0, |bias| bias[column]);
                let found = element(&found, &y_sizes, &y_places, number);
                prop_assert_eq!(found, expected, "{} of {:?}", number, &y_sizes);
            }
        }

        #[test]
        fn threads_change_no_bit([m, n, k] in [1..700usize, 1..700usize, 1..1500usize], transposed: [bool; 2]) {
            let numbers = |count: usize| (0..count).map(|i| ((i * 37 % 1013) as f32).sin()).collect::<Vec<_>>();
            let axes = |is: bool| if is { vec![1, 0] } else { Vec::new() };
            let [a_axes, b_axes] = transposed.map(axes);
            let (a_shape, b_shape) = (shape_of(&[m, k], &a_axes), shape_of(&[k, n], &b_axes));
            let product = MatMul { a_axes, b_axes, y_axes: Vec::new(), alpha: 1.0 };
            let (a, b) = (numbers(m * k), numbers(k * n));
            let computed = |threads: &dyn Threads| {
                let mut y = vec![f32::NAN; m * n];
                product.run((&a, &a_shape), (&b, &b_shape), None, Floats::from(&mut y[..]), threads).unwrap();
                y
            };
            let found = computed(&Caller);
            prop_assert!(found == computed(&Spawned(2)) && found == computed(&Spawned(5)));
        }
    }

    #[test]
    fn a_sum_of_nothing_is_the_bias() {
        let product = MatMul { a_axes: vec![], b_axes: vec![], y_axes: vec![], alpha: 2.0 };
        for bias in [None, Some(&[3.0f32, 4.0][..])] {
            let mut y = [f32::NAN; 6];
            product.run((&[], &[3, 0]), (&[], &[0, 2]), bias, Floats::from(&mut y[..]), &Caller).unwrap();
            assert_eq!(y, if bias.is_some() { [3.0, 4.0, 3.0, 4.0, 3.0, 4.0] } else { [0.0; 6] });
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let product = |a_axes: &[usize]| MatMul { a_axes: a_axes.to_vec(), b_axes: vec![], y_axes: vec![], alpha: 1.0 };
        let error = |product: MatMul, a: &[usize], b: &[usize]| product.shape(a, b).unwrap_err().to_string();
        assert!(error(product(&[]), &[2, 3], &[2, 3]).contains("cannot be multiplied"));
        assert!(error(product(&[]), &[3], &[3, 2]).contains("cannot be multiplied"));
        assert!(error(product(&[0, 0]), &[2, 3], &[3, 2]).contains("are not the axes"));
        assert_eq!(product(&[1, 0]).shape(&[3, 2], &[3, 5]).unwrap(), [2, 5]);
    }
}
