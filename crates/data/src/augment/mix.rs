//! Mixup and CutMix: every sample of a batch with a partner from the same batch.

use super::region::Region;
use gnp_base::{Error, Result};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rand_distr::Beta;

/// The weight λ of the samples, of which each batch has one: a draw from Beta(α, α).
///
/// # Errors
/// Where α is not above 0.
pub(super) fn draw_weight(alpha: f32, rng: &mut impl Rng) -> Result<f64> {
    let alpha = f64::from(alpha);
    let beta = Beta::new(alpha, alpha)
        .map_err(|_| Error::input(format!("there is no distribution Beta(α, α) with an α of {alpha}")))?;
    Ok(rng.sample(beta))
}

/// The partner of each sample of a batch: a uniform permutation, in which a sample may be its own partner.
pub(super) fn draw_partners(batch: usize, rng: &mut impl Rng) -> Vec<usize> {
    let mut partners: Vec<usize> = (0..batch).collect();
    partners.shuffle(rng);
    partners
}

/// The rectangle of area 1−λ of an image of this size (height and width), at a uniform centre and clipped. As in
/// torchvision its sides are even.
pub(super) fn draw_region(weight: f64, size: [usize; 2], rng: &mut impl Rng) -> Region {
    Region::draw(sides(weight, size), size, rng)
}

fn sides(weight: f64, size: [usize; 2]) -> [usize; 2] {
    size.map(|size| 2 * (0.5 * (1.0 - weight).sqrt() * size as f64) as usize)
}

/// Puts λ·row + (1−λ)·partner in place of each of the rows. With mixup (Zhang et al., ICLR 2018) samples and labels are
/// such rows.
pub(super) fn blend(rows: &mut [f32], partners: &[usize], weight: f64) {
    let length = rows.len() / partners.len().max(1);
    let before = rows.to_vec();
    let (own, other) = (weight as f32, (1.0 - weight) as f32);
    for (row, &partner) in rows.chunks_exact_mut(length.max(1)).zip(partners) {
        for (value, partner) in row.iter_mut().zip(&before[partner * length..][..length]) {
            *value = own * *value + other * partner;
        }
    }
}

/// Puts the partner's pixels in place of those of a region of each image, and returns the λ of the labels: the part of
/// an image that is still its own (CutMix, Yun et al., ICCV 2019).
pub(super) fn paste(samples: &mut [f32], shape: [usize; 4], partners: &[usize], region: &Region) -> f64 {
    let [_, channels, height, width] = shape;
    let size = [height, width];
    let length = channels * height * width;
    let before = samples.to_vec();
    for (sample, &partner) in samples.chunks_exact_mut(length.max(1)).zip(partners) {
        let partner = &before[partner * length..][..length];
        for run in region.runs(channels, size) {
            sample[run.clone()].copy_from_slice(&partner[run]);
        }
    }
    1.0 - region.area() as f64 / (height * width).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, Mixed, Mixes};
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// Compares what `mix` makes of the samples and the labels with what torchvision made of them.
    fn check(mixes: &Mixes, case: &Mixed, mix: impl FnOnce(&mut [f32], &mut [f32])) {
        let (mut samples, mut labels) = (mixes.samples.clone(), mixes.labels.clone());
        mix(&mut samples, &mut labels);
        for (ours, theirs) in [(samples, &case.samples), (labels, &case.labels)] {
            assert_eq!(ours.len(), theirs.len());
            for (ours, theirs) in ours.iter().zip(theirs) {
                let (weight, centre) = (case.lambda, case.centre);
                assert!((ours - theirs).abs() <= 1e-6, "{ours}, not {theirs}, with λ = {weight} around {centre:?}");
            }
        }
    }

    #[test]
    fn mixup_is_torchvisions() {
        let mixes = fixture::read().mixes;
        for case in &mixes.mixup {
            check(&mixes, case, |samples, labels| {
                blend(samples, &mixes.partners, case.lambda);
                blend(labels, &mixes.partners, case.lambda);
            });
        }
    }

    #[test]
    fn cutmix_is_torchvisions() {
        let mixes = fixture::read().mixes;
        let [_, _, height, width] = mixes.shape;
        for case in &mixes.cutmix {
            check(&mixes, case, |samples, labels| {
                let size = [height, width];
                let region = Region::around(case.centre.unwrap(), sides(case.lambda, size), size);
                let weight = paste(samples, mixes.shape, &mixes.partners, &region);
                blend(labels, &mixes.partners, weight);
            });
        }
    }

    #[test]
    fn weights_have_the_mean_and_variance_of_beta() {
        const DRAWS: usize = 40_000;
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        for alpha in [0.2f32, 1.0, 5.0] {
            let draws: Vec<f64> = (0..DRAWS).map(|_| draw_weight(alpha, &mut rng).unwrap()).collect();
            let mean = draws.iter().sum::<f64>() / DRAWS as f64;
            let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / DRAWS as f64;
            // Beta(α, α): its variance, and its kurtosis less 1.
            let alpha = f64::from(alpha);
            let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            let kurtosis = 2.0 - 6.0 / (2.0 * alpha + 3.0);
            // Four standard deviations of either estimate.
            let deviation = 4.0 / (DRAWS as f64).sqrt();
            assert!((mean - 0.5).abs() < deviation * expected.sqrt(), "α = {alpha}: mean {mean}");
            let ratio = variance / expected;
            assert!(
                (ratio - 1.0).abs() < deviation * kurtosis.sqrt(),
                "α = {alpha}: variance {ratio} of what it should be"
            );
        }
    }

    #[test]
    fn any_alpha_gives_a_weight() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for alpha in [f32::MIN_POSITIVE, 1e-20, 1e-3, 1e3, 1e20, f32::MAX] {
            for _ in 0..1000 {
                let weight = draw_weight(alpha, &mut rng).unwrap();
                assert!((0.0..=1.0).contains(&weight), "α = {alpha}: {weight}");
            }
        }
        assert!(draw_weight(0.0, &mut rng).is_err());
        assert!(draw_weight(f32::NAN, &mut rng).is_err());
    }

    proptest! {
        #[test]
        fn labels_of_cutmix_weigh_what_is_to_be_seen(
            channels in 1usize..3, height in 1usize..10, width in 1usize..10, weight in 0.0f64..=1.0, seed: u64,
        ) {
            // Sample i is all i, and has class i.
            const BATCH: usize = 4;
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let length = channels * height * width;
            let mut samples: Vec<f32> = (0..BATCH).flat_map(|i| vec![i as f32; length]).collect();
            let mut labels: Vec<f32> = (0..BATCH * BATCH).map(|i| f32::from(i % BATCH == i / BATCH)).collect();
            let partners = draw_partners(BATCH, &mut rng);
            let region = draw_region(weight, [height, width], &mut rng);
            let weight = paste(&mut samples, [BATCH, channels, height, width], &partners, &region);
            blend(&mut labels, &partners, weight);
            for (sample, label) in samples.chunks_exact(length).zip(labels.chunks_exact(BATCH)) {
                prop_assert!((label.iter().sum::<f32>() - 1.0).abs() < 1e-6);
                for (class, weight) in label.iter().enumerate() {
                    let seen = sample.iter().filter(|pixel| **pixel == class as f32).count();
                    prop_assert!((weight - seen as f32 / length as f32).abs() < 1e-6);
                }
            }
        }

        #[test]
        fn partners_are_a_permutation(batch in 0usize..50, seed: u64) {
            let mut partners = draw_partners(batch, &mut ChaCha8Rng::seed_from_u64(seed));
            partners.sort_unstable();
            prop_assert!(partners.into_iter().eq(0..batch));
        }
    }
}
