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
//! convolution: Georganas et al., "Anatomy of High-Performance Deep Learning Convolutions on SIMD Architectures", SC 2018.

use super::vector::{Job, Vector};
use std::marker::PhantomData;
use std::ops::Range;

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

/// A tap of [`Inner`]: where y's position and the kernel's place lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tap {
    pub y: usize,
    pub w: usize,
}

/// Makes, or adds to, x\[vector\]\[position\]: over y's channels and taps, a vector of w times the number of y.
pub(super) struct Inner<'a> {
    /// Blocks of channels, a vector's lanes a block; the next position is the next block.
    pub y: &'a [f32],
    /// From one block of channels to the next.
    pub y_block: usize,
    /// y's channels.
    pub channels: usize,
    pub taps: &'a [Tap],
    /// For each channel of a block, the vectors of x's channels.
    pub w: &'a [f32],
    /// From one block of y's channels to the next.
    pub w_block: usize,
    /// Where the vectors of x's first position are written.
    pub x: *mut f32,
    /// From one vector of channels to the next.
    pub x_vector: usize,
    /// From one position to the next.
    pub x_position: usize,
    /// Whether to add to what is there.
    pub add: bool,
}

impl Inner<'_> {
    /// How many positions fit beside so many vectors.
    pub fn most<V: Vector>(vectors: usize) -> usize {
        V::SUMS / vectors
    }

    /// Does it, for one vector to four.
    ///
    /// # Safety
    ///
    /// The vectors of all positions of x may be written, and have been where they are added to.
    pub unsafe fn run<V: Vector>(self, vectors: usize, positions: usize) {
        let (y_taps, w_taps) = self.taps.iter().fold((0, 0), |(y, w), tap| (tap.y.max(y), tap.w.max(w)));
        if self.channels > 0 && !self.taps.is_empty() {
            let blocks = self.channels.div_ceil(V::LANES);
            assert!((blocks - 1) * self.y_block + y_taps + positions * V::LANES <= self.y.len());
            assert!((blocks - 1) * self.w_block + w_taps + V::LANES * vectors * V::LANES <= self.w.len());
        }
        macro_rules! tile {
            ($VECTORS:literal, $POSITIONS:ident) => {
                // SAFETY: the assertions and the caller's word are what the job demands; V was chosen for the processor.
                unsafe { V::run(InnerTile::<V, $VECTORS, $POSITIONS>(self, PhantomData)) }
            };
        }
        match vectors {
            1 => with_constant!(positions, P in
                [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24] => tile!(1, P)),
            2 => with_constant!(positions, P in [1 2 3 4 5 6 7 8 9 10 11 12] => tile!(2, P)),
            3 => with_constant!(positions, P in [1 2 3 4 5 6 7 8] => tile!(3, P)),
            4 => with_constant!(positions, P in [1 2 3 4 5 6] => tile!(4, P)),
            vectors => unreachable!("a tile of {vectors} vectors"),
        }
    }
}

struct InnerTile<'a, V, const VECTORS: usize, const POSITIONS: usize>(Inner<'a>, PhantomData<V>);

impl<W: Vector, const VECTORS: usize, const POSITIONS: usize> Job for InnerTile<'_, W, VECTORS, POSITIONS> {
    #[inline(always)]
    unsafe fn work<V: Vector>(self) {
        if VECTORS * POSITIONS > V::SUMS {
            unreachable!("a tile that no caller makes");
        }
        let Inner { y, y_block, channels, taps, w, w_block, x, x_vector, x_position, add } = self.0;
        // SAFETY: `Inner::run` has checked the last position of each slice, and its caller vouches for x.
        unsafe {
            let mut tile = [[V::splat(0.0); POSITIONS]; VECTORS];
            let (mut y, mut w) = (y.as_ptr(), w.as_ptr());
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
                        for p in 0..POSITIONS {
                            let number = V::splat(*y.wrapping_add(p * V::LANES));
                            for v in 0..VECTORS {
                                tile[v][p] = vectors[v].mul_add(number, tile[v][p]);
                            }
                        }
                        y = y.wrapping_add(1);
                        w = w.wrapping_add(VECTORS * V::LANES);
                    }
                }
                y = y.wrapping_add(y_block);
                w = w.wrapping_add(w_block);
                left -= lanes;
            }
            for v in 0..VECTORS {
                for p in 0..POSITIONS {
                    let at = v.wrapping_mul(x_vector).wrapping_add(p.wrapping_mul(x_position));
                    let to = x.wrapping_add(at);
                    let sum = if add { tile[v][p].add(V::load(to)) } else { tile[v][p] };
                    sum.store(to);
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

/// Makes rows of x\[position\]: over taps, a vector of w times the vector of y.
pub(super) struct DepthInner<'a> {
    /// Vectors; the next column is the next one.
    pub y: &'a [f32],
    /// From the y of one row to that of the next.
    pub y_row: usize,
    /// For each row, from which tap to which.
    pub rows: &'a [Range<usize>],
    pub columns: usize,
    /// Where y's position lies for the first position of x.
    pub taps: &'a [DepthTap],
    pub w: &'a [f32],
    /// Where the first position's vector is written.
    pub x: *mut f32,
    pub x_pitch: Pitch,
}

/// A tap of [`DepthInner`], from where the first row and column of x have their y.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DepthTap {
    pub y: isize,
    pub w: usize,
}

impl DepthInner<'_> {
    /// Does it.
    ///
    /// # Safety
    ///
    /// The vectors of all positions of x may be written.
    pub unsafe fn run<V: Vector>(self) {
        if self.columns == 0 {
            return;
        }
        for (row, taps) in self.rows.iter().enumerate() {
            for tap in &self.taps[taps.clone()] {
                let first = (row * self.y_row).checked_add_signed(tap.y);
                assert!(first.is_some_and(|first| first + self.columns * V::LANES <= self.y.len()));
                assert!(tap.w + V::LANES <= self.w.len());
            }
        }
        let positions = self.columns.div_ceil(self.columns.div_ceil(V::SUMS));
        with_constant!(positions, P in [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24] => {
            // SAFETY: the assertions and the caller's word are what the job demands; V was chosen for the processor.
            unsafe { V::run(DepthInnerTile::<P>(self)) }
        });
    }
}

struct DepthInnerTile<'a, const POSITIONS: usize>(DepthInner<'a>);

impl<const POSITIONS: usize> Job for DepthInnerTile<'_, POSITIONS> {
    #[inline(always)]
    unsafe fn work<V: Vector>(self) {
        if POSITIONS > V::SUMS {
            unreachable!("a tile that no caller makes");
        }
        let DepthInner { y, y_row, rows, columns, taps, w, x, x_pitch } = self.0;
        // SAFETY: `DepthInner::run` has checked all positions, and its caller vouches for x.
        unsafe {
            for (row, of_row) in rows.iter().enumerate() {
                let taps = taps.get_unchecked(of_row.clone());
                let mut column = 0;
                while column < columns {
                    // The last tile begins earlier, and makes some positions again.
                    let first = column.min(columns.wrapping_sub(POSITIONS));
                    let y = y.as_ptr().wrapping_add(row.wrapping_mul(y_row).wrapping_add(first.wrapping_mul(V::LANES)));
                    let mut tile = [V::splat(0.0); POSITIONS];
                    for tap in taps {
                        let vector = V::load(w.as_ptr().wrapping_add(tap.w));
                        let y = y.wrapping_offset(tap.y);
                        for p in 0..POSITIONS {
                            tile[p] = vector.mul_add(V::load(y.wrapping_add(p * V::LANES)), tile[p]);
                        }
                    }
                    let at = row.wrapping_mul(x_pitch.row).wrapping_add(first.wrapping_mul(x_pitch.column));
                    let mut x = x.wrapping_add(at);
                    for p in 0..POSITIONS {
                        tile[p].store(x);
                        x = x.wrapping_add(x_pitch.column);
                    }
                    column = column.wrapping_add(POSITIONS);
                }
            }
        }
    }
}
