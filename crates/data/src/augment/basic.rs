//! Flip and crop, of pixels of any type.

use super::image::Image;
use gnp_base::{Error, Result};
use rand::{Rng, RngExt};

/// Flips an image horizontally with probability ½, then crops it, at a uniform place, out of itself padded by `padding`
/// pixels on each side by reflection that does not repeat the border (TensorFlow's `REFLECT`). So do the experiments of
/// SAM (Foret et al., ICLR 2021) and GNP (Zhao et al., ICML 2022) on CIFAR.
///
/// # Errors
/// Where the image is not larger than the padding on both axes: then there is nothing to reflect.
pub(super) fn flip_and_crop<T: Copy>(image: &mut Image<T>, padding: usize, rng: &mut impl Rng) -> Result<()> {
    let (height, width) = (image.height(), image.width());
    if padding >= height.min(width) {
        let message = format!("images of {height}x{width} pixels cannot be padded by {padding} to be cropped");
        return Err(Error::input(message)
            .help("give a crop padding that is smaller than the images on both axes; 0 leaves the crops out"));
    }
    if rng.random_bool(0.5) {
        flip(image);
    }
    if padding > 0 {
        let row = rng.random_range(0..=2 * padding);
        let column = rng.random_range(0..=2 * padding);
        crop(image, padding, [row, column]);
    }
    Ok(())
}

/// Mirrors every row.
fn flip<T: Copy>(image: &mut Image<T>) {
    image.rows().for_each(<[T]>::reverse);
}

/// Puts in place of an image the part of the padded image that begins at this row and column.
fn crop<T: Copy>(image: &mut Image<T>, padding: usize, [row, column]: [usize; 2]) {
    let (height, width) = (image.height(), image.width());
    for (plane, copy) in image.planes_and_copy() {
        for (y, line) in plane.chunks_exact_mut(width).enumerate() {
            let from = &copy[reflected(y + row, padding, height) * width..][..width];
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

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    proptest! {
        #[test]
        fn two_flips_are_none(shape in [1usize..4, 1usize..9, 1usize..9], seed: u64) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let before: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random()).collect();
            let mut after = before.clone();
            let mut image = Image::new(&mut after, shape).unwrap();
            flip(&mut image);
            flip(&mut image);
            prop_assert_eq!(before, after);
        }
    }

    #[test]
    fn flips_and_crops_as_torchvision_does() {
        let crops = fixture::read().crops;
        let flipped = crops.image.changed(flip);
        assert_eq!(flipped, crops.flipped);
        for case in crops.cases {
            let cropped = crops.image.changed(|image| crop(image, crops.padding, case.offset));
            assert_eq!(cropped, case.after, "at {:?}", case.offset);
        }
    }

    #[test]
    fn flips_half_and_crops_uniformly() {
        // Each pixel of a 9x9 image is its number, so that the pixel in the middle of a crop tells its offset, and the
        // one beside it whether it was flipped.
        const DRAWS: i32 = 81 * 200;
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut flips = 0;
        let mut places = [0; 81];
        for _ in 0..DRAWS {
            let mut pixels: [u8; 81] = std::array::from_fn(|i| i as u8);
            flip_and_crop(&mut Image::new(&mut pixels, [1, 9, 9]).unwrap(), 4, &mut rng).unwrap();
            flips += i32::from(pixels[41 - 9] < pixels[40 - 9]);
            places[usize::from(pixels[40])] += 1;
        }
        // Four standard deviations of the binomial distributions.
        assert!((flips - DRAWS / 2).abs() < 4 * 64, "{flips} of {DRAWS}");
        for (place, count) in places.into_iter().enumerate() {
            assert!((count - 200i32).abs() < 4 * 14, "{place}: {count}");
        }
    }

    #[test]
    fn needs_something_to_reflect() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut crop = |shape: [usize; 3], padding| {
            let mut pixels = vec![0u8; shape.iter().product()];
            flip_and_crop(&mut Image::new(&mut pixels, shape).unwrap(), padding, &mut rng)
        };
        assert!(crop([1, 5, 5], 4).is_ok());
        assert!(crop([1, 1, 1], 0).is_ok());
        let error = crop([3, 28, 4], 4).unwrap_err();
        assert_eq!(error.to_string(), "images of 28x4 pixels cannot be padded by 4 to be cropped");
        assert_eq!(error.exit_code(), 2);
        assert!(crop([0, 0, 0], 0).is_err());
    }
}
