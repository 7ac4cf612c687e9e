//! Tensors in the layouts that kernels read and write, and what moves numbers between those and vectors.

use crate::vector::{Job, Turn, Vector};
use std::marker::PhantomData;
use std::ops::Range;

/// How a tensor \[N, C, spatial…\] lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// As it is written: \[N, C, spatial…\].
    Plain,
    /// Channels in blocks, 8 or 16 of them: \[N, ⌈C/block⌉, spatial…, block\]. What a last block has too many is
    /// ignored where it is read, and zero where it is written.
    Blocked(usize),
}

impl Layout {
    pub(super) fn block(self) -> Option<usize> {
        match self {
            Self::Plain => None,
            Self::Blocked(block) => Some(block),
        }
    }

    /// The shape in memory of a tensor \[N, C, spatial…\].
    pub fn shape(self, plain: &[usize]) -> Vec<usize> {
        match (self, plain) {
            (Self::Blocked(block), [batch, channels, spatial @ ..]) if block > 0 => {
                [&[*batch, channels.div_ceil(block)], spatial, &[block]].concat()
            }
            _ => plain.to_vec(),
        }
    }
}

/// Where the numbers of a tensor lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub channels: usize,
    /// Positions of an image.
    pub positions: usize,
    pub block: Option<usize>,
}

impl Place {
    /// From one image to the next.
    pub fn image(&self) -> usize {
        self.channels.next_multiple_of(self.block.unwrap_or(1)) * self.positions
    }

    /// From one position to the next.
    pub fn position(&self) -> usize {
        self.block.unwrap_or(1)
    }

    /// Where a channel of an image begins.
    pub fn channel(&self, channel: usize) -> usize {
        let block = self.block.unwrap_or(1);
        channel / block * block * self.positions + channel % block
    }

    /// Makes the last block of each image zero where it has more lanes than channels are left.
    pub fn clear_rest(&self, all: &mut [f32]) {
        let block = self.block.unwrap_or(1);
        if !self.channels.is_multiple_of(block) {
            let last = block * self.positions;
            all.chunks_exact_mut(self.image().max(1)).for_each(|image| image[self.image() - last..].fill(0.0));
        }
    }

    /// Whether vectors of channels, from `first` on, lie as they are loaded and stored.
    pub fn has_vectors<V: Vector>(&self, first: usize) -> bool {
        self.block == Some(V::LANES) && first.is_multiple_of(V::LANES)
    }
}

/// Positions of one image, a rectangle of `rows` and `columns`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rectangle {
    /// The first position.
    pub start: usize,
    pub rows: usize,
    pub columns: usize,
    /// From the first position of a row to that of the next.
    pub pitch: usize,
}

impl Rectangle {
    /// Positions that follow each other.
    pub fn line(positions: Range<usize>) -> Self {
        Self { start: positions.start, rows: 1, columns: positions.len(), pitch: 0 }
    }

    /// One after the last position.
    fn end(&self) -> usize {
        self.start + (self.rows - 1) * self.pitch + self.columns
    }
}

/// Channels of one image as vectors: `to` has for each vector of channels, from one to the next `vector`, the rows,
/// from one to the next `row`, with their positions, from one to the next a vector's lanes. What a last vector has too
/// many is zero.
pub(super) struct Gather<'a> {
    pub from: &'a [f32],
    pub place: Place,
    pub image: usize,
    pub channels: Range<usize>,
    pub positions: Rectangle,
    pub to: &'a mut [f32],
    pub vector: usize,
    pub row: usize,
}

impl Gather<'_> {
    /// Does it.
    pub fn run<V: Vector>(self) {
        let Rectangle { rows, columns, .. } = self.positions;
        let vectors = self.channels.len().div_ceil(V::LANES);
        if rows == 0 || columns == 0 || vectors == 0 {
            return;
        }
        let first = self.image * self.place.image();
        assert!(self.positions.end() <= self.place.positions && self.channels.end <= self.place.channels);
        assert!(first + self.place.image() <= self.from.len());
        assert!((vectors - 1) * self.vector + (rows - 1) * self.row + columns * V::LANES <= self.to.len());
        // SAFETY: the assertions are what the job demands; V was chosen for the processor.
        unsafe { V::run(self) }
    }
}

impl Job for Gather<'_> {
    #[inline(always)]
    unsafe fn work<V: Vector>(self) {
        let Self { from, place, image, channels, positions, to, vector, row } = self;
        let image = image * place.image();
        for (v, channel) in channels.clone().step_by(V::LANES).enumerate() {
            let lanes = V::LANES.min(channels.end - channel);
            for nth in 0..positions.rows {
                let start = positions.start + nth * positions.pitch;
                let to = &mut to[v * vector + nth * row..];
                if place.has_vectors::<V>(channel) {
                    let at = image + place.channel(channel) + start * V::LANES;
                    let count = positions.columns * V::LANES;
                    let (to, from) = (&mut to[..count], &from[at..at + count]);
                    if lanes == V::LANES {
                        to.copy_from_slice(from);
                    } else {
                        for (to, from) in to.chunks_exact_mut(V::LANES).zip(from.chunks_exact(V::LANES)) {
                            // SAFETY: both are of a vector's lanes.
                            unsafe { V::load_first(from.as_ptr(), lanes).store(to.as_mut_ptr()) };
                        }
                    }
                } else if place.block.is_none() {
                    for column in (0..positions.columns).step_by(V::LANES) {
                        // SAFETY: channels and positions are of the image, and what is written is in `to`.
                        unsafe {
                            V::turn(Turn {
                                from: from.as_ptr().add(image + place.channel(channel) + start + column),
                                from_pitch: place.positions,
                                rows: lanes,
                                columns: V::LANES.min(positions.columns - column),
                                to: to.as_mut_ptr().add(column * V::LANES),
                                to_pitch: V::LANES,
                                written: V::LANES,
                            });
                        }
                    }
                } else {
                    for (column, to) in to.chunks_exact_mut(V::LANES).take(positions.columns).enumerate() {
                        for (lane, to) in to.iter_mut().enumerate() {
                            let position = (start + column) * place.position();
                            let at = |lane| image + place.channel(channel + lane) + position;
                            *to = if lane < lanes { from[at(lane)] } else { 0.0 };
                        }
                    }
                }
            }
        }
    }
}

/// The other way: what [`Gather`] would have made `from` of.
pub(super) struct Scatter<'a> {
    pub from: &'a [f32],
    pub vector: usize,
    pub to: &'a Shared<'a>,
    pub place: Place,
    pub image: usize,
    pub channels: Range<usize>,
    pub positions: Range<usize>,
}

impl Scatter<'_> {
    /// Does it.
    ///
    /// # Safety
    ///
    /// No other task reads or writes these positions of these channels of `to` meanwhile.
    pub unsafe fn run<V: Vector>(self) {
        let (count, vectors) = (self.positions.len(), self.channels.len().div_ceil(V::LANES));
        if count == 0 || vectors == 0 {
            return;
        }
        let first = self.image * self.place.image();
        assert!(self.positions.end <= self.place.positions && self.channels.end <= self.place.channels);
        assert!(first + self.place.image() <= self.to.len);
        assert!((vectors - 1) * self.vector + count * V::LANES <= self.from.len());
        // SAFETY: the assertions are what the job demands; V was chosen for the processor.
        unsafe { V::run(self) }
    }
}

impl Job for Scatter<'_> {
    #[inline(always)]
    unsafe fn work<V: Vector>(self) {
        let Self { from, vector, to, place, image, channels, positions } = self;
        let image = image * place.image();
        for (v, channel) in channels.clone().step_by(V::LANES).enumerate() {
            let from = &from[v * vector..];
            let columns = V::LANES.min(channels.end - channel);
            if place.block.is_none() {
                for position in positions.clone().step_by(V::LANES) {
                    let rows = V::LANES.min(positions.end - position);
                    // SAFETY: channels and positions are of the image, and what is read is in `from`: `Scatter::run`.
                    unsafe {
                        V::turn(Turn {
                            from: from.as_ptr().add((position - positions.start) * V::LANES),
                            from_pitch: V::LANES,
                            rows,
                            columns,
                            to: to.at(image + place.channel(channel) + position),
                            to_pitch: place.positions,
                            written: rows,
                        });
                    }
                }
            } else {
                for (position, from) in positions.clone().zip(from.chunks_exact(V::LANES)) {
                    for (lane, value) in from[..columns].iter().enumerate() {
                        let at = image + place.channel(channel + lane) + position * place.position();
                        // SAFETY: as above.
                        unsafe { *to.at(at) = *value };
                    }
                }
            }
        }
    }
}

/// A tensor that tasks write parts of, each its own.
pub(super) struct Shared<'a> {
    start: *mut f32,
    pub len: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: numbers that tasks write through `at` and `part`, which demand that no two tasks have the same.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub fn new(all: &'a mut [f32]) -> Self {
        Self { start: all.as_mut_ptr(), len: all.len(), lifetime: PhantomData }
    }

    /// Where a number lies.
    ///
    /// # Safety
    ///
    /// `index` is at most the length; what is read and written there is no other task's.
    #[inline(always)]
    pub unsafe fn at(&self, index: usize) -> *mut f32 {
        debug_assert!(index <= self.len);
        // SAFETY: in the slice, or at its end.
        unsafe { self.start.add(index) }
    }

    /// A part that is the caller's alone.
    ///
    /// # Safety
    ///
    /// No other task has any of it meanwhile.
    #[expect(clippy::mut_from_ref, reason = "that is what a part is for")]
    pub unsafe fn part(&self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: in the slice, and no other task's.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
