//! The innermost loops: a tile of sums that stay in the processor's registers.
//!
//! All of them multiply vectors, whose lanes are channels, and add up. They differ in what runs along the tile and what
//! is summed over:
//!
//! | | tile | sums over | factors |
//! |---|---|---|---|
//! | [`Outer`] | vectors of y's channels × taps | positions | a vector of y, a number of x |
//! | [`Inner`] | vectors of x's channels × positions | y's channels, taps | a vector of w, a number of y |
//! | [`DepthOuter`] | taps | positions | a vector of y, a vector of x |
//! | [`DepthInner`] | positions | taps | a vector of w, a vector of y |
//!
//! A tap is an offset: which of a position's neighbours (or of its channels) is meant. The classic way of direct
//! convolution: Georganas et al., "Anatomy of High-Performance Deep Learning Convolutions on SIMD Architectures", SC
//! 2018.

#![expect(
    clippy::needless_range_loop,
    reason = "the compiler unrolls loops over constants, and keeps tiles in registers"
)]

use crate::vector::{Job, Vector};
use std::marker::PhantomData;

/// Distances between neighbours in a slice.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pitch {
    pub image: usize,
    pub row: usize,
    pub column: usize,
}

impl Pitch {
    /// The last of these positions.
    fn last(&self, [images, rows, columns]: [usize; 3]) -> usize {
        (images - 1) * self.image + (rows - 1) * self.row + (columns - 1) * self.column
    }
}

/// A tap of [`Outer`] and [`DepthOuter`]: where x lies, from where the first position has it, and the tap's sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OuterTap {
    pub x: usize,
    pub sums: usize,
}

impl OuterTap {
    /// The largest of both.
    fn last(taps: &[Self]) -> Self {
        taps.iter().fold(Self::default(), |last, tap| Self { x: last.x.max(tap.x), sums: last.sums.max(tap.sums) })
    }
}

/// Calls the work for a tile whose size is only known now: `$count` is made the constant `$N`.
macro_rules! with_constant {
    ($count:expr, $N:ident in [$($n:literal)*] => $call:expr) => {
        match $count {
            $($n => { const $N: usize = $n; $call })*
            count => unreachable!("a tile of {count}"),
        }
    };
}

/// Adds to `sums`\[tap\]\[vector\] the products, over positions, of a vector of y and the number of x at the tap.
pub(super) struct Outer<'a> {
    /// Vectors; from one position to the next column are a vector's lanes.
    pub y: &'a [f32],
    pub y_pitch: Pitch,
    /// From one vector of channels to the next.
    pub y_vector: usize,
    pub x: &'a [f32],
    pub x_pitch: Pitch,
    /// Images, rows, columns.
    pub counts: [usize; 3],
    pub taps: &'a [OuterTap],
    pub sums: &'a mut [f32],
}

impl Outer<'_> {
    /// How many taps fit beside so many vectors.
    pub fn most<V: Vector>(vectors: usize) -> usize {
        V::SUMS / vectors
    }

    /// Does it, for one vector or two.
    pub fn run<V: Vector>(self, vectors: usize) {
        if self.counts.contains(&0) || self.taps.is_empty() {
            return;
        }
        let y_pitch = Pitch { column: V::LANES, ..self.y_pitch };
        assert!(y_pitch.last(self.counts) + (vectors - 1) * self.y_vector + V::LANES <= self.y.len());
        let last = OuterTap::last(self.taps);
        assert!(self.x_pitch.last(self.counts) + last.x < self.x.len());
        assert!(last.sums + vectors * V::LANES <= self.sums.len());
        macro_rules! tile {
            ($VECTORS:literal, $TAPS:ident) => {
                // SAFETY: the assertions are what the job demands; V was chosen for the processor.
                unsafe { V::run(OuterTile::<V, $VECTORS, $TAPS>(self, PhantomData)) }
            };
        }
        match vectors {
            1 => with_constant!(self.taps.len(), T in
                [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24] => tile!(1, T)),
            2 => with_constant!(self.taps.len(), T in [1 2 3 4 5 6 7 8 9 10 11 12] => tile!(2, T)),
            vectors => unreachable!("a tile of {vectors} vectors"),
        }
    }
}

struct OuterTile<'a, V, const VECTORS: usize, const TAPS: usize>(Outer<'a>, PhantomData<V>);

impl<W: Vector, const VECTORS: usize, const TAPS: usize> Job for OuterTile<'_, W, VECTORS, TAPS> {
    #[inline(always)]
    unsafe fn work<V: Vector>(self) {
        if VECTORS * TAPS > V::SUMS {
            unreachable!("a tile that no caller makes");
        }
        let Outer { y, y_pitch, y_vector, x, x_pitch, counts: [images, rows, columns], taps, sums } = self.0;
        let mut offsets = [0; TAPS];
        offsets.iter_mut().zip(taps).for_each(|(offset, tap)| *offset = tap.x);
        // SAFETY: `Outer::run` has checked the last position of each slice.
        unsafe {
            let mut tile = [[V::splat(0.0); TAPS]; VECTORS];
            for image in 0..images {
                let mut y_row = y.as_ptr().wrapping_add(image.wrapping_mul(y_pitch.image));
                let mut x_row = x.as_ptr().wrapping_add(image.wrapping_mul(x_pitch.image));
                for _ in 0..rows {
                    let (mut y, mut x) = (y_row, x_row);
                    for _ in 0..columns {
                        let mut vectors = [V::splat(0.0); VECTORS];
                        for v in 0..VECTORS {
                            vectors[v] = V::load(y.wrapping_add(v.wrapping_mul(y_vector)));
                        }
                        for t in 0..TAPS {
                            let number = V::splat(*x.wrapping_add(offsets[t]));
                            for v in 0..VECTORS {
                                tile[v][t] = vectors[v].mul_add(number, tile[v][t]);
                            }
                        }
                        y = y.wrapping_add(V::LANES);
                        x = x.wrapping_add(x_pitch.column);
                    }
                    y_row = y_row.wrapping_add(y_pitch.row);
                    x_row = x_row.wrapping_add(x_pitch.row);
                }
            }
            for t in 0..TAPS {
                for v in 0..VECTORS {
                    let sum = sums.as_mut_ptr().wrapping_add(taps.get_unchecked(t).sums.wrapping_add(v * V::LANES));
                    tile[v][t].add(V::load(sum)).store(sum);
                }
            }
        }
    }
}

/// A tap of [`Inner`] and [`DepthInner`]: where y lies, from where the first position has it, and the place's weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct InnerTap {
    pub y: usize,
    pub w: usize,
}

impl InnerTap {
    /// The largest of both.
    fn last(taps: &[Self]) -> Self {
        taps.iter().fold(Self::default(), |last, tap| Self { y: last.y.max(tap.y), w: last.w.max(tap.w) })
    }
}

/// Makes, or adds to, x\[vector\]\[position\]: over y's channels and taps, a vector of w times the number of y.
pub(super) struct Inner<'a> {
    /// Blocks of channels, a vector's lanes a block; from one position to the next column are as many.
    pub y: &'a [f32],
    pub y_pitch: Pitch,
    /// From one block of channels to the next.
    pub y_block: usize,
    /// y's channels.
    pub channels: usize,
    pub taps: &'a [InnerTap],
    /// For each channel of a block, the vectors of x's channels.
    pub w: &'a [f32],
    /// From one block of y's channels to the next.
    pub w_block: usize,
    /// Where the vectors of x's first position are written.
    pub x: *mut f32,
    pub x_pitch: Pitch,
    /// From one vector of channels to the next.
    pub x_vector: usize,
    /// Images, rows, columns.
    pub counts: [usize; 3],
    /// Whether to add to what is there.
    pub add: bool,
}

impl Inner<'_> {
    /// How many columns fit beside so many vectors.
    pub fn most<V: Vector>(vectors: usize) -> usize {
        V::SUMS / vectors
    }

    /// Does it, for one vector to four.
    ///
    /// # Safety
    ///
    /// The vectors of all positions of x may be written, and have been where they are added to.
    pub unsafe fn run<V: Vector>(self, vectors: usize) {
        if self.counts.contains(&0) {
            return;
        }
        if self.channels > 0 && !self.taps.is_empty() {
            let (blocks, last) = (self.channels.div_ceil(V::LANES), InnerTap::last(self.taps));
            let y = Pitch { column: V::LANES, ..self.y_pitch }.last(self.counts) + V::LANES;
            assert!((blocks - 1) * self.y_block + last.y + y <= self.y.len());
            assert!((blocks - 1) * self.w_block + last.w + V::LANES * vectors * V::LANES <= self.w.len());
        }
        macro_rules! tile {
            ($VECTORS:literal, $COLUMNS:ident) => {
                // SAFETY: the assertions and the caller's word are what the job demands; V was chosen for the
                // processor.
                unsafe { V::run(InnerTile::<V, $VECTORS, $COLUMNS>(self, PhantomData)) }
            };
        }
        match vectors {
            1 => with_constant!(self.counts[2], C in
                [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24] => tile!(1, C)),
            2 => with_constant!(self.counts[2], C in [1 2 3 4 5 6 7 8 9 10 11 12] => tile!(2, C)),
            3 => with_constant!(self.counts[2], C in [1 2 3 4 5 6 7 8] => tile!(3, C)),
            4 => with_constant!(self.counts[2], C in [1 2 3 4 5 6] => tile!(4, C)),
            vectors => unreachable!("a tile of {vectors} vectors"),
        }
    }
}

struct InnerTile<'a, V, const VECTORS: usize, const COLUMNS: usize>(Inner<'a>, PhantomData<V>);

impl<W: Vector, const VECTORS: usize, const COLUMNS: usize> Job for InnerTile<'_, W, VECTORS, COLUMNS> {
    #[inline(always)]
    unsafe fn work<V: Vector>(self) {
        if VECTORS * COLUMNS > V::SUMS {
            unreachable!("a tile that no caller makes");
        }
        let Inner { y, y_pitch, y_block, channels, taps, w, w_block, x, x_pitch, x_vector, counts, add } = self.0;
        // SAFETY: `Inner::run` has checked the last position of each slice, and its caller vouches for x.
        unsafe {
            for row in 0..counts[0].wrapping_mul(counts[1]) {
                let (image, row) = (row / counts[1], row % counts[1]);
                let at = |pitch: Pitch| image.wrapping_mul(pitch.image).wrapping_add(row.wrapping_mul(pitch.row));
                let (mut y, mut w) = (y.as_ptr().wrapping_add(at(y_pitch)), w.as_ptr());
                let mut tile = [[V::splat(0.0); COLUMNS]; VECTORS];
                let mut left = channels;
                while left > 0 {
                    let lanes = left.min(V::LANES);
                    for tap in taps {
                        let (mut y, mut w) = (y.wrapping_add(tap.y), w.wrapping_add(tap.w));
                        for _ in 0..lanes {
                            let mut vectors = [V::splat(0.0); VECTORS];
                            for v in 0..VECTORS {
                                vectors[v] = V::load(w.wrapping_add(v * V::LANES));
                            }
                            for c in 0..COLUMNS {
                                let number = V::splat(*y.wrapping_add(c * V::LANES));
                                for v in 0..VECTORS {
                                    tile[v][c] = vectors[v].mul_add(number, tile[v][c]);
                                }
                            }
                            y = y.wrapping_add(1);
                            w = w.wrapping_add(VECTORS * V::LANES);
                        }
                    }
                    y = y.wrapping_add(y_block);
                    w = w.wrapping_add(w_block);
                    left = left.wrapping_sub(lanes);
                }
                for v in 0..VECTORS {
                    let mut to = x.wrapping_add(at(x_pitch)).wrapping_add(v.wrapping_mul(x_vector));
                    for c in 0..COLUMNS {
                        let sum = if add { tile[v][c].add(V::load(to)) } else { tile[v][c] };
                        sum.store(to);
                        to = to.wrapping_add(x_pitch.column);
                    }
                }
            }
        }
    }
}

/// Adds to `sums`\[tap\] the products, over positions, of a vector of y and the vector of x at the tap.
pub(super) struct DepthOuter<'a> {
    pub y: &'a [f32],
    pub y_pitch: Pitch,
    pub x: &'a [f32],
    pub x_pitch: Pitch,
    /// Images, rows, columns.
    pub counts: [usize; 3],
    pub taps: &'a [OuterTap],
    pub sums: &'a mut [f32],
}

impl DepthOuter<'_> {
    /// Does it, for at most [`Vector::SUMS`] taps.
    pub fn run<V: Vector>(self) {
        if self.counts.contains(&0) || self.taps.is_empty() {
            return;
        }
        assert!(self.y_pitch.last(self.counts) + V::LANES <= self.y.len());
        let last = OuterTap::last(self.taps);
        assert!(self.x_pitch.last(self.counts) + last.x + V::LANES <= self.x.len());
        assert!(last.sums + V::LANES <= self.sums.len());
        with_constant!(self.taps.len(), T in [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24] => {
            // SAFETY: the assertions are what the job demands; V was chosen for the processor.
            unsafe { V::run(DepthOuterTile::<T>(self)) }
        });
    }
}

struct DepthOuterTile<'a, const TAPS: usize>(DepthOuter<'a>);

impl<const TAPS: usize> Job for DepthOuterTile<'_, TAPS> {
    #[inline(always)]
    unsafe fn work<V: Vector>(self) {
        if TAPS > V::SUMS {
            unreachable!("a tile that no caller makes");
        }
        let DepthOuter { y, y_pitch, x, x_pitch, counts: [images, rows, columns], taps, sums } = self.0;
        let mut offsets = [0; TAPS];
        offsets.iter_mut().zip(taps).for_each(|(offset, tap)| *offset = tap.x);
        // SAFETY: `DepthOuter::run` has checked the last position of each slice.
        unsafe {
            let mut tile = [V::splat(0.0); TAPS];
            for image in 0..images {
                let mut y_row = y.as_ptr().wrapping_add(image.wrapping_mul(y_pitch.image));
                let mut x_row = x.as_ptr().wrapping_add(image.wrapping_mul(x_pitch.image));
                for _ in 0..rows {
                    let (mut y, mut x) = (y_row, x_row);
                    for _ in 0..columns {
                        let vector = V::load(y);
                        for t in 0..TAPS {
                            tile[t] = vector.mul_add(V::load(x.wrapping_add(offsets[t])), tile[t]);
                        }
                        y = y.wrapping_add(y_pitch.column);
                        x = x.wrapping_add(x_pitch.column);
                    }
                    y_row = y_row.wrapping_add(y_pitch.row);
                    x_row = x_row.wrapping_add(x_pitch.row);
                }
            }
            for t in 0..TAPS {
                let sum = sums.as_mut_ptr().wrapping_add(taps.get_unchecked(t).sums);
                tile[t].add(V::load(sum)).store(sum);
            }
        }
    }
}

/// Makes x\[position\]: over taps, a vector of w times the vector of y.
pub(super) struct DepthInner<'a> {
    /// Vectors; the next column is the next one.
    pub y: &'a [f32],
    /// From one row to the next.
    pub y_row: usize,
    pub taps: &'a [InnerTap],
    pub w: &'a [f32],
    /// Where the first position's vector is written.
    pub x: *mut f32,
    pub x_pitch: Pitch,
    pub rows: usize,
    pub columns: usize,
}

impl DepthInner<'_> {
    /// Does it.
    ///
    /// # Safety
    ///
    /// The vectors of all positions of x may be written.
    pub unsafe fn run<V: Vector>(self) {
        if self.rows == 0 || self.columns == 0 {
            return;
        }
        if !self.taps.is_empty() {
            let last = InnerTap::last(self.taps);
            assert!(last.y + (self.rows - 1) * self.y_row + self.columns * V::LANES <= self.y.len());
            assert!(last.w + V::LANES <= self.w.len());
        }
        let at_once = self.columns.div_ceil(self.columns.div_ceil(V::SUMS));
        with_constant!(at_once, C in [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24] => {
            // SAFETY: the assertions and the caller's word are what the job demands; V was chosen for the processor.
            unsafe { V::run(DepthInnerTile::<C>(self)) }
        });
    }
}

struct DepthInnerTile<'a, const COLUMNS: usize>(DepthInner<'a>);

impl<const COLUMNS: usize> Job for DepthInnerTile<'_, COLUMNS> {
    #[inline(always)]
    unsafe fn work<V: Vector>(self) {
        if COLUMNS > V::SUMS {
            unreachable!("a tile that no caller makes");
        }
        let DepthInner { y, y_row, taps, w, x, x_pitch, rows, columns } = self.0;
        // SAFETY: `DepthInner::run` has checked the last position, and its caller vouches for x.
        unsafe {
            for row in 0..rows {
                let mut column = 0;
                while column < columns {
                    // The last tile begins earlier, and makes some positions again.
                    let first = column.min(columns.wrapping_sub(COLUMNS));
                    let y = y.as_ptr().wrapping_add(row.wrapping_mul(y_row).wrapping_add(first.wrapping_mul(V::LANES)));
                    let mut tile = [V::splat(0.0); COLUMNS];
                    for tap in taps {
                        let vector = V::load(w.as_ptr().wrapping_add(tap.w));
                        let y = y.wrapping_add(tap.y);
                        for c in 0..COLUMNS {
                            tile[c] = vector.mul_add(V::load(y.wrapping_add(c * V::LANES)), tile[c]);
                        }
                    }
                    let at = row.wrapping_mul(x_pitch.row).wrapping_add(first.wrapping_mul(x_pitch.column));
                    let mut x = x.wrapping_add(at);
                    for c in 0..COLUMNS {
                        tile[c].store(x);
                        x = x.wrapping_add(x_pitch.column);
                    }
                    column = column.wrapping_add(COLUMNS);
                }
            }
        }
    }
}
