//! LayerNormalization and its gradient, each in one pass over memory (Ba, Kiros and Hinton, 2016; ONNX, operator
//! `LayerNormalization`).
//!
//! With x̂ = (x − μ) · s and s = (σ² + ε)^−½ over C channels, y = x̂ · γ + β, and the gradient is
//! x̄ = s · (ȳγ − mean ȳγ − x̂ · mean ȳγx̂), γ̄ = Σ ȳx̂, β̄ = Σ ȳ.

use crate::conv::Layout;
use crate::elementwise::{TASK, part};
use crate::floats::Floats;
use crate::threads::Threads;
use crate::vector::{Job, MOST_LANES, Portable, Vector, Width, with_width};
use gnp_base::{Error, Result};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Which channels are normalised together, and where they lie: element `l` of chunk `k` of the channels, at position
/// `i` of image `o`, is at ((o · chunks + k) · positions + i) · width + l.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    images: usize,
    chunks: usize,
    positions: usize,
    width: usize,
}

impl Channels {
    /// The last axes of `shape`, from `axis` on.
    ///
    /// # Errors
    /// Where there is no such axis.
    ///
    /// ```
    /// use gnp_kernels::layer_norm::Channels;
    /// let channels = Channels::last(&[32, 65, 192], -1)?;
    /// assert_eq!((channels.count(), channels.places()), (192, 32 * 65));
    /// # Ok::<(), gnp_base::Error>(())
    /// ```
    pub fn last(shape: &[usize], axis: i64) -> Result<Self> {
        let first = if axis < 0 { axis + shape.len() as i64 } else { axis };
        let split = usize::try_from(first).ok().and_then(|first| shape.split_at_checked(first));
        let (places, channels) =
            split.ok_or_else(|| Error::input(format!("there is no axis {axis}: the shape is {shape:?}")))?;
        Ok(Self { images: product(places)?, chunks: 1, positions: 1, width: product(channels)? })
    }

    /// Those of images \[N, C, spatial…\] that lie in `layout`; `shape` is the one that they have there.
    ///
    /// # Errors
    /// A shape without channels, or not of that layout.
    pub fn of_images(shape: &[usize], layout: Layout) -> Result<Self> {
        let channels = match (layout, shape) {
            (Layout::Plain, &[images, chunks, ref spatial @ ..]) => {
                Self { images, chunks, positions: product(spatial)?, width: 1 }
            }
            (Layout::Blocked(block), &[images, chunks, ref spatial @ .., width]) if width == block => {
                Self { images, chunks, positions: product(spatial)?, width }
            }
            _ => return Err(Error::input(format!("{shape:?} is the shape of no images that lie as {layout:?}"))),
        };
        product(shape)?;
        // What lies side by side is one chunk.
        Ok(if channels.positions == 1 { Self { chunks: 1, width: channels.count(), ..channels } } else { channels })
    }

    /// How many channels are normalised together.
    pub fn count(&self) -> usize {
        self.chunks * self.width
    }

    /// How many times that is: the numbers of means and of inverse deviations.
    pub fn places(&self) -> usize {
        self.images * self.positions
    }

    /// The elements of a tensor.
    fn elements(&self) -> usize {
        self.count() * self.places()
    }

    /// From one chunk to the next.
    fn stride(&self) -> usize {
        self.positions * self.width
    }

    /// Where the first channel of a place is.
    fn start(&self, place: usize) -> usize {
        let (image, position) = (place / self.positions, place % self.positions);
        image * self.count() * self.positions + position * self.width
    }

    /// In how many units the places are taken: neighbours in an image, so many together.
    fn units(&self) -> usize {
        self.images * self.positions.div_ceil(TILE)
    }

    /// Whether neighbours in memory are other places of one channel.
    fn is_plane(&self) -> bool {
        self.width == 1
    }

    /// The places of a unit.
    fn tile(&self, unit: usize) -> Range<usize> {
        let of_each = self.positions.div_ceil(TILE);
        let (image, first) = (unit / of_each, unit % of_each * TILE);
        let start = image * self.positions + first;
        start..start + TILE.min(self.positions - first)
    }

    /// How many lanes there are for the sums of a channel.
    fn lanes(&self) -> usize {
        if self.is_plane() { MOST_LANES } else { 1 }
    }
}

fn product(sizes: &[usize]) -> Result<usize> {
    let count = sizes.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
    count.ok_or_else(|| Error::input(format!("{sizes:?} are too many")))
}

/// Places of an image that are a unit.
const TILE: usize = 4 * MOST_LANES;

/// Into how many parts the work is divided at most. They are the same for any number of threads, and so is the result.
const PARTS: usize = 32;

/// So many numbers, or a unit's, are added in float32, and those sums in double precision.
const SUMMED: usize = 64;

fn parts(channels: &Channels, cost: usize) -> usize {
    (channels.elements() * cost / TASK).clamp(1, PARTS).min(channels.units())
}

/// Runs a job with the widest vectors.
fn run(job: impl Job) {
    let width = Width::of(None).unwrap_or(Width::Sixteen);
    // SAFETY: the processor has vectors of this width.
    with_width!(width, V => unsafe { V::run(job) });
}

fn expect(count: usize, of: usize, what: &str) -> Result<()> {
    if count == of { Ok(()) } else { Err(Error::input(format!("{what} has {count} numbers, and is to have {of}"))) }
}

/// A LayerNormalization.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a> {
    /// Which channels.
    pub channels: Channels,
    /// ε.
    pub epsilon: f32,
    /// The input.
    pub x: &'a [f32],
    /// γ, one for each channel.
    pub scale: &'a [f32],
    /// β, one for each channel.
    pub bias: Option<&'a [f32]>,
}

/// Where the results of a [`LayerNorm`] go: y as x, a mean and an inverse deviation for each place.
#[derive(Debug)]
pub struct Normalised<'a> {
    /// The output.
    pub y: &'a mut [f32],
    /// μ.
    pub mean: &'a mut [f32],
    /// s = (σ² + ε)^−½.
    pub inverse_deviation: &'a mut [f32],
}

impl LayerNorm<'_> {
    /// Computes it.
    ///
    /// # Errors
    /// A slice of another length than `channels` says.
    pub fn run(&self, to: Normalised<'_>, threads: &dyn Threads) -> Result<()> {
        let channels = self.channels;
        expect(self.x.len(), channels.elements(), "x")?;
        expect(to.y.len(), channels.elements(), "y")?;
        expect(self.scale.len(), channels.count(), "the scale")?;
        expect(self.bias.map_or(channels.count(), <[f32]>::len), channels.count(), "the bias")?;
        expect(to.mean.len(), channels.places(), "the mean")?;
        expect(to.inverse_deviation.len(), channels.places(), "the inverse deviation")?;
        if channels.elements() == 0 {
            to.mean.fill(f32::NAN);
            to.inverse_deviation.fill(f32::NAN);
            return Ok(());
        }
        let to = [to.y, to.mean, to.inverse_deviation].map(Floats::from);
        let parts = parts(&channels, 2);
        threads.run(parts, &|task| run(Forward { of: self, to, units: part(channels.units(), parts, task) }));
        Ok(())
    }
}

/// The gradient of a LayerNormalization.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormGrad<'a> {
    /// Which channels.
    pub channels: Channels,
    /// The input of the LayerNormalization.
    pub x: &'a [f32],
    /// The cotangent of its output.
    pub dy: &'a [f32],
    /// γ, one for each channel.
    pub scale: &'a [f32],
    /// μ, one for each place.
    pub mean: &'a [f32],
    /// s, one for each place.
    pub inverse_deviation: &'a [f32],
}

/// Where the results of a [`LayerNormGrad`] go: the cotangents of x, γ and β.
#[derive(Debug)]
pub struct Cotangents<'a> {
    /// As x.
    pub dx: &'a mut [f32],
    /// One for each channel.
    pub dscale: &'a mut [f32],
    /// One for each channel.
    pub dbias: &'a mut [f32],
}

impl LayerNormGrad<'_> {
    /// Computes it. The result is the same to the bit for any number of threads.
    ///
    /// # Errors
    /// A slice of another length than `channels` says.
    pub fn run(&self, to: Cotangents<'_>, threads: &dyn Threads) -> Result<()> {
        let channels = self.channels;
        expect(self.x.len(), channels.elements(), "x")?;
        expect(self.dy.len(), channels.elements(), "dy")?;
        expect(to.dx.len(), channels.elements(), "dx")?;
        expect(self.scale.len(), channels.count(), "the scale")?;
        expect(to.dscale.len(), channels.count(), "the gradient of the scale")?;
        expect(to.dbias.len(), channels.count(), "the gradient of the bias")?;
        expect(self.mean.len(), channels.places(), "the mean")?;
        expect(self.inverse_deviation.len(), channels.places(), "the inverse deviation")?;
        to.dscale.fill(0.0);
        to.dbias.fill(0.0);
        if channels.elements() == 0 {
            return Ok(());
        }
        let dx = Floats::from(to.dx);
        let parts = parts(&channels, 3);
        let sums: Vec<Mutex<Vec<f64>>> = (0..parts).map(|_| Mutex::default()).collect();
        threads.run(parts, &|task| {
            let units = part(channels.units(), parts, task);
            run(Backward { of: self, dx, units, sums: &sums[task] });
        });
        let mut total = vec![0.0; 2 * channels.count()];
        for sums in sums {
            let sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
            total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        let written = to.dscale.iter_mut().chain(to.dbias);
        written.zip(total).for_each(|(to, sum)| *to = sum as f32);
        Ok(())
    }
}

/// One number as a vector: what is left over where vectors do not fill a row.
type One = Portable<1>;

/// Some units of the forward pass.
struct Forward<'a> {
    of: &'a LayerNorm<'a>,
    /// y, the means, the inverse deviations.
    to: [Floats<'a>; 3],
    units: Range<usize>,
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

/// Some units of the gradient.
struct Backward<'a> {
    of: &'a LayerNormGrad<'a>,
    dx: Floats<'a>,
    units: Range<usize>,
    /// The sums for the scale and the bias.
    sums: &'a Mutex<Vec<f64>>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Spawned;
    use crate::threads::Caller;
    use proptest::prelude::*;

    /// Shapes of images [N, C, spatial…], with the block that they may lie in.
    fn images() -> impl Strategy<Value = (Vec<usize>, Option<usize>)> {
        let sizes = (1..4usize, 1..5usize, prop::collection::vec(1..13usize, 0..3));
        (sizes, prop::option::of(prop::sample::select(vec![8, 16])), any::<u8>()).prop_map(
            |((images, channels, spatial), block, more)| {
                let channels = block.map_or(channels * 9 + usize::from(more % 9), |block| channels * block);
                ([&[images, channels][..], &spatial].concat(), block)
            },
        )
    }

    fn numbers(count: usize, of: usize) -> Vec<f32> {
        (0..count).map(|place| ((place * 31 + of * 17) % 41) as f32 * 0.125 - 2.5).collect()
    }

    /// y, the means and the inverse deviations; the cotangents of x, scale and bias.
    type Results = ([Vec<f32>; 3], [Vec<f32>; 3]);

    fn computed(channels: Channels, inputs: &[Vec<f32>; 4], threads: &dyn Threads) -> Results {
        let [x, dy, scale, bias] = inputs;
        let [mut y, mut dx] = [(); 2].map(|()| vec![f32::NAN; x.len()]);
        let [mut mean, mut inverse_deviation] = [(); 2].map(|()| vec![f32::NAN; channels.places()]);
        let [mut dscale, mut dbias] = [(); 2].map(|()| vec![f32::NAN; scale.len()]);
        let to = Normalised { y: &mut y, mean: &mut mean, inverse_deviation: &mut inverse_deviation };
        LayerNorm { channels, epsilon: 1e-2, x, scale, bias: Some(bias) }.run(to, threads).unwrap();
        let grad = LayerNormGrad { channels, x, dy, scale, mean: &mean, inverse_deviation: &inverse_deviation };
        let to = Cotangents { dx: &mut dx, dscale: &mut dscale, dbias: &mut dbias };
        grad.run(to, threads).unwrap();
        ([y, mean, inverse_deviation], [dx, dscale, dbias])
    }

    /// By the formulas, in double precision; `at` is where a channel of a place lies.
    fn expected(
        count: usize,
        places: usize,
        at: &dyn Fn(usize, usize) -> usize,
        inputs: &[Vec<f32>; 4],
    ) -> ([Vec<f64>; 3], [Vec<f64>; 3]) {
        let [x, dy, scale, bias] = inputs.clone().map(|numbers| numbers.into_iter().map(f64::from).collect::<Vec<_>>());
        let [mut y, mut dx] = [(); 2].map(|()| vec![f64::NAN; x.len()]);
        let [mut means, mut deviations] = [(); 2].map(|()| vec![0.0; places]);
        let [mut dscale, mut dbias] = [(); 2].map(|()| vec![0.0; count]);
        for place in 0..places {
            let average = |of: &dyn Fn(usize) -> f64| (0..count).map(of).sum::<f64>() / count as f64;
            let mean = average(&|c| x[at(place, c)]);
            let variance = average(&|c| (x[at(place, c)] - mean).powi(2));
            let s = 1.0 / (variance + f64::from(1e-2f32)).sqrt();
            (means[place], deviations[place]) = (mean, s);
            let normal = |c: usize| (x[at(place, c)] - mean) * s;
            let along_one = average(&|c| dy[at(place, c)] * scale[c]);
            let along_x = average(&|c| dy[at(place, c)] * scale[c] * normal(c));
            for c in 0..count {
                y[at(place, c)] = normal(c) * scale[c] + bias[c];
                dx[at(place, c)] = s * (dy[at(place, c)] * scale[c] - along_one - normal(c) * along_x);
                dscale[c] += dy[at(place, c)] * normal(c);
                dbias[c] += dy[at(place, c)];
            }
        }
        ([y, means, deviations], [dx, dscale, dbias])
    }

    proptest! {
        #[test]
        fn both_passes_are_the_formulas_in_any_layout((shape, block) in images(), last in any::<bool>()) {
            let (count, spatial) = (shape[1], shape[2..].iter().product::<usize>());
            let places = shape[0] * spatial;
            let width = block.unwrap_or(1);
            let (channels, at): (_, Box<dyn Fn(usize, usize) -> usize>) = if last {
                (Channels::last(&[places, count], 1).unwrap(), Box::new(|place, c| place * count + c))
            } else {
                let layout = block.map_or(Layout::Plain, Layout::Blocked);
                let at = |place: usize, c: usize| {
                    let (image, position) = (place / spatial, place % spatial);
                    ((image * (count / width) + c / width) * spatial + position) * width + c % width
                };
                (Channels::of_images(&layout.shape(&shape), layout).unwrap(), Box::new(at))
            };
            prop_assert_eq!((channels.count(), channels.places()), (count, places));
            let sizes = [places * count, places * count, count, count];
            let mut of = 0;
            let inputs = sizes.map(|size| { of += 1; numbers(size, of) });
            let (forward, backward) = expected(count, places, &at, &inputs);
            let found = computed(channels, &inputs, &Caller);
            let pairs = found.0.iter().chain(&found.1).zip(forward.iter().chain(&backward));
            for (found, expected) in pairs {
                let most = expected.iter().fold(1.0, |most: f64, x| most.max(x.abs()));
                for (found, expected) in found.iter().zip(expected) {
                    prop_assert!((f64::from(*found) - expected).abs() <= 3e-5 * most, "{} {}", found, expected);
                }
            }
            prop_assert_eq!(&found, &computed(channels, &inputs, &Spawned(3)));
        }
    }

    #[test]
    fn many_places_are_summed_exactly() {
        let (places, count) = (40_000, 24);
        let channels = Channels::last(&[places, count], -1).unwrap();
        let inputs = [numbers(places * count, 1), numbers(places * count, 2), numbers(count, 3), numbers(count, 4)];
        let (_, [_, dscale, dbias]) = computed(channels, &inputs, &Spawned(2));
        let (_, [_, of_scale, of_bias]) = expected(count, places, &|place, c| place * count + c, &inputs);
        let absolute: f64 = inputs[1].iter().map(|dy| f64::from(dy.abs())).sum::<f64>() / count as f64;
        for (found, expected) in dscale.iter().zip(&of_scale).chain(dbias.iter().zip(&of_bias)) {
            assert!((f64::from(*found) - expected).abs() < 3e-7 * absolute, "{found} {expected}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(Channels::last(&[2, 3], 2).is_ok_and(|channels| channels.count() == 1));
        assert!(Channels::last(&[2, 3], 3).is_err());
        assert!(Channels::of_images(&[2], Layout::Plain).is_err());
        assert!(Channels::of_images(&[2, 3, 4, 8], Layout::Blocked(16)).is_err());
        assert!(Channels::last(&[usize::MAX, 3], 0).is_err());
        let channels = Channels::last(&[2, 3], -1).unwrap();
        let (x, scale) = ([0.0; 6], [1.0; 2]);
        let (mut y, mut mean, mut inverse_deviation) = ([0.0; 6], [0.0; 2], [0.0; 2]);
        let to = Normalised { y: &mut y, mean: &mut mean, inverse_deviation: &mut inverse_deviation };
        let error = LayerNorm { channels, epsilon: 0.0, x: &x, scale: &scale, bias: None }.run(to, &Caller);
        assert_eq!(error.unwrap_err().to_string(), "the scale has 2 numbers, and is to have 3");
    }
}
