//! An image that is changed in place.

use gnp_base::{Error, Result};

/// An image, channels first, with room for one copy of it.
pub(super) struct Image<'a, T> {
    pixels: &'a mut [T],
    copy: Vec<T>,
    channels: usize,
    height: usize,
    width: usize,
}

impl<'a, T: Copy> Image<'a, T> {
    /// An image of this shape, `[channels, height, width]`.
    ///
    /// # Errors
    /// Where there are more or fewer pixels: a defect of the caller.
    pub fn new(pixels: &'a mut [T], [channels, height, width]: [usize; 3]) -> Result<Self> {
        if pixels.len() != channels * height * width {
            let shape = format!("{channels}x{height}x{width}");
            return Err(Error::internal(format!("{} pixels are no image of shape {shape}", pixels.len())));
        }
        Ok(Self { pixels, copy: Vec::new(), channels, height, width })
    }

    /// 3 in colour, 1 in grey.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The rows of a plane.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The pixels of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The pixels of all channels.
    pub fn pixels(&mut self) -> &mut [T] {
        self.pixels
    }

    /// The pixels of each channel.
    pub fn planes(&mut self) -> impl Iterator<Item = &mut [T]> {
        // A chunk must not be empty; an image without pixels has no planes.
        self.pixels.chunks_exact_mut((self.height * self.width).max(1))
    }

    /// Every row, of all channels.
    pub fn rows(&mut self) -> impl Iterator<Item = &mut [T]> {
        self.pixels.chunks_exact_mut(self.width.max(1))
    }

    /// The pixels of each channel to be written, with a copy of what they are now.
    pub fn planes_and_copy(&mut self) -> impl Iterator<Item = (&mut [T], &[T])> {
        self.copy.clear();
        self.copy.extend_from_slice(self.pixels);
        let plane = (self.height * self.width).max(1);
        self.pixels.chunks_exact_mut(plane).zip(self.copy.chunks_exact(plane))
    }
}
