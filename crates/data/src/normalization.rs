//! Means and standard deviations: what of the data, and what is made of them.

use super::array::Values;
use super::layout::Channels;
use super::{Dataset, ImageFiles, order};
use gnp_base::{Error, Result};
use serde::{Deserialize, Serialize};
use std::thread;

/// Of at most so many images in files the statistics are taken.
const IMAGES: usize = 10_000;

/// How samples are normalised after the division.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Normalize {
    /// Not at all.
    #[default]
    None,
    /// By mean and standard deviation of the training set: of each channel where the samples are images, else of each
    /// element.
    Data,
    /// By these numbers, one or one a channel each. None is a mean of 0, or a standard deviation of 1.
    By {
        /// What is subtracted.
        mean: Vec<f32>,
        /// What the difference is divided by.
        std: Vec<f32>,
    },
}

/// What is made of a sample's element x of channel c: (x / divisor − mean\[c\]) / std\[c\].
///
/// The channels are those of an image; samples that are none have one a number. A single mean and deviation serve all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalization {
    /// The divisor.
    pub divisor: f32,
    /// The means, after the division.
    pub mean: Vec<f32>,
    /// The standard deviations, after the division; 1 for a channel that is constant.
    pub std: Vec<f32>,
}

impl Normalization {
    /// A division and nothing else.
    pub(super) fn divide(divisor: f32) -> Self {
        Self { divisor, mean: vec![0.0], std: vec![1.0] }
    }

    /// Given numbers.
    ///
    /// # Errors
    /// Where there are neither one nor as many as `channels`, or a number is not finite, or a deviation is not above 0.
    pub(super) fn by(divisor: f32, mean: &[f32], std: &[f32], channels: usize) -> Result<Self> {
        for (what, numbers) in [("means", mean), ("standard deviations", std)] {
            if numbers.len() > 1 && numbers.len() != channels {
                return Err(Error::input(format!(
                    "{} {what} are given, but the samples have {channels} channels",
                    numbers.len()
                ))
                .help("give one number for all channels, or one for each"));
            }
        }
        if let Some(mean) = mean.iter().find(|mean| !mean.is_finite()) {
            return Err(Error::input(format!("the mean {mean} is no finite number")));
        }
        if let Some(std) = std.iter().find(|std| !(std.is_finite() && **std > 0.0)) {
            return Err(Error::input(format!("the standard deviation {std} is not a number above 0")));
        }
        let or = |numbers: &[f32], default: f32| if numbers.is_empty() { vec![default] } else { numbers.to_vec() };
        Ok(Self { divisor, mean: or(mean, 0.0), std: or(std, 1.0) })
    }

    /// The statistics of all samples whose elements `values` are.
    pub(super) fn of_values(divisor: f32, values: &Values, channels: Channels) -> Self {
        match values {
            Values::U8(values) => Self::of_elements(divisor, values, channels, f64::from),
            Values::I64(values) => Self::of_elements(divisor, values, channels, |value| value as f64),
            Values::F32(values) => Self::of_elements(divisor, values, channels, f64::from),
        }
    }

    fn of_elements<T: Copy>(divisor: f32, values: &[T], channels: Channels, float: impl Fn(T) -> f64) -> Self {
        let Channels { count, inner } = channels;
        let of_channel = || values.chunks(inner).enumerate().map(|(chunk, values)| (chunk % count, values));
        let each = values.len() as f64 / count as f64;
        let mut means = vec![0.0; count];
        of_channel().for_each(|(channel, values)| means[channel] += values.iter().map(|&v| float(v)).sum::<f64>());
        means.iter_mut().for_each(|sum| *sum /= each);
        let mut variances = vec![0.0; count];
        of_channel().for_each(|(channel, values)| {
            variances[channel] += values.iter().map(|&v| (float(v) - means[channel]).powi(2)).sum::<f64>();
        });
        variances.iter_mut().for_each(|sum| *sum /= each);
        Self::of_moments(divisor, &means, &variances)
    }

    /// The statistics of `files`, decoded to `shape` (`[channels, height, width]`): of all, or of 10,000 that are drawn
    /// by `seed`.
    ///
    /// # Errors
    /// Where an image cannot be decoded.
    pub(super) fn of_files(
        divisor: f32,
        files: &ImageFiles,
        shape: [usize; 3],
        seed: u64,
        workers: usize,
    ) -> Result<Self> {
        let rows = order::some(files.len(), IMAGES, seed);
        let share = rows.len().div_ceil(workers).max(1);
        let sums = thread::scope(|scope| {
            let threads: Vec<_> =
                rows.chunks(share).map(|rows| scope.spawn(move || Sums::of(files, rows, shape))).collect();
            let sums = threads.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|_| Err(Error::internal("taking the mean of images failed")))
            });
            sums.collect::<Result<Vec<_>>>()
        })?;
        let sums = sums.into_iter().fold(Sums::new(shape[0]), Sums::and);
        let count = (rows.len() * shape[1] * shape[2]) as f64;
        let means: Vec<f64> = sums.values.iter().map(|&sum| sum as f64 / count).collect();
        let variances: Vec<f64> =
            sums.squares.iter().zip(&means).map(|(&sum, mean)| (sum as f64 / count - mean * mean).max(0.0)).collect();
        Ok(Self::of_moments(divisor, &means, &variances))
    }

    fn of_moments(divisor: f32, means: &[f64], variances: &[f64]) -> Self {
        let divisor_wide = f64::from(divisor);
        let std = variances.iter().map(|variance| match (variance.sqrt() / divisor_wide.abs()) as f32 {
            std if std > 0.0 => std,
            _ => 1.0,
        });
        Self { divisor, mean: means.iter().map(|mean| (mean / divisor_wide) as f32).collect(), std: std.collect() }
    }

    /// That a `sample` of `data` has no numbers any more once it is divided, normalised and augmented. In the data all
    /// are numbers.
    pub(super) fn not_finite(&self, data: &Dataset, sample: usize, value: f32) -> Error {
        let Self { divisor, mean, std } = self;
        let small = std.iter().copied().fold(f32::INFINITY, f32::min);
        let sample = data.number_of(sample);
        let error = Error::input(format!(
            "sample {sample} holds {value} once it is divided by {divisor:e} and normalised (means from {:e}, deviations from {small:e})",
            mean.iter().copied().fold(f32::INFINITY, f32::min),
        ));
        let error = data.in_samples_file(error);
        error.help("give a divisor, means and deviations that suit the data (--divisor, --normalize), or bring the data to numbers near 1")
    }

    /// Normalises the elements of one sample, which `float` makes floats, to `to`.
    pub(super) fn apply<T: Copy>(
        &self,
        from: &[T],
        to: &mut [f32],
        channels: Channels,
        float: impl Fn(T) -> f32 + Copy,
    ) {
        let (scales, shifts) = (
            |c: usize| 1.0 / (self.divisor * pick(&self.std, c)),
            |c: usize| -pick(&self.mean, c) / pick(&self.std, c),
        );
        let run = |from: &[T], to: &mut [f32], channel| {
            let (scale, shift): (f32, f32) = (scales(channel), shifts(channel));
            for (to, &from) in to.iter_mut().zip(from) {
                *to = float(from) * scale + shift;
            }
        };
        if self.mean.len() == 1 && self.std.len() == 1 {
            return run(from, to, 0);
        }
        let Channels { count, inner } = channels;
        if inner > 1 {
            let planes = from.chunks(inner).zip(to.chunks_mut(inner));
            return planes.enumerate().for_each(|(at, (from, to))| run(from, to, at % count));
        }
        let factors: Vec<(f32, f32)> = (0..count).map(|channel| (scales(channel), shifts(channel))).collect();
        for (from, to) in from.chunks(count).zip(to.chunks_mut(count)) {
            for ((to, &from), &(scale, shift)) in to.iter_mut().zip(from).zip(&factors) {
                *to = float(from) * scale + shift;
            }
        }
    }
}

/// The number of a channel: its own, or the one of all.
fn pick(numbers: &[f32], channel: usize) -> f32 {
    if numbers.len() == 1 { numbers[0] } else { numbers[channel] }
}

/// Sums over bytes, by channel: exact, so in any order.
struct Sums {
    values: Vec<u64>,
    squares: Vec<u64>,
}

impl Sums {
    fn new(channels: usize) -> Self {
        Self { values: vec![0; channels], squares: vec![0; channels] }
    }

    fn of(files: &ImageFiles, rows: &[usize], shape: [usize; 3]) -> Result<Self> {
        let mut sums = Self::new(shape[0]);
        for &row in rows {
            for pixel in files.decode(row, shape, |_| None)?.chunks_exact(shape[0]) {
                for (channel, &value) in pixel.iter().enumerate() {
                    sums.values[channel] += u64::from(value);
                    sums.squares[channel] += u64::from(value) * u64::from(value);
                }
            }
        }
        Ok(sums)
    }

    fn and(mut self, other: Self) -> Self {
        self.values.iter_mut().zip(other.values).for_each(|(sum, other)| *sum += other);
        self.squares.iter_mut().zip(other.squares).for_each(|(sum, other)| *sum += other);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn floats(values: &[f32]) -> Values {
        Values::F32(values.to_vec())
    }

    #[test]
    fn statistics_are_those_of_each_channel() {
        // Two samples of two channels of two elements each.
        let planes = floats(&[0.0, 2.0, 10.0, 10.0, 4.0, 6.0, 10.0, 10.0]);
        let found = Normalization::of_values(2.0, &planes, Channels { count: 2, inner: 2 });
        // The mean of 0, 2, 4, 6 is 3, their variance 5.
        let expected = Normalization { divisor: 2.0, mean: vec![1.5, 5.0], std: vec![5f32.sqrt() / 2.0, 1.0] };
        assert_eq!(found, expected);
        let interleaved = floats(&[0.0, 10.0, 2.0, 10.0, 4.0, 10.0, 6.0, 10.0]);
        assert_eq!(Normalization::of_values(2.0, &interleaved, Channels { count: 2, inner: 1 }), expected);
    }

    #[test]
    fn numbers_are_one_or_one_a_channel() {
        let by = |mean: &[f32], std: &[f32]| Normalization::by(255.0, mean, std, 3);
        assert_eq!(by(&[], &[0.5]).unwrap(), Normalization { divisor: 255.0, mean: vec![0.0], std: vec![0.5] });
        assert_eq!(by(&[0.1, 0.2, 0.3], &[]).unwrap().mean.len(), 3);
        assert!(
            by(&[0.1, 0.2], &[])
                .unwrap_err()
                .to_string()
                .contains("2 means are given, but the samples have 3 channels")
        );
        assert!(by(&[], &[0.5, 0.0, 0.5]).is_err());
        assert!(by(&[f32::NAN], &[]).is_err());
    }

    proptest! {
        #[test]
        fn normalised_data_have_mean_0_and_deviation_1(values in prop::collection::vec(-1e3f32..1e3, 6..60), inner in 1usize..4) {
            let channels = Channels { count: 2, inner };
            let whole = values.len() / (2 * inner) * 2 * inner;
            prop_assume!(whole > 0);
            let array = floats(&values[..whole]);
            let normalization = Normalization::of_values(3.0, &array, channels);
            let mut out = vec![0.0; whole];
            normalization.apply(&values[..whole], &mut out, channels, |value| value);
            let again = Normalization::of_values(1.0, &floats(&out), channels);
            for (mean, std) in again.mean.iter().zip(&again.std) {
                prop_assert!(mean.abs() < 1e-3 && (std - 1.0).abs() < 1e-3, "{:?}", again);
            }
        }
    }
}
