//! Inputs: a function of a target's corpus, a seed and a number, so that nobody need keep or send them.

use crate::corpus;
use crate::mutate::{self, Entry};
use crate::targets::Target;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::io;
use std::path::Path;

/// The inputs of a target by number.
pub struct Inputs {
    target: Target,
    corpus: Vec<Entry>,
    seed: u64,
}

impl Inputs {
    /// Those that come from the target's own corpus and the files in `more`.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn new(target: Target, more: Option<&Path>, seed: u64) -> io::Result<Self> {
        Ok(Self { target, corpus: corpus::of(target, more)?, seed })
    }

    /// The size of the corpus.
    pub fn corpus_len(&self) -> u64 {
        self.corpus.len() as u64
    }

    /// Input `number`: first the corpus as it is, then its entries with one to a dozen mutations, at most `most`.
    pub fn make(&self, number: u64, most: usize) -> Vec<u8> {
        if let Some(entry) = usize::try_from(number).ok().and_then(|number| self.corpus.get(number)) {
            return entry.to_bytes();
        }
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(number);
        // The shorter of two: it takes less time.
        let pair = [(); 2].map(|()| self.corpus.choose(&mut rng));
        let Some(entry) = pair.into_iter().flatten().min_by_key(|entry| entry.len()) else { return Vec::new() };
        let mut entry = entry.clone();
        let count = match rng.random_range(0..8) {
            0..4 => 1,
            4..6 => 2,
            6 => rng.random_range(3..6),
            _ => rng.random_range(6..13),
        };
        for _ in 0..count.min(most) {
            mutate::mutate(&mut entry, &self.corpus, self.target.form(), &mut rng);
        }
        entry.to_bytes()
    }
}
