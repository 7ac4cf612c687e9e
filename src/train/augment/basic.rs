//! Flip and crop, for pixels of any type.

use crate::{Error, Result};
use rand::{Rng, RngExt};

/// Flips an image horizontally with probability ½, then crops it, at a uniform place, out of itself padded by `padding` pixels
/// on each side by reflection that does not repeat the border (TensorFlow's `REFLECT`): the augmentation of CIFAR that GNP's
/// and SAM's experiments use. `scratch` holds the image meanwhile.
///
/// # Errors
/// Where the image is not larger than the padding on both axes: there is nothing to reflect then.
pub(super) fn augment<T: Copy>(
    pixels: &mut [T],
    scratch: &mut Vec<T>,
    shape: [usize; 3],
    padding: usize,
    rng: &mut impl Rng,
) -> Result<()> {
    let [_, height, width] = shape;
    if padding >= height.min(width) {
        return Err(Error::input(format!(
            "images of {height}x{width} pixels cannot be padded by {padding} for the crop"
        ))
        .help("give a crop padding below the images' height and width; 0 turns crops off"));
    }
    if rng.random_bool(0.5) {
        flip(pixels, width);
    }
    if padding > 0 {
        let offset = [rng.random_range(0..=2 * padding), rng.random_range(0..=2 * padding)];
        crop(pixels, scratch, shape, padding, offset);
    }
    Ok(())
}

/// Mirrors every row.
fn flip<T>(pixels: &mut [T], width: usize) {
    pixels.chunks_exact_mut(width).for_each(<[T]>::reverse);
}

/// Puts in place of an image the part of the padded image that begins at `offset` (row and column).
fn crop<T: Copy>(
    pixels: &mut [T],
    scratch: &mut Vec<T>,
    [_, height, width]: [usize; 3],
    padding: usize,
    [row, column]: [usize; 2],
) {
    scratch.clear();
    scratch.extend_from_slice(pixels);
    let planes = pixels.chunks_exact_mut(height * width).zip(scratch.chunks_exact(height * width));
    for (cropped, whole) in planes {
        for (y, line) in cropped.chunks_exact_mut(width).enumerate() {
            let from = &whole[reflected(y + row, padding, height) * width..][..width];
            for (x, pixel) in line.iter_mut().enumerate() {
                *pixel = from[reflected(x + column, padding, width)];
            }
        }
    }
}

/// Where a position on a padded axis lies on the axis of `size` pixels.
fn reflected(padded: usize, padding: usize, size: usize) -> usize {
    let position = padded.abs_diff(padding);
    if position < size { position } else { 2 * (size - 1) - position }
}
