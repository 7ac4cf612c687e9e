//! The order in which an epoch takes the samples.

use super::{Feed, Source};
use crate::order::{Draws, draws, epoch_order};
use rand::seq::SliceRandom;

/// So many batches are made of neighbours in the drawn order: the fewer, the more lengths a batch has.
const GROUP: usize = 100;

impl Feed<'_> {
    /// The numbers of the samples in the order in which epoch `epoch` (from 0) takes them in batches of `size`: a
    /// function of its arguments and the lengths of the samples alone.
    ///
    /// Where samples are to be grouped by length, batches of a hundred neighbours in the order of
    /// [`epoch_order`](crate::epoch_order) are made of samples of about the same length, and taken in a random order.
    pub fn epoch_order(&self, seed: u64, epoch: u64, size: usize) -> Vec<usize> {
        let mut order = epoch_order(self.data.len(), seed, epoch);
        let of_lists = self.sources.iter().find_map(|source| match source {
            Source::Padded(padded) => Some(padded),
            _ => None,
        });
        let Some(lists) = of_lists.filter(|_| self.preparation.lengths.group && size > 0) else { return order };
        for (number, group) in order.chunks_mut(GROUP.saturating_mul(size)).enumerate() {
            group.sort_by_key(|&row| lists.length(row));
            // A batch that is not whole stays the last of the epoch.
            let whole = group.len() - group.len() % size;
            let mut batches: Vec<&[usize]> = group[..whole].chunks(size).collect();
            batches.shuffle(&mut draws(seed, epoch, Draws::Group, number));
            let drawn = batches.concat();
            group[..whole].copy_from_slice(&drawn);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dataset, Input, Labels, Lengths, Lists, Preparation, Values};
    use gnp_tensor::{ElementType, Port};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_sample_is_taken_once_among_others_of_its_length(
            lengths in prop::collection::vec(1usize..40, 1..300), size in 1usize..9, seed: u64, epoch in 0u64..3
        ) {
            let ids = Values::I64(vec![0; lengths.iter().sum()]);
            let inputs = vec![Input::new("ids", Lists::new(ids, &lengths, vec![]).unwrap())];
            let data = Dataset::of(inputs, vec![Labels::Classes(vec![0; lengths.len()]).into()]).unwrap();
            let ports = [Port::new("ids", ElementType::I64, [None, None]), Port::new("labels", ElementType::I64, [None])];
            let order = |group| {
                let lengths = Lengths { group, ..Lengths::default() };
                let preparation = Preparation { lengths, ..Preparation::default() };
                Feed::new(&data, &ports, &preparation, seed).unwrap().epoch_order(seed, epoch, size)
            };
            let (grouped, plain) = (order(true), order(false));
            prop_assert_eq!(&plain, &epoch_order(lengths.len(), seed, epoch));
            prop_assert_eq!(&grouped, &order(true));
            let sorted = |mut order: Vec<usize>| { order.sort_unstable(); order };
            prop_assert_eq!(sorted(grouped.clone()), sorted(plain.clone()));
            // In a group, no two batches have lengths in common but those of their ends.
            for group in grouped.chunks(GROUP * size) {
                let ends = |batch: &[usize]| {
                    let of = || batch.iter().map(|&row| lengths[row]);
                    (of().min().unwrap(), of().max().unwrap())
                };
                let mut batches: Vec<_> = group.chunks(size).map(ends).collect();
                batches.sort_unstable();
                prop_assert!(batches.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{:?}", batches);
            }
        }
    }
}
