//! LayerNormalization and its gradient, each in one pass over memory (Ba, Kiros and Hinton, 2016; ONNX, operator
//! `LayerNormalization`).
//!
//! With x̂ = (x − μ) · s and s = (σ² + ε)^−½ over C channels, y = x̂ · γ + β, and the gradient is
//! x̄ = s · (ȳγ − mean ȳγ − x̂ · mean ȳγx̂), γ̄ = Σ ȳx̂, β̄ = Σ ȳ.

mod backward;
mod forward;

use crate::conv::Layout;
use crate::elementwise::{TASK, part};
use crate::floats::Floats;
use crate::threads::Threads;
use crate::vector::{Job, MOST_LANES, Portable, Vector, Width, with_width};
use backward::Backward;
use forward::Forward;
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

/// The widest vectors that the processor has.
fn widest() -> Width {
    Width::of(None).unwrap_or(Width::Sixteen)
}

/// Runs a job with vectors of a width that the processor has.
fn run(width: Width, job: impl Job) {
    // SAFETY: it has them.
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
        self.run_with(widest(), to, threads)
    }

    fn run_with(&self, width: Width, to: Normalised<'_>, threads: &dyn Threads) -> Result<()> {
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
        threads.run(parts, &|task| run(width, Forward { of: self, to, units: part(channels.units(), parts, task) }));
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
        self.run_with(widest(), to, threads)
    }

    fn run_with(&self, width: Width, to: Cotangents<'_>, threads: &dyn Threads) -> Result<()> {
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
            run(width, Backward { of: self, dx, units, sums: &sums[task] });
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

    fn computed(channels: Channels, width: Width, inputs: &[Vec<f32>; 4], threads: &dyn Threads) -> Results {
        let [x, dy, scale, bias] = inputs;
        let [mut y, mut dx] = [(); 2].map(|()| vec![f32::NAN; x.len()]);
        let [mut mean, mut inverse_deviation] = [(); 2].map(|()| vec![f32::NAN; channels.places()]);
        let [mut dscale, mut dbias] = [(); 2].map(|()| vec![f32::NAN; scale.len()]);
        let to = Normalised { y: &mut y, mean: &mut mean, inverse_deviation: &mut inverse_deviation };
        LayerNorm { channels, epsilon: 1e-2, x, scale, bias: Some(bias) }.run_with(width, to, threads).unwrap();
        let grad = LayerNormGrad { channels, x, dy, scale, mean: &mean, inverse_deviation: &inverse_deviation };
        let to = Cotangents { dx: &mut dx, dscale: &mut dscale, dbias: &mut dbias };
        grad.run_with(width, to, threads).unwrap();
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
            for width in Width::all() {
                let found = computed(channels, width, &inputs, &Caller);
                let pairs = found.0.iter().chain(&found.1).zip(forward.iter().chain(&backward));
                for (found, expected) in pairs {
                    let most = expected.iter().fold(1.0, |most: f64, x| most.max(x.abs()));
                    for (found, expected) in found.iter().zip(expected) {
                        prop_assert!((f64::from(*found) - expected).abs() <= 3e-5 * most, "{} {}", found, expected);
                    }
                }
                prop_assert_eq!(&found, &computed(channels, width, &inputs, &Spawned(3)));
            }
        }
    }

    #[test]
    fn many_places_are_summed_exactly() {
        let (places, count) = (40_000, 24);
        let channels = Channels::last(&[places, count], -1).unwrap();
        let inputs = [numbers(places * count, 1), numbers(places * count, 2), numbers(count, 3), numbers(count, 4)];
        let (_, [_, dscale, dbias]) = computed(channels, widest(), &inputs, &Spawned(2));
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
