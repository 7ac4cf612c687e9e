//! How the pixels of an image lie in a sample, and where the graph wants them.

use super::decode::check_pixels;
use gnp_base::{Error, Result};
use gnp_tensor::Port;

/// The order of an image's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axes {
    /// Channels, height, width.
    ChannelsFirst,
    /// Height, width, channels.
    ChannelsLast,
}

/// Samples that are images: how they lie in the data and at the input of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Channels, height, width.
    pub(super) shape: [usize; 3],
    pub(super) source: Axes,
    pub(super) port: Axes,
}

/// How the elements of a sample are divided into channels: element i is of channel (i / inner) mod count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Channels {
    pub(super) count: usize,
    pub(super) inner: usize,
}

impl Axes {
    /// The shape of an image of `[channels, height, width]`.
    pub(super) fn order(self, [channels, height, width]: [usize; 3]) -> [usize; 3] {
        match self {
            Self::ChannelsFirst => [channels, height, width],
            Self::ChannelsLast => [height, width, channels],
        }
    }
}

impl Layout {
    /// The layout of arrays of shape `sample` at an input that takes the shape `port`; none where neither is that of an
    /// image.
    ///
    /// A sample of two axes is an image of one channel. Of three axes the channels are the first, unless it is the last
    /// alone that is as short as channels are (four or less). A flat sample is what the input says.
    pub(super) fn of_array(sample: &[usize], port: &[usize]) -> Option<Self> {
        let (shape, source) = image(sample).or_else(|| image(port))?;
        let port = [Axes::ChannelsFirst, Axes::ChannelsLast].into_iter().find(|axes| axes.order(shape) == port);
        Some(Self { shape, source, port: port.unwrap_or(source) })
    }

    /// The layout of decoded images at `port`, whose sides `size` gives where the graph leaves them open.
    ///
    /// # Errors
    /// Where the input takes no images of one or three channels, or the size is not known, or another.
    pub(super) fn of_files(port: &Port, size: Option<usize>) -> Result<Self> {
        let misfit = |message: &str| Error::input(format!("input `{}` takes {port}: {message}", port.name));
        let is_channels = |dim: Option<usize>| matches!(dim, Some(1 | 3));
        let (channels, height, width, axes) = match port.dims[..] {
            [_, c, h, w] if is_channels(c) => (c, h, w, Axes::ChannelsFirst),
            [_, h, w, c] if is_channels(c) => (c, h, w, Axes::ChannelsLast),
            [_, None, h, w] => (Some(3), h, w, Axes::ChannelsFirst),
            [_, h, w] => (Some(1), h, w, Axes::ChannelsFirst),
            _ => {
                return Err(misfit(
                    "images have the shape [?, C, H, W], [?, H, W, C] or [?, H, W], with 1 or 3 channels",
                )
                .help("train a model of images, or give arrays as data"));
            }
        };
        let side = |dim: Option<usize>| match (dim, size) {
            (Some(dim), Some(size)) if dim != size => {
                Err(misfit(&format!("images of {size} pixels a side do not fit"))
                    .help("leave --image-size out: the model says what it takes"))
            }
            (Some(dim), _) | (None, Some(dim)) if dim > 0 => Ok(dim),
            _ => Err(misfit("the size of its images is open").help("choose one with --image-size")),
        };
        let shape = [channels.unwrap_or(3), side(height)?, side(width)?];
        check_pixels(shape[2] as u64, shape[1] as u64, "its images have")
            .map_err(|error| misfit(&error.to_string()))?;
        Ok(Self { shape, source: Axes::ChannelsLast, port: axes })
    }

    /// The channels of an image whose axes are in this order.
    pub(super) fn channels(&self, axes: Axes) -> Channels {
        let [count, height, width] = self.shape;
        Channels { count, inner: if axes == Axes::ChannelsFirst { height * width } else { 1 } }
    }

    /// Writes the pixels, whose axes are in the order `from`, to `out` in the other order.
    pub(super) fn swap_axes<T: Copy>(&self, from: Axes, pixels: &[T], out: &mut [T]) {
        let [channels, height, width] = self.shape;
        let area = height * width;
        match from {
            Axes::ChannelsLast => {
                for (at, pixel) in pixels.chunks_exact(channels).enumerate() {
                    pixel.iter().enumerate().for_each(|(channel, &value)| out[channel * area + at] = value);
                }
            }
            Axes::ChannelsFirst => {
                for (at, pixel) in out.chunks_exact_mut(channels).enumerate() {
                    pixel.iter_mut().enumerate().for_each(|(channel, value)| *value = pixels[channel * area + at]);
                }
            }
        }
    }
}

/// An array's shape read as that of an image.
fn image(shape: &[usize]) -> Option<([usize; 3], Axes)> {
    const MOST_CHANNELS: usize = 4;
    match *shape {
        [height, width] => Some(([1, height, width], Axes::ChannelsFirst)),
        [first, height, last] if first > MOST_CHANNELS && last <= MOST_CHANNELS => {
            Some(([last, first, height], Axes::ChannelsLast))
        }
        [channels, height, width] => Some(([channels, height, width], Axes::ChannelsFirst)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Axes::{ChannelsFirst, ChannelsLast};
    use gnp_tensor::ElementType;
    use proptest::prelude::*;

    fn port(dims: &[Option<usize>]) -> Port {
        Port::new("x", ElementType::F32, dims)
    }

    #[test]
    fn arrays_are_images_by_their_shape_or_the_inputs() {
        let layout =
            |sample: &[usize], port: &[usize]| Layout::of_array(sample, port).map(|l| (l.shape, l.source, l.port));
        assert_eq!(layout(&[28, 28], &[784]), Some(([1, 28, 28], ChannelsFirst, ChannelsFirst)));
        assert_eq!(layout(&[3, 32, 32], &[32, 32, 3]), Some(([3, 32, 32], ChannelsFirst, ChannelsLast)));
        assert_eq!(layout(&[32, 30, 3], &[3, 32, 30]), Some(([3, 32, 30], ChannelsLast, ChannelsFirst)));
        assert_eq!(layout(&[32, 30, 3], &[32, 30, 3]), Some(([3, 32, 30], ChannelsLast, ChannelsLast)));
        assert_eq!(layout(&[64], &[1, 8, 8]), Some(([1, 8, 8], ChannelsFirst, ChannelsFirst)));
        assert_eq!(layout(&[64], &[64]), None);
    }

    #[test]
    fn files_are_decoded_to_what_the_input_takes() {
        let layout = |dims: &[Option<usize>], size| Layout::of_files(&port(dims), size).map(|l| (l.shape, l.port));
        assert_eq!(layout(&[None, Some(3), Some(8), Some(9)], None).unwrap(), ([3, 8, 9], ChannelsFirst));
        assert_eq!(layout(&[None, Some(8), Some(9), Some(1)], None).unwrap(), ([1, 8, 9], ChannelsLast));
        assert_eq!(layout(&[None, Some(3), None, None], Some(8)).unwrap(), ([3, 8, 8], ChannelsFirst));
        assert_eq!(layout(&[None; 4], Some(8)).unwrap(), ([3, 8, 8], ChannelsFirst));
        assert_eq!(layout(&[None, Some(8), Some(8)], Some(8)).unwrap(), ([1, 8, 8], ChannelsFirst));
        let open = layout(&[None, Some(3), None, None], None).unwrap_err();
        assert_eq!(open.to_string(), "input `x` takes float32 [?, 3, ?, ?]: the size of its images is open");
        assert!(open.help_text().unwrap().contains("--image-size"));
        assert!(
            layout(&[None, Some(3), Some(8), Some(8)], Some(9)).unwrap_err().to_string().contains("images of 9 pixels")
        );
        assert!(layout(&[None, Some(64)], Some(8)).is_err());
        assert!(layout(&[None, Some(3), None, None], Some(0)).is_err());
    }

    proptest! {
        #[test]
        fn axes_swapped_twice_are_as_before(channels in 1usize..5, height in 1usize..6, width in 1usize..6) {
            let layout = Layout { shape: [channels, height, width], source: ChannelsLast, port: ChannelsFirst };
            let pixels: Vec<usize> = (0..channels * height * width).collect();
            let (mut there, mut back) = (vec![0; pixels.len()], vec![0; pixels.len()]);
            layout.swap_axes(ChannelsLast, &pixels, &mut there);
            let found = there[(channels - 1) * height * width];
            prop_assert_eq!(found, channels - 1);
            layout.swap_axes(ChannelsFirst, &there, &mut back);
            prop_assert_eq!(back, pixels);
        }
    }
}
