//! The norm of some places: their statistics, and what is made with them.

use super::{LayerNorm, One, TILE};
use crate::floats::Floats;
use crate::vector::{Job, Vector};
use std::ops::Range;

/// Some units of the forward pass.
pub(super) struct Forward<'a> {
    pub(super) of: &'a LayerNorm<'a>,
    /// y, the means, the inverse deviations.
    pub(super) to: [Floats<'a>; 3],
    pub(super) units: Range<usize>,
}

impl Job for Forward<'_> {
    #[inline(always)]
    unsafe fn work<V: Vector>(self) {
        let channels = &self.of.channels;
        for unit in self.units.clone() {
            // SAFETY: this runs under `Vector::run`; the lengths of all slices are those of `channels`, in which the
            // unit is, and its elements are this task's alone.
            unsafe {
                let mut tile = channels.tile(unit);
                if !channels.is_plane() {
                    match tile.len() {
                        1 => self.places::<V, 1>(tile),
                        _ => self.places::<V, TILE>(tile),
                    }
                    continue;
                }
                while !tile.is_empty() {
                    let first = tile.start;
                    tile.start += match tile.len() / V::LANES {
                        2.. => self.plane::<V, 2>(first),
                        1 => self.plane::<V, 1>(first),
                        _ => self.plane::<One, 1>(first),
                    };
                }
            }
        }
    }
}

// SAFETY of all methods: as in `work`.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Forward<'_> {
    /// Up to P places whose channels are chunks of neighbours. Chunk by chunk, so that memory is read in its order.
    #[inline(always)]
    unsafe fn places<V: Vector, const P: usize>(&self, places: Range<usize>) {
        let LayerNorm { channels, epsilon, x, scale, bias } = *self.of;
        let (width, start, count) = (channels.width, channels.start(places.start), channels.count() as f32);
        let full = width - width % V::LANES;
        let rest = width - full;
        let [mut means, mut deviations] = [[0.0f32; P]; 2];
        unsafe {
            let (mut sums, mut of_rest) = ([V::splat(0.0); P], [One::splat(0.0); P]);
            for chunk in 0..channels.chunks {
                let mut x = x.as_ptr().add(start + chunk * channels.stride());
                for place in 0..places.len().min(P) {
                    sums[place] = plus(sums[place], x, full);
                    of_rest[place] = plus(of_rest[place], x.add(full), rest);
                    x = x.wrapping_add(width);
                }
            }
            for place in 0..places.len().min(P) {
                means[place] = (sums[place].total() + of_rest[place].total()) / count;
                (sums[place], of_rest[place]) = (V::splat(0.0), One::splat(0.0));
            }
            for chunk in 0..channels.chunks {
                let mut x = x.as_ptr().add(start + chunk * channels.stride());
                for place in 0..places.len().min(P) {
                    sums[place] = plus_squares(sums[place], x, full, means[place]);
                    of_rest[place] = plus_squares(of_rest[place], x.add(full), rest, means[place]);
                    x = x.wrapping_add(width);
                }
            }
            for place in 0..places.len().min(P) {
                let variance = (sums[place].total() + of_rest[place].total()) / count;
                deviations[place] = 1.0 / (variance + epsilon).sqrt();
            }
            for chunk in 0..channels.chunks {
                let at = start + chunk * channels.stride();
                let (mut x, mut y) = (x.as_ptr().add(at), self.to[0].pointer().add(at));
                let scale = scale.as_ptr().add(chunk * width);
                let bias = match bias {
                    Some(bias) => bias.as_ptr().add(chunk * width),
                    None => std::ptr::null(),
                };
                for place in 0..places.len().min(P) {
                    let statistics = [means[place], deviations[place]];
                    normalise::<V>(x, scale, bias, y, 0..full, statistics);
                    normalise::<One>(x, scale, bias, y, full..width, statistics);
                    (x, y) = (x.wrapping_add(width), y.wrapping_add(width));
                }
            }
            for (to, from) in self.to[1..].iter().zip([means, deviations]) {
                std::ptr::copy_nonoverlapping(from.as_ptr(), to.pointer().add(places.start), places.len());
            }
        }
    }

    /// U vectors of neighbours, each channel of which lies together; says how many these are.
    #[inline(always)]
    unsafe fn plane<V: Vector, const U: usize>(&self, first: usize) -> usize {
        let LayerNorm { channels, epsilon, x, scale, bias } = *self.of;
        let start = channels.start(first);
        unsafe {
            let each = V::splat(1.0 / channels.count() as f32);
            let mut mean = [V::splat(0.0); U];
            for channel in 0..channels.chunks {
                let x = x.as_ptr().add(start + channel * channels.stride());
                for (v, mean) in mean.iter_mut().enumerate() {
                    *mean = mean.add(V::load(x.add(v * V::LANES)));
                }
            }
            let mut s = [V::splat(0.0); U];
            for mean in &mut mean {
                *mean = mean.mul(each);
            }
            for channel in 0..channels.chunks {
                let x = x.as_ptr().add(start + channel * channels.stride());
                for v in 0..U {
                    let centred = V::load(x.add(v * V::LANES)).sub(mean[v]);
                    s[v] = centred.mul_add(centred, s[v]);
                }
            }
            for v in 0..U {
                let at = first + v * V::LANES;
                let (means, deviations) = (self.to[1].pointer().add(at), self.to[2].pointer().add(at));
                mean[v].store(means);
                s[v].mul(each).store(deviations);
                for lane in 0..V::LANES {
                    *deviations.add(lane) = 1.0 / (*deviations.add(lane) + epsilon).sqrt();
                }
                s[v] = V::load(deviations);
            }
            for (channel, scale) in scale.iter().enumerate() {
                let at = start + channel * channels.stride();
                let (x, y) = (x.as_ptr().add(at), self.to[0].pointer().add(at));
                let scale = V::splat(*scale);
                let bias = V::splat(if let Some(bias) = bias { bias[channel] } else { 0.0 });
                for v in 0..U {
                    let normal = V::load(x.add(v * V::LANES)).sub(mean[v]).mul(s[v]);
                    normal.mul_add(scale, bias).store(y.add(v * V::LANES));
                }
            }
        }
        U * V::LANES
    }
}

/// Adds `count` elements, a multiple of the lanes.
#[inline(always)]
unsafe fn plus<V: Vector>(mut sum: V, x: *const f32, count: usize) -> V {
    let mut at = 0;
    while at < count {
        // SAFETY: as where this is called.
        sum = unsafe { sum.add(V::load(x.add(at))) };
        at += V::LANES;
    }
    sum
}

/// Adds the squares of what `count` elements are from `mean`.
#[inline(always)]
unsafe fn plus_squares<V: Vector>(mut sum: V, x: *const f32, count: usize, mean: f32) -> V {
    let mut at = 0;
    while at < count {
        // SAFETY: as where this is called.
        unsafe {
            let centred = V::load(x.add(at)).sub(V::splat(mean));
            sum = centred.mul_add(centred, sum);
        }
        at += V::LANES;
    }
    sum
}

/// Writes some elements of y; without a bias, where its pointer is null.
#[inline(always)]
unsafe fn normalise<V: Vector>(
    x: *const f32,
    scale: *const f32,
    bias: *const f32,
    y: *mut f32,
    elements: Range<usize>,
    [mean, s]: [f32; 2],
) {
    let mut at = elements.start;
    while at < elements.end {
        // SAFETY: as where this is called.
        unsafe {
            let normal = V::load(x.add(at)).sub(V::splat(mean)).mul(V::splat(s));
            let bias = if bias.is_null() { V::splat(0.0) } else { V::load(bias.add(at)) };
            normal.mul_add(V::load(scale.add(at)), bias).store(y.add(at));
        }
        at += V::LANES;
    }
}
