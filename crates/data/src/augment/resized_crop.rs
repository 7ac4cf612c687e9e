//! The part of an image that ImageNet's training crops take, before it is resized.

use super::region::Region;
use rand::{Rng, RngExt};
use std::ops::RangeInclusive;

/// The area of a region, as a share of the image's.
const SHARES: RangeInclusive<f64> = 0.08..=1.0;
/// The least aspect ratio of a region, its width by its height. The greatest is the inverse.
const LEAST_RATIO: f64 = 3.0 / 4.0;
/// So many regions are drawn before the middle is taken.
const TRIES: usize = 10;

/// Draws a region of an image of `size` (height and width) as torchvision's `RandomResizedCrop` does (Szegedy et al.,
/// CVPR 2015): a uniform share of the area and a ratio whose logarithm is uniform, anew until the region fits, at a
/// uniform place. Where none of ten fits it is the middle of the image, cut to the nearest ratio allowed.
pub(super) fn draw(size: [usize; 2], rng: &mut impl Rng) -> Region {
    let greatest = -LEAST_RATIO.ln();
    for _ in 0..TRIES {
        let share = rng.random_range(SHARES);
        let ratio = rng.random_range(-greatest..=greatest).exp();
        let [height, width] = sides(share, ratio, size);
        if (1..=size[0]).contains(&height) && (1..=size[1]).contains(&width) {
            let top = rng.random_range(0..=size[0] - height);
            let left = rng.random_range(0..=size[1] - width);
            return Region { rows: top..top + height, columns: left..left + width };
        }
    }
    middle(size)
}

/// The height and width of a region of this share and ratio, which may be larger than the image.
fn sides(share: f64, ratio: f64, [height, width]: [usize; 2]) -> [usize; 2] {
    let area = share * (height * width) as f64;
    [area / ratio, area * ratio].map(|square| square.sqrt().round_ties_even() as usize)
}

/// The largest region of an allowed ratio in the middle of an image.
fn middle([height, width]: [usize; 2]) -> Region {
    let longest = |shorter: usize| (shorter as f64 / LEAST_RATIO).round_ties_even() as usize;
    let (rows, columns) = (height.min(longest(width)), width.min(longest(height)));
    let (top, left) = ((height - rows) / 2, (width - columns) / 2);
    Region { rows: top..top + rows, columns: left..left + columns }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// Heights and widths: of so many regions one in seven does not fit, up to one in three.
    const SIZES: [[usize; 2]; 4] = [[1000, 1000], [750, 1000], [1333, 1000], [1500, 1000]];

    proptest! {
        #[test]
        fn regions_are_inside_of_the_image(size in [1usize..40, 1usize..40], seed: u64) {
            let region = draw(size, &mut ChaCha8Rng::seed_from_u64(seed));
            prop_assert!(region.area() > 0, "{region:?}");
            prop_assert!(region.rows.end <= size[0] && region.columns.end <= size[1], "{region:?}");
        }

        #[test]
        fn regions_have_a_share_and_a_ratio_that_are_allowed(size in [200usize..500, 200usize..500], seed: u64) {
            let region = draw(size, &mut ChaCha8Rng::seed_from_u64(seed));
            let (height, width) = (region.rows.len() as f64, region.columns.len() as f64);
            // Each side is rounded by half a pixel at most.
            let half = 0.5;
            let area = (size[0] * size[1]) as f64;
            prop_assert!((height + half) * (width + half) >= 0.08 * area, "{region:?}");
            prop_assert!((width + half) / (height - half) >= 0.75, "{region:?}");
            prop_assert!((width - half) / (height + half) <= 4.0 / 3.0, "{region:?}");
        }
    }

    #[test]
    fn sides_are_torchvisions() {
        let crops = fixture::read().resized_crops;
        assert!(crops.sides.len() > 20);
        for case in crops.sides {
            assert_eq!(sides(case.share, case.ratio, case.size), case.sides, "{:?}", case.size);
        }
    }

    #[test]
    fn the_middle_is_torchvisions() {
        for case in fixture::read().resized_crops.middles {
            let found = middle(case.size);
            let [top, left, height, width] = case.region;
            let expected = Region { rows: top..top + height, columns: left..left + width };
            assert_eq!(found, expected, "{:?}", case.size);
        }
    }

    /// The means of the share and of the logarithm of the ratio over the pairs that fit in the image, of a uniform
    /// grid.
    fn means_of_what_fits([height, width]: [usize; 2]) -> [f64; 2] {
        const GRID: usize = 1000;
        let whole = width as f64 / height as f64;
        let at = |step: usize| (step as f64 + 0.5) / GRID as f64;
        let (mut sums, mut count) = ([0.0; 2], 0.0);
        for (s, r) in (0..GRID * GRID).map(|step| (at(step / GRID), at(step % GRID))) {
            let (share, ratio) = (0.08 + 0.92 * s, (2.0 * r - 1.0) * (4.0f64 / 3.0).ln());
            // Width and height of the region by those of the image, squared.
            if share * ratio.exp() <= whole && share / ratio.exp() <= 1.0 / whole {
                sums = [sums[0] + share, sums[1] + ratio];
                count += 1.0;
            }
        }
        sums.map(|sum| sum / count)
    }

    #[test]
    fn shares_and_ratios_are_distributed_as_in_torchvisions_formula() {
        const DRAWS: usize = 20_000;
        for size in SIZES {
            let mut rng = ChaCha8Rng::seed_from_u64(10);
            let mut sums = [0.0; 2];
            for region in (0..DRAWS).map(|_| draw(size, &mut rng)) {
                sums[0] += region.area() as f64 / (size[0] * size[1]) as f64;
                sums[1] += (region.columns.len() as f64 / region.rows.len() as f64).ln();
            }
            let [share, ratio] = sums.map(|sum| sum / DRAWS as f64);
            let [expected_share, expected_ratio] = means_of_what_fits(size);
            // Four standard deviations of the mean of uniform draws: a range divided by √12, and by √DRAWS.
            let (share_range, ratio_range) = (0.92, 2.0 * (4.0f64 / 3.0).ln());
            let allowed = |range: f64| 4.0 * range / (12.0 * DRAWS as f64).sqrt();
            assert!((share - expected_share).abs() < allowed(share_range), "{size:?}: {share}, not {expected_share}");
            assert!((ratio - expected_ratio).abs() < allowed(ratio_range), "{size:?}: {ratio}, not {expected_ratio}");
        }
    }

    #[test]
    fn places_are_uniform() {
        // The middle of what is left above a region, as a share of all that is left above and below.
        const DRAWS: usize = 20_000;
        let mut rng = ChaCha8Rng::seed_from_u64(12);
        let mut sums = [0.0; 2];
        let mut count = 0.0;
        for region in (0..DRAWS).map(|_| draw([1000, 1000], &mut rng)) {
            let left = [1000 - region.rows.len(), 1000 - region.columns.len()];
            if left[0] > 0 && left[1] > 0 {
                sums[0] += region.rows.start as f64 / left[0] as f64;
                sums[1] += region.columns.start as f64 / left[1] as f64;
                count += 1.0;
            }
        }
        for sum in sums {
            assert!((sum / count - 0.5).abs() < 4.0 / (12.0 * count).sqrt(), "{sum} of {count}");
        }
    }

    #[test]
    fn an_image_that_is_very_long_gives_its_middle() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let middle = Region { rows: 0..2, columns: 498..501 };
        assert_eq!(draw([2, 1000], &mut rng), middle);
        assert_eq!(draw([1, 1], &mut rng), Region { rows: 0..1, columns: 0..1 });
    }
}
