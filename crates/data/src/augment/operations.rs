//! AutoAugment's operations on bytes, pixel by pixel what Pillow makes of them for torchvision.

use super::image::Image;
use std::array;

/// An operation of AutoAugment, by the name that the paper (Cubuk et al., CVPR 2019, appendix) and torchvision have for
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(test, derive(serde::Deserialize))]
pub(super) enum Operation {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the one operation of the paper that its policy for CIFAR-10 leaves out")
    )]
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
    Invert,
}

impl Operation {
    /// Applies the operation to a grey image or one in red, green and blue. What `magnitude` is depends on the
    /// operation:
    ///
    /// - `ShearX`, `ShearY`: by how many columns (rows) the image moves to the left (up) from one row (column) to the
    ///   next;
    /// - `TranslateX`, `TranslateY`: the columns (rows) by which it moves to the right (down), without its fraction;
    /// - `Rotate`: degrees counterclockwise around the centre;
    /// - `Brightness`, `Color`, `Contrast`, `Sharpness`: what is added to the factor 1 of the image in its blend with a
    ///   black one, its grey one, one in its mean grey, its smoothed one;
    /// - `Posterize`: the bits that a byte keeps; `Solarize`: the least byte that is inverted;
    /// - with `AutoContrast`, `Equalize` and `Invert`, nothing.
    ///
    /// A pixel that comes from outside of the image is 0. `Color` leaves a grey image as it is.
    pub fn apply(self, image: &mut Image<u8>, magnitude: f64) {
        let factor = (1.0 + magnitude) as f32;
        match self {
            Self::ShearX => resample(image, [1.0, magnitude, 0.0, 0.0, 1.0, 0.0]),
            Self::ShearY => resample(image, [1.0, 0.0, 0.0, magnitude, 1.0, 0.0]),
            Self::TranslateX => resample(image, [1.0, 0.0, -magnitude.trunc(), 0.0, 1.0, 0.0]),
            Self::TranslateY => resample(image, [1.0, 0.0, 0.0, 0.0, 1.0, -magnitude.trunc()]),
            Self::Rotate => rotate(image, magnitude),
            Self::Brightness => map(image.pixels(), |byte| blend(0, byte, factor)),
            Self::Color => saturate(image, factor),
            Self::Contrast => {
                let mean = mean_grey(image);
                map(image.pixels(), |byte| blend(mean, byte, factor));
            }
            Self::Sharpness => sharpen(image, factor),
            Self::Posterize => {
                let mask = !(0xff_u16 >> magnitude as u16) as u8;
                map(image.pixels(), |byte| byte & mask);
            }
            Self::Solarize => {
                map(image.pixels(), |byte| if f64::from(byte) < magnitude { byte } else { !byte });
            }
            Self::AutoContrast => image.planes().for_each(stretch),
            Self::Equalize => image.planes().for_each(equalize),
            Self::Invert => map(image.pixels(), |byte| !byte),
        }
    }
}

/// Replaces every byte by a function of it.
fn map(pixels: &mut [u8], function: impl Fn(u8) -> u8) {
    let table: [u8; 256] = array::from_fn(|byte| function(byte as u8));
    for pixel in pixels {
        *pixel = table[usize::from(*pixel)];
    }
}

/// The byte on the way from `from` (factor 0) to `to` (factor 1) and beyond, without its fraction.
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let (from, to) = (f32::from(from), f32::from(to));
    (from + factor * (to - from)) as u8
}

/// How often each byte occurs.
fn histogram(plane: &[u8]) -> [usize; 256] {
    let mut counts = [0; 256];
    for &byte in plane {
        counts[usize::from(byte)] += 1;
    }
    counts
}

/// Fetches the pixel at (x, y) from where the affine map `[a, b, c, d, e, f]` sends its centre: the pixel around
/// (a·x + b·y + c, d·x + e·y + f). As in Pillow the map is rounded to fixed point with 16 binary digits.
fn resample(image: &mut Image<u8>, [a, b, c, d, e, f]: [f64; 6]) {
    const DIGITS: u32 = 16;
    let fixed = |number: f64| (number * f64::from(1 << DIGITS) + 0.5).floor() as i64;
    let (height, width) = (image.height(), image.width());
    let inside = |position: i64, size: usize| usize::try_from(position >> DIGITS).ok().filter(|at| *at < size);
    let origin = [fixed(c + 0.5 * (a + b)), fixed(f + 0.5 * (d + e))];
    let [a, b, d, e] = [a, b, d, e].map(fixed);
    for (plane, copy) in image.planes_and_copy() {
        let mut start = origin;
        for row in plane.chunks_exact_mut(width) {
            let [mut x, mut y] = start;
            for pixel in row {
                *pixel = match (inside(x, width), inside(y, height)) {
                    (Some(x), Some(y)) => copy[y * width + x],
                    _ => 0,
                };
                x += a;
                y += d;
            }
            start = [start[0] + b, start[1] + e];
        }
    }
}

fn rotate(image: &mut Image<u8>, degrees: f64) {
    let (sin, cos) = (-degrees).to_radians().sin_cos();
    let (x, y) = (image.width() as f64 / 2.0, image.height() as f64 / 2.0);
    resample(image, [cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y]);
}

/// The luma of ITU-R BT.601, rounded.
fn luma(red: u8, green: u8, blue: u8) -> u8 {
    ((u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471 + 0x8000) >> 16) as u8
}

fn saturate(image: &mut Image<u8>, factor: f32) {
    let mut planes = image.planes();
    let (Some(red), Some(green), Some(blue)) = (planes.next(), planes.next(), planes.next()) else { return };
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        let grey = luma(*red, *green, *blue);
        for channel in [red, green, blue] {
            *channel = blend(grey, *channel, factor);
        }
    }
}

/// The mean of the grey image, rounded.
fn mean_grey(image: &mut Image<u8>) -> u8 {
    let mut planes = image.planes();
    let (sum, count) = match (planes.next(), planes.next(), planes.next()) {
        (Some(red), Some(green), Some(blue)) => {
            let colours = red.iter().zip(green.iter()).zip(blue.iter());
            (colours.map(|((red, green), blue)| u64::from(luma(*red, *green, *blue))).sum::<u64>(), red.len())
        }
        (Some(grey), ..) => (grey.iter().map(|byte| u64::from(*byte)).sum(), grey.len()),
        (None, ..) => return 0,
    };
    (sum as f64 / count as f64).round() as u8
}

/// Blends with the mean of the nine pixels around each, the middle one counted five times. The border, where there are
/// no nine, stays as it is.
fn sharpen(image: &mut Image<u8>, factor: f32) {
    let (height, width) = (image.height(), image.width());
    for (plane, copy) in image.planes_and_copy() {
        for y in 1..height.saturating_sub(1) {
            for x in 1..width.saturating_sub(1) {
                let at = y * width + x;
                let row = |at: usize| copy[at - 1..=at + 1].iter().map(|byte| u32::from(*byte)).sum::<u32>();
                let sum = row(at - width) + row(at) + row(at + width) + 4 * u32::from(copy[at]);
                plane[at] = blend(((sum + 6) / 13) as u8, copy[at], factor);
            }
        }
    }
}

/// Stretches the bytes of a plane to the range from 0 to 255.
fn stretch(plane: &mut [u8]) {
    let (Some(&low), Some(&high)) = (plane.iter().min(), plane.iter().max()) else { return };
    if low < high {
        let scale = 255.0 / f64::from(high - low);
        let offset = f64::from(low) * scale;
        map(plane, |byte| (f64::from(byte) * scale - offset) as u8);
    }
}

/// Makes all bytes of a plane about equally frequent. A plane with too few pixels for that, or of one byte, stays as it
/// is.
fn equalize(plane: &mut [u8]) {
    let counts = histogram(plane);
    let last = counts.iter().rev().find(|count| **count > 0).copied().unwrap_or(0);
    let step = (plane.len() - last) / 255;
    if step > 0 {
        let mut below = step / 2;
        let table = counts.map(|count| {
            let level = (below / step).min(255) as u8;
            below += count;
            level
        });
        map(plane, |byte| table[usize::from(byte)]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_operation_is_torchvisions_to_the_pixel() {
        let fixture = fixture::read();
        let mut failures = Vec::new();
        for case in &fixture.operations {
            let after = fixture.images[&case.image].changed(|image| case.operation.apply(image, case.magnitude.into()));
            let wrong = after.iter().zip(&case.after).filter(|(ours, theirs)| ours != theirs).count();
            if wrong > 0 || after.len() != case.after.len() {
                failures.push(format!("{:?} {} of {}: {wrong} pixels", case.operation, case.magnitude, case.image));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    }

    proptest! {
        #[test]
        fn inverting_twice_changes_nothing(before: Vec<u8>) {
            let mut after = before.clone();
            let mut image = Image::new(&mut after, [1, 1, before.len()]).unwrap();
            Operation::Invert.apply(&mut image, 0.0);
            Operation::Invert.apply(&mut image, 0.0);
            prop_assert_eq!(before, after);
        }

        #[test]
        fn a_stretched_plane_spans_all_bytes_but_for_a_fraction(mut plane in prop::collection::vec(any::<u8>(), 2..100)) {
            prop_assume!(plane.iter().any(|byte| *byte != plane[0]));
            stretch(&mut plane);
            prop_assert_eq!(plane.iter().min(), Some(&0));
            prop_assert!(plane.iter().max() >= Some(&254));
        }
    }
}
