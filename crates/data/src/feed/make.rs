//! Batches as tensors: samples divided, normalised, augmented and turned, and their labels.

use super::Feed;
use crate::augment::Augmentation;
use crate::labels::Labels;
use crate::layout::Axes;
use crate::order::{Draws, draws};
use crate::resize::resize_in_place;
use crate::{Normalization, Samples, Values};
use gnp_base::{Error, Result};
use gnp_tensor::finite::first_not_finite;
use gnp_tensor::{ElementType, Tensor};
use rand_chacha::ChaCha8Rng;

/// What decides the draws of a batch.
#[derive(Clone, Copy, Debug)]
struct Place {
    epoch: u64,
    batch: usize,
}

impl Feed<'_> {
    /// The samples `rows`, in that order, and their labels: one tensor a port. Nothing is augmented.
    ///
    /// # Errors
    /// Where an image cannot be decoded, or an element is NaN or infinite once it is normalised.
    pub fn batch(&self, rows: &[usize]) -> Result<Vec<Tensor>> {
        self.make(rows, None)
    }

    /// The samples `rows` as batch `number` (from 0) of epoch `epoch` (from 0), augmented: a function of its arguments
    /// and the seed alone. A sample's draws depend on the epoch and its own number, the mix of the batch on that of the
    /// batch.
    ///
    /// # Errors
    /// As [`Feed::batch`]; where an image cannot be augmented.
    pub fn augmented_batch(&self, rows: &[usize], epoch: u64, number: usize) -> Result<Vec<Tensor>> {
        self.make(rows, Some(Place { epoch, batch: number }).filter(|_| !self.preparation.augmentation.is_none()))
    }

    /// The samples `rows` with labels of 0, which every classifier has: for a look at what a model returns.
    ///
    /// # Errors
    /// Where an image cannot be decoded.
    pub fn batch_without_labels(&self, rows: &[usize]) -> Result<Vec<Tensor>> {
        let zeros = Values::U8(vec![0; self.label_port.size()]);
        let [samples, _] = self.samples_and_labels(rows, None)?;
        Ok(vec![samples, self.label_port.select(&zeros, &vec![0; rows.len()])?])
    }

    fn make(&self, rows: &[usize], place: Option<Place>) -> Result<Vec<Tensor>> {
        self.samples_and_labels(rows, place).map(Vec::from)
    }

    fn samples_and_labels(&self, rows: &[usize], place: Option<Place>) -> Result<[Tensor; 2]> {
        let mut labels = self.labels(rows)?;
        if self.sample_port.element != ElementType::F32 {
            let Samples::Array(array) = self.data.samples() else {
                return Err(Error::internal("images are fed to an input of integers"));
            };
            return Ok([self.sample_port.select(array.values(), rows)?, labels]);
        }
        let size = self.sample_port.size();
        let mut floats = vec![0.0; rows.len() * size];
        for (&row, out) in rows.iter().zip(floats.chunks_exact_mut(size.max(1))) {
            self.sample(row, place, out)?;
        }
        if let Some(place) = place {
            self.mix(&mut floats, &mut labels, rows.len(), place)?;
        }
        let axes = if place.is_some() { Axes::ChannelsFirst } else { self.source_axes() };
        if let Some(layout) = self.layout.filter(|layout| layout.port != axes) {
            let mut turned = vec![0.0; size];
            for sample in floats.chunks_exact_mut(size.max(1)) {
                layout.swap_axes(axes, sample, &mut turned);
                sample.copy_from_slice(&turned);
            }
        }
        if let Some(at) = first_not_finite(&floats) {
            return Err(self.not_finite(rows[at / size.max(1)], floats[at]));
        }
        Ok([Tensor::F32(self.sample_port.array(rows.len(), floats)?), labels])
    }

    /// That `sample` has no numbers any more once it is divided, normalised and augmented. In the data all are numbers.
    fn not_finite(&self, sample: usize, value: f32) -> Error {
        let Normalization { divisor, mean, std } = &self.normalization;
        let small = std.iter().copied().fold(f32::INFINITY, f32::min);
        let sample = self.data.number_of(sample);
        let error = Error::input(format!(
            "sample {sample} holds {value} once it is divided by {divisor:e} and normalised (means from {:e}, deviations from {small:e})",
            mean.iter().copied().fold(f32::INFINITY, f32::min),
        ));
        let error = self.data.in_samples_file(error);
        error.help("give a divisor, means and deviations that suit the data (--divisor, --normalize), or bring the data to numbers near 1")
    }

    /// Writes sample `row` to `out`, normalised: augmented and channels first where there is a `place`, as the data
    /// have it otherwise.
    fn sample(&self, row: usize, place: Option<Place>, out: &mut [f32]) -> Result<()> {
        let size = out.len();
        let augmentation = &self.preparation.augmentation;
        let mut generator = place.map(|place| draws(self.seed, place.epoch, Draws::Sample, row));
        match self.data.samples() {
            Samples::Images(files) => {
                let region = |size| generator.as_mut().and_then(|generator| augmentation.region(size, generator));
                let pixels = files.decode(row, self.image_shape()?, region)?;
                self.write(&pixels, generator, out, f32::from, Augmentation::bytes)
            }
            Samples::Array(array) => match array.values() {
                Values::U8(values) => {
                    let pixels = &values[row * size..][..size];
                    self.write(pixels, generator, out, f32::from, |augmentation, pixels, shape, generator| {
                        let [_, height, width] = shape;
                        if let Some(region) = augmentation.region([height, width], generator) {
                            resize_in_place(pixels, [height, width], &region)?;
                        }
                        augmentation.bytes(pixels, shape, generator)
                    })
                }
                Values::I64(values) => {
                    let numbers: Vec<f32> = values[row * size..][..size].iter().map(|&value| value as f32).collect();
                    self.write(&numbers, generator, out, |value| value, Augmentation::floats)
                }
                Values::F32(values) => {
                    self.write(&values[row * size..][..size], generator, out, |value| value, Augmentation::floats)
                }
            },
        }
    }

    /// Writes the elements `from` to `out`, normalised: augmented and channels first where there is a generator of
    /// draws, else as they lie.
    fn write<T: Copy>(
        &self,
        from: &[T],
        generator: Option<ChaCha8Rng>,
        out: &mut [f32],
        float: impl Fn(T) -> f32 + Copy,
        augment: impl FnOnce(&Augmentation, &mut [T], [usize; 3], &mut ChaCha8Rng) -> Result<()>,
    ) -> Result<()> {
        let (Some(mut generator), Some(layout)) = (generator, self.layout) else {
            self.normalization.apply(from, out, self.channels(self.source_axes()), float);
            return Ok(());
        };
        let mut pixels = from.to_vec();
        if layout.source != Axes::ChannelsFirst {
            layout.swap_axes(layout.source, from, &mut pixels);
        }
        let augmentation = &self.preparation.augmentation;
        augment(augmentation, &mut pixels, layout.shape, &mut generator)?;
        self.normalization.apply(&pixels, out, self.channels(Axes::ChannelsFirst), float);
        augmentation.cut_out(out, layout.shape, &mut generator);
        Ok(())
    }

    fn mix(&self, samples: &mut [f32], labels: &mut Tensor, rows: usize, place: Place) -> Result<()> {
        let augmentation = &self.preparation.augmentation;
        if augmentation.mixup.is_none() && augmentation.cutmix.is_none() {
            return Ok(());
        }
        let Tensor::F32(labels) = labels else { return Err(Error::internal("labels that are no floats are mixed")) };
        let labels = labels.as_slice_mut().ok_or_else(|| Error::internal("the labels are not contiguous"))?;
        let [channels, height, width] = self.layout.map_or([1, 1, self.sample_port.size()], |layout| layout.shape);
        let mut generator = draws(self.seed, place.epoch, Draws::Batch, place.batch);
        augmentation.mix(samples, [rows, channels, height, width], labels, &mut generator)
    }

    fn labels(&self, rows: &[usize]) -> Result<Tensor> {
        match (self.data.labels(), self.one_hot) {
            (Labels::Classes(classes), Some(count)) => {
                let mut probabilities = vec![0.0; rows.len() * count];
                for (at, &row) in rows.iter().enumerate() {
                    let class = usize::try_from(classes[row]).ok().filter(|class| *class < count).ok_or_else(|| {
                        let (sample, label) = (self.data.number_of(row), classes[row]);
                        Error::input(format!("sample {sample} has the label {label}; expected 0 to {}", count - 1))
                    })?;
                    probabilities[at * count + class] = 1.0;
                }
                Ok(Tensor::F32(self.label_port.array(rows.len(), probabilities)?))
            }
            (Labels::Classes(classes), None) => self.classes(rows.iter().map(|&row| classes[row])),
            (Labels::Targets(targets), _) => self.label_port.select(targets.values(), rows),
        }
    }

    /// One class a sample, in the element type and shape that the graph wants.
    fn classes(&self, classes: impl ExactSizeIterator<Item = i64>) -> Result<Tensor> {
        let (port, rows) = (&self.label_port, classes.len());
        Ok(match port.element {
            ElementType::F32 => Tensor::F32(port.array(rows, classes.map(|class| class as f32).collect())?),
            ElementType::I32 => Tensor::I32(port.array(rows, classes.map(|class| class as i32).collect())?),
            ElementType::I64 => Tensor::I64(port.array(rows, classes.collect())?),
        })
    }
}
