//! The gradient of some places: that of their elements, and their shares in those of the scale and the bias.

use super::{LayerNormGrad, One, SUMMED, TILE};
use crate::floats::Floats;
use crate::vector::{Job, MOST_LANES, Vector};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Some units of the gradient.
pub(super) struct Backward<'a> {
    pub(super) of: &'a LayerNormGrad<'a>,
    pub(super) dx: Floats<'a>,
    pub(super) units: Range<usize>,
    /// The sums for the scale and the bias.
    pub(super) sums: &'a Mutex<Vec<f64>>,
}

impl Job for Backward<'_> {
    #[inline(always)]
    unsafe fn work<V: Vector>(self) {
        let channels = &self.of.channels;
        let count = channels.count();
        let lanes = channels.lanes();
        let together = (SUMMED * lanes / TILE.min(channels.positions)).max(1);
        let mut few = vec![0.0f32; 2 * count * lanes];
        let mut all = vec![0.0f64; 2 * count];
        let mut units = self.units.clone();
        while !units.is_empty() {
            let these = units.start..(units.start + together).min(units.end);
            units.start = these.end;
            let (of_scale, of_bias) = few.split_at_mut(count * lanes);
            let sums = [of_scale.as_mut_ptr(), of_bias.as_mut_ptr()];
            for unit in these {
                // SAFETY: this runs under `Vector::run`; the lengths of all slices are those of `channels`, in which
                // the unit is, and its elements are this task's alone. There are sums for each channel.
                unsafe {
                    let mut tile = channels.tile(unit);
                    if !channels.is_plane() {
                        match tile.len() {
                            1 => self.places::<V, 1>(tile, sums),
                            _ => self.places::<V, TILE>(tile, sums),
                        }
                        continue;
                    }
                    while !tile.is_empty() {
                        let first = tile.start;
                        tile.start += match tile.len() / V::LANES {
                            2.. => self.plane::<V, 2>(first, sums),
                            1 => self.plane::<V, 1>(first, sums),
                            _ => self.plane::<One, 1>(first, sums),
                        };
                    }
                }
            }
            for (all, few) in all.iter_mut().zip(few.chunks_exact(lanes)) {
                for sum in few {
                    *all += f64::from(*sum);
                }
            }
            few.fill(0.0);
        }
        *self.sums.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }
}

// SAFETY of all methods: as in `work`.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Backward<'_> {
    /// Up to P places whose channels are chunks of neighbours. Chunk by chunk, so that memory is read in its order.
    #[inline(always)]
    unsafe fn places<V: Vector, const P: usize>(&self, places: Range<usize>, [of_scale, of_bias]: [*mut f32; 2]) {
        let LayerNormGrad { channels, x, dy, scale, mean, inverse_deviation } = *self.of;
        let (width, count) = (channels.width, channels.count() as f32);
        let full = width - width % V::LANES;
        let start = channels.start(places.start);
        unsafe {
            let row = |chunk: usize, place: usize| {
                let (at, of) = (start + chunk * channels.stride() + place * width, places.start + place);
                Row {
                    x: x.as_ptr().add(at),
                    dy: dy.as_ptr().add(at),
                    scale: scale.as_ptr().add(chunk * width),
                    mean: *mean.as_ptr().add(of),
                    s: *inverse_deviation.as_ptr().add(of),
                }
            };
            let (mut sums, mut of_rest) = ([[V::splat(0.0); 2]; P], [[One::splat(0.0); 2]; P]);
            for chunk in 0..channels.chunks {
                let of_channels = [of_scale.add(chunk * width), of_bias.add(chunk * width)];
                for place in 0..places.len().min(P) {
                    let row = row(chunk, place);
                    sums[place] = row.sums(sums[place], of_channels, 0..full);
                    of_rest[place] = row.sums(of_rest[place], of_channels, full..width);
                }
            }
            let mut along = [[0.0; 2]; P];
            for place in 0..places.len().min(P) {
                for (of, along) in along[place].iter_mut().enumerate() {
                    *along = (sums[place][of].total() + of_rest[place][of].total()) / count;
                }
            }
            for chunk in 0..channels.chunks {
                let dx = self.dx.pointer().add(start + chunk * channels.stride());
                for (place, along) in along.iter().enumerate().take(places.len()) {
                    let (row, dx) = (row(chunk, place), dx.add(place * width));
                    row.write::<V>(dx, *along, 0..full);
                    row.write::<One>(dx, *along, full..width);
                }
            }
        }
    }

    /// U vectors of neighbours, each channel of which lies together; says how many these are.
    #[inline(always)]
    unsafe fn plane<V: Vector, const U: usize>(&self, first: usize, [of_scale, of_bias]: [*mut f32; 2]) -> usize {
        let LayerNormGrad { channels, x, dy, scale, mean, inverse_deviation } = *self.of;
        let start = channels.start(first);
        unsafe {
            let [mut m, mut s, mut along_one, mut along_x] = [[V::splat(0.0); U]; 4];
            for v in 0..U {
                m[v] = V::load(mean.as_ptr().add(first + v * V::LANES));
                s[v] = V::load(inverse_deviation.as_ptr().add(first + v * V::LANES));
            }
            for (channel, scale) in scale.iter().enumerate() {
                let at = start + channel * channels.stride();
                let (x, dy, scale) = (x.as_ptr().add(at), dy.as_ptr().add(at), V::splat(*scale));
                let [of_scale, of_bias] = [of_scale, of_bias].map(|sums| sums.add(channel * MOST_LANES));
                let (mut with_normal, mut by_itself) = (V::load(of_scale), V::load(of_bias));
                for v in 0..U {
                    let dy = V::load(dy.add(v * V::LANES));
                    let normal = V::load(x.add(v * V::LANES)).sub(m[v]).mul(s[v]);
                    let scaled = dy.mul(scale);
                    along_one[v] = along_one[v].add(scaled);
                    along_x[v] = scaled.mul_add(normal, along_x[v]);
                    with_normal = dy.mul_add(normal, with_normal);
                    by_itself = by_itself.add(dy);
                }
                with_normal.store(of_scale);
                by_itself.store(of_bias);
            }
            let less = V::splat(-1.0 / channels.count() as f32);
            for v in 0..U {
                along_one[v] = along_one[v].mul(less);
                along_x[v] = along_x[v].mul(less);
            }
            for (channel, scale) in scale.iter().enumerate() {
                let at = start + channel * channels.stride();
                let (x, dy, scale) = (x.as_ptr().add(at), dy.as_ptr().add(at), V::splat(*scale));
                let dx = self.dx.pointer().add(at);
                for v in 0..U {
                    let normal = V::load(x.add(v * V::LANES)).sub(m[v]).mul(s[v]);
                    let rest = V::load(dy.add(v * V::LANES)).mul_add(scale, along_one[v]);
                    normal.mul_add(along_x[v], rest).mul(s[v]).store(dx.add(v * V::LANES));
                }
            }
        }
        U * V::LANES
    }
}

/// A chunk of channels at a place.
#[derive(Clone, Copy)]
struct Row {
    x: *const f32,
    dy: *const f32,
    scale: *const f32,
    mean: f32,
    s: f32,
}

// SAFETY of all methods: as where they are called.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Row {
    /// Adds Σ ȳγ and Σ ȳγx̂ of some elements; and ȳx̂ and ȳ to what is summed for the scale and the bias.
    #[inline(always)]
    unsafe fn sums<V: Vector>(
        self,
        [mut along_one, mut along_x]: [V; 2],
        [of_scale, of_bias]: [*mut f32; 2],
        elements: Range<usize>,
    ) -> [V; 2] {
        let mut at = elements.start;
        while at < elements.end {
            unsafe {
                let dy = V::load(self.dy.add(at));
                let normal = V::load(self.x.add(at)).sub(V::splat(self.mean)).mul(V::splat(self.s));
                let scaled = dy.mul(V::load(self.scale.add(at)));
                along_one = along_one.add(scaled);
                along_x = scaled.mul_add(normal, along_x);
                dy.mul_add(normal, V::load(of_scale.add(at))).store(of_scale.add(at));
                dy.add(V::load(of_bias.add(at))).store(of_bias.add(at));
            }
            at += V::LANES;
        }
        [along_one, along_x]
    }

    /// Writes some elements of x̄, where these are the means of ȳγ and ȳγx̂.
    #[inline(always)]
    unsafe fn write<V: Vector>(self, dx: *mut f32, [along_one, along_x]: [f32; 2], elements: Range<usize>) {
        let mut at = elements.start;
        while at < elements.end {
            unsafe {
                let s = V::splat(self.s);
                let normal = V::load(self.x.add(at)).sub(V::splat(self.mean)).mul(s);
                let rest = V::load(self.dy.add(at)).mul_add(V::load(self.scale.add(at)), V::splat(-along_one));
                normal.mul_add(V::splat(-along_x), rest).mul(s).store(dx.add(at));
            }
            at += V::LANES;
        }
    }
}
