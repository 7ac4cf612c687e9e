//! A rectangle of an image: what cutout erases, CutMix pastes, and a sample is cut out of.

use rand::{Rng, RngExt};
use std::ops::Range;

/// A rectangle that is inside of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The rows of the image that it covers.
    pub rows: Range<usize>,
    /// The columns of the image that it covers.
    pub columns: Range<usize>,
}

impl Region {
    /// The part inside of the image of a rectangle of `sides` (rows and columns) around a uniform pixel of an image of
    /// `size` (height and width).
    pub(super) fn draw(sides: [usize; 2], size: [usize; 2], rng: &mut impl Rng) -> Self {
        // An image without pixels has no centre, and no part of a rectangle.
        let centre = size.map(|size| rng.random_range(0..size.max(1)));
        Self::around(centre, sides, size)
    }

    /// The part inside of the image of a rectangle around a pixel: with a side s, from ⌊s/2⌋ pixels before it on, s
    /// pixels.
    pub(super) fn around(centre: [usize; 2], sides: [usize; 2], size: [usize; 2]) -> Self {
        let [rows, columns] = [0, 1].map(|axis| {
            let (before, size) = (sides[axis] / 2, size[axis]);
            let after = sides[axis] - before;
            centre[axis].saturating_sub(before)..centre[axis].saturating_add(after).min(size)
        });
        Self { rows, columns }
    }

    /// Its pixels.
    pub(super) fn area(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    /// Where its rows are, in an image of `channels` planes of `size`.
    pub(super) fn runs(&self, channels: usize, [height, width]: [usize; 2]) -> impl Iterator<Item = Range<usize>> {
        let rows =
            (0..channels).flat_map(move |channel| self.rows.clone().map(move |row| (channel * height + row) * width));
        rows.map(|row| row + self.columns.start..row + self.columns.end)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn mask(region: &Region, channels: usize, size: [usize; 2]) -> Vec<f32> {
        let mut mask = vec![1.0; channels * size[0] * size[1]];
        for run in region.runs(channels, size) {
            mask[run].fill(0.0);
        }
        mask
    }

    #[test]
    fn even_squares_are_those_of_cutouts_authors() {
        for case in fixture::read().cutouts {
            let region = Region::around(case.centre, [case.side; 2], [6, 7]);
            assert_eq!(mask(&region, 1, [6, 7]), case.mask, "{} around {:?}", case.side, case.centre);
        }
    }

    proptest! {
        #[test]
        fn covers_its_area_in_every_channel(
            channels in 1usize..4, size in [1usize..12, 1usize..12], centre: [prop::sample::Index; 2], sides in [0usize..30, 0usize..30],
        ) {
            let centre = [centre[0].index(size[0]), centre[1].index(size[1])];
            let region = Region::around(centre, sides, size);
            let mask = mask(&region, channels, size);
            for plane in mask.chunks_exact(size[0] * size[1]) {
                prop_assert_eq!(plane.iter().filter(|pixel| **pixel == 0.0).count(), region.area());
                let middle = plane[centre[0] * size[1] + centre[1]];
                prop_assert_eq!(middle == 0.0, sides[0] > 0 && sides[1] > 0);
            }
            prop_assert!(region.area() <= sides[0] * sides[1]);
        }
    }

    #[test]
    fn draws_centres_uniformly() {
        const DRAWS: usize = 20 * 400;
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let mut counts = [0i32; 20];
        for _ in 0..DRAWS {
            for run in Region::draw([1, 1], [4, 5], &mut rng).runs(1, [4, 5]) {
                counts[run.start] += 1;
            }
        }
        // Four standard deviations of the binomial distribution.
        assert!(counts.iter().all(|count| (count - 400).abs() < 4 * 20), "{counts:?}");
    }

    #[test]
    fn an_odd_square_is_whole() {
        assert_eq!(Region::around([2, 2], [3, 3], [5, 5]), Region { rows: 1..4, columns: 1..4 });
        assert_eq!(Region::around([2, 2], [1, 1], [5, 5]).area(), 1);
        assert_eq!(Region::around([2, 2], [usize::MAX; 2], [5, 5]).area(), 25);
    }
}
