//! Everything random about data, as a function of the seed.

use rand::RngExt;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// The stream of label noise; epochs have the streams from 0 on.
const LABEL_NOISE: u64 = u64::MAX;
/// The stream of the split into training and test set.
const SPLIT: u64 = u64::MAX - 1;
/// The stream of the images that statistics are taken of.
const STATISTICS: u64 = u64::MAX - 2;
/// The stream of the training samples that are used.
const SUBSET: u64 = u64::MAX - 3;

/// What draws of an epoch are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draws {
    /// The augmentation of a sample, by its number.
    Sample = 1,
    /// The mix of a batch, by its number in the epoch.
    Batch = 2,
    /// The order of the batches of a group, by its number in the epoch.
    Group = 3,
}

/// The generator of draws for the sample or batch `number` in `epoch`: a function of its arguments alone, with a key of
/// its own for each epoch and a stream for each number.
pub(super) fn draws(seed: u64, epoch: u64, what: Draws, number: usize) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&epoch.to_le_bytes());
    key[16] = what as u8;
    let mut generator = ChaCha8Rng::from_seed(key);
    generator.set_stream(number as u64);
    generator
}

/// The numbers from 0 to `samples` in two: what is left, and `count` drawn at random; both ascending.
pub(super) fn split(samples: usize, count: usize, seed: u64) -> (Vec<usize>, Vec<usize>) {
    part(samples, count, seed, SPLIT)
}

/// At most `count` of the numbers from 0 to `samples`, drawn at random; ascending.
pub(super) fn some(samples: usize, count: usize, seed: u64) -> Vec<usize> {
    part(samples, count.min(samples), seed, STATISTICS).1
}

/// `count` of the numbers from 0 to `samples`, of which there must be as many, drawn at random; ascending.
pub(super) fn subset(samples: usize, count: usize, seed: u64) -> Vec<usize> {
    part(samples, count, seed, SUBSET).1
}

fn part(samples: usize, count: usize, seed: u64, stream: u64) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..samples).collect();
    order.shuffle(&mut generator(seed, stream));
    let mut rest = order.split_off(count);
    order.sort_unstable();
    rest.sort_unstable();
    (rest, order)
}

/// The numbers of `samples` samples in the order in which epoch `epoch` (from 0) takes them: a function of its
/// arguments alone, so that a resumed run goes on where it stopped.
///
/// ```
/// use gnp_data::epoch_order;
/// assert_eq!(epoch_order(100, 7, 3), epoch_order(100, 7, 3));
/// assert_ne!(epoch_order(100, 7, 3), epoch_order(100, 7, 4));
/// ```
pub fn epoch_order(samples: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..samples).collect();
    order.shuffle(&mut generator(seed, epoch));
    order
}

/// Redraws the fraction `noise` of the n labels other than `ignored` uniformly over the classes.
pub(super) fn redraw(labels: &mut [i64], noise: f64, classes: usize, ignored: Option<i64>, seed: u64) {
    let mut generator = generator(seed, LABEL_NOISE);
    let mut order: Vec<usize> = (0..labels.len()).filter(|&sample| Some(labels[sample]) != ignored).collect();
    let count = (noise * order.len() as f64).round() as usize;
    order.shuffle(&mut generator);
    order.truncate(count);
    let classes = i64::try_from(classes.max(1)).unwrap_or(i64::MAX);
    for sample in order {
        labels[sample] = generator.random_range(0..classes);
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
    fn draws_are_told_apart_by_each_argument() {
        let first = |seed, epoch, what, number| draws(seed, epoch, what, number).random::<u64>();
        let one = first(1, 2, Draws::Sample, 3);
        assert_eq!(one, first(1, 2, Draws::Sample, 3));
        let others = [
            first(2, 2, Draws::Sample, 3),
            first(1, 3, Draws::Sample, 3),
            first(1, 2, Draws::Batch, 3),
            first(1, 2, Draws::Sample, 4),
        ];
        assert!(!others.contains(&one));
    }

    #[test]
    fn redraws_the_fraction_uniformly() {
        let mut labels = vec![-1; 10_000];
        redraw(&mut labels, 0.4, 10, None, 1);
        assert_eq!(labels.iter().filter(|label| **label >= 0).count(), 4_000);
        for class in 0..10 {
            let count = labels.iter().filter(|label| **label == class).count();
            assert!((320..480).contains(&count), "class {class}: {count} of 4,000");
        }
        let mut again = vec![-1; 10_000];
        redraw(&mut again, 0.4, 10, None, 1);
        assert_eq!(labels, again);
        let mut some: Vec<i64> = (0..100).map(|sample| if sample % 2 == 0 { -1 } else { 20 }).collect();
        redraw(&mut some, 0.5, 10, Some(-1), 1);
        assert!(some.iter().step_by(2).all(|label| *label == -1));
        assert_eq!(some.iter().filter(|label| **label == 20).count(), 25);
    }
}
