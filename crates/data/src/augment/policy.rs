//! AutoAugment's policy for CIFAR-10.

use super::image::Image;
use super::operations::Operation::{self, *};
use rand::{Rng, RngExt};

/// The magnitudes of an operation are so many, evenly spaced.
const BINS: u8 = 10;

/// An operation, the probability that it comes, and the number of its magnitude; 0 where it has none.
type Step = (Operation, f64, u8);

/// The policy that Cubuk et al. found for CIFAR-10 (AutoAugment, CVPR 2019, appendix): each row is a sub-policy.
const CIFAR10: [[Step; 2]; 25] = [
    [(Invert, 0.1, 0), (Contrast, 0.2, 6)],
    [(Rotate, 0.7, 2), (TranslateX, 0.3, 9)],
    [(Sharpness, 0.8, 1), (Sharpness, 0.9, 3)],
    [(ShearY, 0.5, 8), (TranslateY, 0.7, 9)],
    [(AutoContrast, 0.5, 0), (Equalize, 0.9, 0)],
    [(ShearY, 0.2, 7), (Posterize, 0.3, 7)],
    [(Color, 0.4, 3), (Brightness, 0.6, 7)],
    [(Sharpness, 0.3, 9), (Brightness, 0.7, 9)],
    [(Equalize, 0.6, 0), (Equalize, 0.5, 0)],
    [(Contrast, 0.6, 7), (Sharpness, 0.6, 5)],
    [(Color, 0.7, 7), (TranslateX, 0.5, 8)],
    [(Equalize, 0.3, 0), (AutoContrast, 0.4, 0)],
    [(TranslateY, 0.4, 3), (Sharpness, 0.2, 6)],
    [(Brightness, 0.9, 6), (Color, 0.2, 8)],
    [(Solarize, 0.5, 2), (Invert, 0.0, 0)],
    [(Equalize, 0.2, 0), (AutoContrast, 0.6, 0)],
    [(Equalize, 0.2, 0), (Equalize, 0.6, 0)],
    [(Color, 0.9, 9), (Equalize, 0.6, 0)],
    [(AutoContrast, 0.8, 0), (Solarize, 0.2, 8)],
    [(Brightness, 0.1, 3), (Color, 0.7, 0)],
    [(Solarize, 0.4, 5), (AutoContrast, 0.9, 0)],
    [(TranslateY, 0.9, 9), (TranslateY, 0.7, 9)],
    [(AutoContrast, 0.9, 0), (Solarize, 0.8, 3)],
    [(Equalize, 0.8, 0), (Invert, 0.1, 0)],
    [(TranslateY, 0.7, 9), (AutoContrast, 0.9, 0)],
];

/// Applies a sub-policy, drawn uniformly: each of its two operations comes or does not, and those with a direction go
/// either way with equal chance.
pub(super) fn augment(image: &mut Image<u8>, rng: &mut impl Rng) {
    for (operation, magnitude) in draw(image.height(), image.width(), rng).into_iter().flatten() {
        operation.apply(image, magnitude);
    }
}

/// The operations for an image of this size, with their magnitudes.
fn draw(height: usize, width: usize, rng: &mut impl Rng) -> [Option<(Operation, f64)>; 2] {
    CIFAR10[rng.random_range(0..CIFAR10.len())].map(|(operation, probability, bin)| {
        rng.random_bool(probability).then(|| {
            let magnitude = magnitude(operation, bin, height, width);
            (operation, if is_signed(operation) && rng.random_bool(0.5) { -magnitude } else { magnitude })
        })
    })
}

/// The magnitude that has this number, in the ranges of the paper as torchvision has them: the farthest translation,
/// 150 of 331 pixels on ImageNet, is the same part of any image.
fn magnitude(operation: Operation, bin: u8, height: usize, width: usize) -> f64 {
    let translation = |size: usize| evenly(0.0, (150.0 / 331.0 * size as f64) as f32, bin);
    match operation {
        ShearX | ShearY => evenly(0.0, 0.3, bin),
        TranslateX => translation(width),
        TranslateY => translation(height),
        Rotate => evenly(0.0, 30.0, bin),
        Brightness | Color | Contrast | Sharpness => evenly(0.0, 0.9, bin),
        Posterize => 8.0 - (4.0 * f64::from(bin) / f64::from(BINS - 1)).round(),
        Solarize => evenly(255.0, 0.0, bin),
        AutoContrast | Equalize | Invert => 0.0,
    }
}

/// Whether the magnitude has a direction.
fn is_signed(operation: Operation) -> bool {
    match operation {
        ShearX | ShearY | TranslateX | TranslateY | Rotate | Brightness | Color | Contrast | Sharpness => true,
        Posterize | Solarize | AutoContrast | Equalize | Invert => false,
    }
}

/// Number `bin` of the evenly spaced numbers from `start` to `end`, in single precision and counted from the nearer end
/// as `torch.linspace` does, so that a translation has the same whole pixels.
fn evenly(start: f32, end: f32, bin: u8) -> f64 {
    let last = BINS - 1;
    let step = (end - start) / f32::from(last);
    f64::from(if bin < BINS / 2 { start + step * f32::from(bin) } else { end - step * f32::from(last - bin) })
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::collections::HashMap;

    #[test]
    fn the_table_is_torchvisions() {
        let theirs = fixture::read().policy;
        assert_eq!(theirs.len(), CIFAR10.len());
        for (number, (ours, theirs)) in CIFAR10.into_iter().zip(theirs).enumerate() {
            let theirs = theirs.map(|(operation, probability, bin)| (operation, probability, bin.unwrap_or(0)));
            assert_eq!(ours, theirs, "sub-policy {number}");
        }
    }

    #[test]
    fn the_magnitudes_are_torchvisions() {
        for space in fixture::read().space {
            let [height, width] = space.size;
            for (operation, magnitudes) in space.magnitudes {
                for bin in 0..BINS {
                    let ours = magnitude(operation, bin, height, width);
                    assert_eq!(ours, f64::from(magnitudes.of_bin(bin)), "{operation:?} {bin} of {height}x{width}");
                }
                assert_eq!(is_signed(operation), space.signed[&operation], "{operation:?}");
            }
        }
    }

    #[test]
    fn every_sub_policy_is_torchvisions_to_the_pixel() {
        let fixture = fixture::read();
        let before = &fixture.images[&fixture.sub_policies.image];
        assert_eq!(fixture.sub_policies.cases.len(), CIFAR10.len());
        for (number, (steps, case)) in CIFAR10.iter().zip(&fixture.sub_policies.cases).enumerate() {
            let after = before.changed(|image| {
                for ((operation, _, bin), negative) in steps.iter().zip(case.negative) {
                    let magnitude = magnitude(*operation, *bin, image.height(), image.width());
                    let sign = if negative && is_signed(*operation) { -1.0 } else { 1.0 };
                    operation.apply(image, sign * magnitude);
                }
            });
            assert_eq!(after, case.after, "sub-policy {number}");
        }
    }

    #[test]
    fn draws_what_the_table_says() {
        const DRAWS: usize = 50_000;
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut counts: HashMap<(Operation, i64), f64> = HashMap::new();
        let key = |operation, magnitude: f64| (operation, (magnitude * 1000.0).round() as i64);
        for (operation, magnitude) in (0..DRAWS).flat_map(|_| draw(32, 32, &mut rng)).flatten() {
            *counts.entry(key(operation, magnitude)).or_default() += 1.0;
        }
        let mut expected: HashMap<(Operation, i64), f64> = HashMap::new();
        for (operation, probability, bin) in CIFAR10.into_iter().flatten() {
            let magnitude = magnitude(operation, bin, 32, 32);
            let signs: &[f64] = if is_signed(operation) { &[-1.0, 1.0] } else { &[1.0] };
            for sign in signs {
                let share = probability / 25.0 / signs.len() as f64;
                *expected.entry(key(operation, sign * magnitude)).or_default() += share * DRAWS as f64;
            }
        }
        expected.retain(|_, count| *count > 0.0);
        assert_eq!(counts.len(), expected.len());
        for (key, expected) in expected {
            // Four standard deviations; as a draw has an operation twice at most, the variance is below twice the mean.
            let count = counts[&key];
            assert!((count - expected).abs() < 4.0 * (2.0 * expected).sqrt(), "{key:?}: {count}, not about {expected}");
        }
    }
}
