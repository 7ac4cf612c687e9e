//! Images of bytes in another size.

use crate::augment::Region;
use fast_image_resize::images::{Image, TypedCroppedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
use gnp_base::{Error, Result};
use std::fmt::Display;

/// Resizes a region of an image of `size` to the size `to`, both height and width, with a triangle filter that is
/// widened when it shrinks (antialiasing). Pixels are channels last, row by row, of 1 or 3 `channels`. What is outside
/// of the region has no influence: it is Pillow's `crop` and then its `resize` with BILINEAR.
///
/// # Errors
/// Where a side is too long to be counted in 32 bits; where the region is not inside of the image, a defect of the
/// caller.
pub(super) fn resize(
    pixels: &[u8],
    channels: usize,
    size: [usize; 2],
    region: &Region,
    to: [usize; 2],
) -> Result<Vec<u8>> {
    match channels {
        1 => resize_as::<U8>(pixels, size, region, to),
        3 => resize_as::<U8x3>(pixels, size, region, to),
        _ => Err(defect(&format!("it has {channels} channels"))),
    }
}

fn defect(error: &dyn Display) -> Error {
    Error::internal(format!("the image cannot be resized: {error}"))
}

/// Of pixels of one type: those of all thirteen would be compiled otherwise.
fn resize_as<P: PixelTrait>(pixels: &[u8], size: [usize; 2], region: &Region, to: [usize; 2]) -> Result<Vec<u8>> {
    let [height, width] = sides(size)?;
    let [rows, columns] = sides([region.rows.len(), region.columns.len()])?;
    let [top, left] = sides([region.rows.start, region.columns.start])?;
    let [new_height, new_width] = sides(to)?;
    let from = TypedImageRef::<P>::from_buffer(width, height, pixels).map_err(|error| defect(&error))?;
    let from = TypedCroppedImage::from_ref(&from, left, top, columns, rows).map_err(|error| defect(&error))?;
    let mut resized = Image::new(new_width, new_height, P::pixel_type());
    let mut view = resized.typed_image_mut::<P>().ok_or_else(|| defect(&"its pixels are of another type"))?;
    // The triangle filter; it is widened where the image shrinks.
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize_typed(&from, &mut view, &options).map_err(|error| defect(&error))?;
    Ok(resized.into_vec())
}

/// Puts a region, resized, in place of an image of `size`, whose channels are first, of any number.
///
/// # Errors
/// As [`resize`].
pub(super) fn resize_in_place(pixels: &mut [u8], size: [usize; 2], region: &Region) -> Result<()> {
    // A chunk must not be empty; an image without pixels has no planes.
    for plane in pixels.chunks_exact_mut((size[0] * size[1]).max(1)) {
        plane.copy_from_slice(&resize(plane, 1, size, region, size)?);
    }
    Ok(())
}

/// Both as the resizer counts them.
///
/// # Errors
/// Where they do not fit in 32 bits.
pub(super) fn sides(pixels: [usize; 2]) -> Result<[u32; 2]> {
    let side = |pixels| {
        u32::try_from(pixels).map_err(|_| Error::input(format!("images of {pixels} pixels a side are too large")))
    };
    Ok([side(pixels[0])?, side(pixels[1])?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_region_of_the_size_asked_for_is_cut_out(
            channels in prop::sample::select(vec![1usize, 3]),
            size in [1usize..9, 1usize..9],
            place: [prop::sample::Index; 2],
            end: [prop::sample::Index; 2],
        ) {
            let pixels: Vec<u8> = (0..size[0] * size[1] * channels).map(|i| i as u8).collect();
            let [rows, columns] = [0, 1].map(|axis| {
                let start = place[axis].index(size[axis]);
                start..start + 1 + end[axis].index(size[axis] - start)
            });
            let region = Region { rows, columns };
            let to = [region.rows.len(), region.columns.len()];
            let found = resize(&pixels, channels, size, &region, to).unwrap();
            let all = region.rows.flat_map(|row| region.columns.clone().map(move |column| row * size[1] + column));
            let expected: Vec<u8> = all.flat_map(|at| &pixels[at * channels..][..channels]).copied().collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn what_is_outside_of_the_region_has_no_influence(inside: u8, outside: u8, to in [1usize..12, 1usize..12]) {
            let mut pixels = [outside; 7 * 6];
            pixels.chunks_exact_mut(6).skip(2).take(3).for_each(|row| row[1..5].fill(inside));
            let region = Region { rows: 2..5, columns: 1..5 };
            let found = resize(&pixels, 1, [7, 6], &region, to).unwrap();
            prop_assert!(found.iter().all(|byte| *byte == inside), "{:?}", found);
        }
    }

    #[test]
    fn a_region_must_be_inside() {
        let outside = Region { rows: 1..3, columns: 0..2 };
        assert_eq!(resize(&[0; 4], 1, [2, 2], &outside, [2, 2]).unwrap_err().exit_code(), 1);
        let whole = Region { rows: 0..2, columns: 0..1 };
        assert_eq!(resize(&[0; 4], 2, [2, 1], &whole, [2, 1]).unwrap_err().exit_code(), 1);
        assert_eq!(resize(&[0; 2], 1, [2, 1], &whole, [usize::MAX, 1]).unwrap_err().exit_code(), 2);
    }
}
