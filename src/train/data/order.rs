//! Everything random about data, as a function of the seed.

use rand::RngExt;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// The stream of label noise; epochs have the streams from 0 on.
const LABEL_NOISE: u64 = u64::MAX;

/// The numbers of `samples` samples in the order in which epoch `epoch` (from 0) takes them: a function of its
/// arguments alone, so that a resumed run goes on where it stopped.
///
/// ```
/// use gnp::train::data::epoch_order;
/// assert_eq!(epoch_order(100, 7, 3), epoch_order(100, 7, 3));
/// assert_ne!(epoch_order(100, 7, 3), epoch_order(100, 7, 4));
/// ```
pub fn epoch_order(samples: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..samples).collect();
    order.shuffle(&mut generator(seed, epoch));
    order
}

/// Redraws `noise`·n of the labels uniformly over the classes.
pub(super) fn redraw(labels: &mut [i64], noise: f64, classes: usize, seed: u64) {
    let mut generator = generator(seed, LABEL_NOISE);
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.shuffle(&mut generator);
    order.truncate((noise * labels.len() as f64).round() as usize);
    for sample in order {
        labels[sample] = generator.random_range(0..classes.max(1) as i64);
    }
}

fn generator(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(stream);
    generator
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_order_is_a_permutation(samples in 0usize..500, seed: u64, epoch: u64) {
            let mut order = epoch_order(samples, seed, epoch);
            order.sort_unstable();
            prop_assert!(order.into_iter().eq(0..samples));
        }
    }

    #[test]
    fn redraws_the_fraction_uniformly() {
        let mut labels = vec![-1; 10_000];
        redraw(&mut labels, 0.4, 10, 1);
        assert_eq!(labels.iter().filter(|label| **label >= 0).count(), 4_000);
        for class in 0..10 {
            let count = labels.iter().filter(|label| **label == class).count();
            assert!((320..480).contains(&count), "class {class}: {count} of 4,000");
        }
        let mut again = vec![-1; 10_000];
        redraw(&mut again, 0.4, 10, 1);
        assert_eq!(labels, again);
    }
}
