//! Samples of one shape beside the input that takes them: divided, normalised, augmented and turned.

use super::{Place, fits};
use crate::augment::Augmentation;
use crate::layout::{Axes, Channels, Layout};
use crate::order::{Draws, draws};
use crate::port_shape::PortShape;
use crate::resize::resize_in_place;
use crate::{Dataset, Normalization, Preparation, Samples, Values};
use gnp_base::{Error, Result};
use gnp_tensor::finite::first_not_finite;
use gnp_tensor::{ElementType, Port, Tensor};
use rand_chacha::ChaCha8Rng;

/// Samples, and how an input takes them.
#[derive(Debug)]
pub(super) struct Dense<'a> {
    pub(super) samples: &'a Samples,
    pub(super) shape: PortShape,
    /// Where the samples are images.
    pub(super) layout: Option<Layout>,
    pub(super) normalization: Normalization,
}

impl<'a> Dense<'a> {
    /// Joins `samples` to `port`. They are divided and normalised as `preparation` says, where it takes floats; by the
    /// statistics of `like` where it is one of another part of the data.
    ///
    /// # Errors
    /// Where the port takes none of such shape or elements, or the preparation is none for them.
    pub(super) fn new(
        samples: &'a Samples,
        port: &Port,
        preparation: &Preparation,
        (seed, workers): (u64, usize),
        like: Option<&Normalization>,
    ) -> Result<Self> {
        let (shape, layout) = fits::sample_port(samples, port, preparation)?;
        fits::check_element(port, samples, preparation)?;
        let mut dense = Self { samples, shape, layout, normalization: Normalization::divide(1.0) };
        if port.element == ElementType::F32 {
            let channels = dense.channels(dense.source_axes());
            let of_data = |divisor| match samples {
                Samples::Array(array) => Ok(Normalization::of_values(divisor, array.values(), channels)),
                Samples::Lists(_) => Err(no_array()),
                Samples::Images(files) => Normalization::of_files(divisor, files, dense.image_shape()?, seed, workers),
            };
            dense.normalization = preparation.normalization(samples.are_bytes(), channels.count, like, of_data)?;
        }
        Ok(dense)
    }

    fn source_axes(&self) -> Axes {
        self.layout.map_or(Axes::ChannelsFirst, |layout| layout.source)
    }

    /// The channels of samples whose axes are in this order; of samples that are no images each element is one.
    fn channels(&self, axes: Axes) -> Channels {
        self.layout.map_or(Channels { count: self.shape.size(), inner: 1 }, |layout| layout.channels(axes))
    }

    fn image_shape(&self) -> Result<[usize; 3]> {
        self.layout.map(|layout| layout.shape).ok_or_else(|| Error::internal("images have no layout"))
    }

    /// Channels, height and width of what [`floats`](Self::floats) makes of a sample where it is augmented.
    pub(super) fn planes(&self) -> [usize; 3] {
        self.layout.map_or([1, 1, self.shape.size()], |layout| layout.shape)
    }

    /// The items of a sample: the size of its outermost axis.
    pub(super) fn width(&self) -> usize {
        self.shape.rest.first().copied().unwrap_or(1)
    }

    /// The items of the sample `row` up to the last that is not all `pad`; all where there is no such number.
    pub(super) fn length(&self, row: usize, pad: Option<f64>) -> usize {
        let (Some(pad), Some(values)) = (pad, self.samples.values()) else { return self.width() };
        let size = self.shape.size();
        let place = row * size..(row + 1) * size;
        let last = match values {
            Values::U8(values) => values[place].iter().rposition(|&value| f64::from(value) != pad),
            Values::I64(values) => values[place].iter().rposition(|&value| value as f64 != pad),
            Values::F32(values) => values[place].iter().rposition(|&value| f64::from(value) != pad),
        };
        last.map_or(0, |last| last / (size / self.width().max(1)).max(1) + 1)
    }

    /// The samples `rows` of an input that takes whole numbers; none of one that takes floats.
    ///
    /// # Errors
    /// None that a user can cause.
    pub(super) fn whole(&self, rows: &[usize]) -> Result<Option<Tensor>> {
        if self.shape.element == ElementType::F32 {
            return Ok(None);
        }
        let Samples::Array(array) = self.samples else {
            return Err(Error::internal("images are fed to an input of integers"));
        };
        self.shape.select(array.values(), rows).map(Some)
    }

    /// The samples `rows`, normalised: augmented and channels first where there is an `augmentation` with its place, as
    /// the data have them otherwise.
    ///
    /// # Errors
    /// Where an image cannot be decoded or augmented.
    pub(super) fn floats(&self, rows: &[usize], augmentation: Option<(&Augmentation, Place)>) -> Result<Vec<f32>> {
        let size = self.shape.size();
        let mut floats = vec![0.0; rows.len() * size];
        for (&row, out) in rows.iter().zip(floats.chunks_exact_mut(size.max(1))) {
            let drawn = augmentation
                .map(|(augmentation, place)| (augmentation, draws(place.seed, place.epoch, Draws::Sample, row)));
            self.sample(row, drawn, out)?;
        }
        Ok(floats)
    }

    /// What [`floats`](Self::floats) made, with the axes that the input wants; `data` has the samples `rows`.
    ///
    /// # Errors
    /// Where an element is NaN or infinite.
    pub(super) fn tensor(
        &self,
        mut floats: Vec<f32>,
        rows: &[usize],
        augmented: bool,
        data: &Dataset,
    ) -> Result<Tensor> {
        let size = self.shape.size();
        let axes = if augmented { Axes::ChannelsFirst } else { self.source_axes() };
        if let Some(layout) = self.layout.filter(|layout| layout.port != axes) {
            let mut turned = vec![0.0; size];
            for sample in floats.chunks_exact_mut(size.max(1)) {
                layout.swap_axes(axes, sample, &mut turned);
                sample.copy_from_slice(&turned);
            }
        }
        if let Some(at) = first_not_finite(&floats) {
            return Err(self.normalization.not_finite(data, rows[at / size.max(1)], floats[at]));
        }
        Ok(Tensor::F32(self.shape.array(rows.len(), floats)?))
    }

    /// Writes sample `row` to `out`, normalised: augmented and channels first where something is `drawn`, as the data
    /// have it otherwise.
    fn sample(&self, row: usize, drawn: Option<(&Augmentation, ChaCha8Rng)>, out: &mut [f32]) -> Result<()> {
        let size = out.len();
        let mut drawn = drawn;
        match self.samples {
            Samples::Images(files) => {
                let region =
                    |size| drawn.as_mut().and_then(|(augmentation, generator)| augmentation.region(size, generator));
                let pixels = files.decode(row, self.image_shape()?, region)?;
                self.write(&pixels, drawn, out, f32::from, Augmentation::bytes)
            }
            Samples::Lists(_) => Err(no_array()),
            Samples::Array(array) => match array.values() {
                Values::U8(values) => {
                    let pixels = &values[row * size..][..size];
                    self.write(pixels, drawn, out, f32::from, |augmentation, pixels, shape, generator| {
                        let [_, height, width] = shape;
                        if let Some(region) = augmentation.region([height, width], generator) {
                            resize_in_place(pixels, [height, width], &region)?;
                        }
                        augmentation.bytes(pixels, shape, generator)
                    })
                }
                Values::I64(values) => {
                    let numbers: Vec<f32> = values[row * size..][..size].iter().map(|&value| value as f32).collect();
                    self.write(&numbers, drawn, out, |value| value, Augmentation::floats)
                }
                Values::F32(values) => {
                    self.write(&values[row * size..][..size], drawn, out, |value| value, Augmentation::floats)
                }
            },
        }
    }

    /// Writes the elements `from` to `out`, normalised: augmented and channels first where there is a generator of
    /// draws, else as they lie.
    fn write<T: Copy>(
        &self,
        from: &[T],
        drawn: Option<(&Augmentation, ChaCha8Rng)>,
        out: &mut [f32],
        float: impl Fn(T) -> f32 + Copy,
        augment: impl FnOnce(&Augmentation, &mut [T], [usize; 3], &mut ChaCha8Rng) -> Result<()>,
    ) -> Result<()> {
        let (Some((augmentation, mut generator)), Some(layout)) = (drawn, self.layout) else {
            self.normalization.apply(from, out, self.channels(self.source_axes()), float);
            return Ok(());
        };
        let mut pixels = from.to_vec();
        if layout.source != Axes::ChannelsFirst {
            layout.swap_axes(layout.source, from, &mut pixels);
        }
        augment(augmentation, &mut pixels, layout.shape, &mut generator)?;
        self.normalization.apply(&pixels, out, self.channels(Axes::ChannelsFirst), float);
        augmentation.cut_out(out, layout.shape, &mut generator);
        Ok(())
    }
}

/// That lists are taken for an array.
fn no_array() -> Error {
    Error::internal("lists are fed as an array")
}
