//! Where a training begins.

use gnp_engine::State;
use gnp_tensor::Tensor;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// The weights that a training begins with.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// Those of the model
    #[default]
    Keep,
    /// Those of a fresh model in another order, by the seed: another draw of the same distributions
    Shuffle,
}

impl Init {
    /// The state to begin with in place of `state`.
    ///
    /// Shuffling permutes the elements of each tensor, in the order of their names, with a generator of the tensor's
    /// own. The elements of a freshly initialised weight are independent draws of one distribution, and so are they in
    /// any order; what is constant (zero biases, the scales of normalisation, slots of the optimizer) stays as it is.
    pub fn apply(self, state: State, seed: u64) -> State {
        if self == Self::Keep {
            return state;
        }
        let shuffled = state.iter().enumerate().map(|(stream, (name, tensor))| {
            let mut generator = ChaCha8Rng::seed_from_u64(seed);
            generator.set_stream(stream as u64);
            let mut tensor = tensor.clone();
            if let Tensor::F32(array) = &mut tensor
                && let Some(elements) = array.as_slice_memory_order_mut()
            {
                elements.shuffle(&mut generator);
            }
            (name.to_owned(), tensor)
        });
        shuffled.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn state() -> State {
        let weight = Tensor::F32(Array2::from_shape_fn((8, 16), |(i, j)| (16 * i + j) as f32).into_dyn());
        let zeros = Tensor::F32(Array2::zeros((4, 4)).into_dyn());
        [("a".to_owned(), weight.clone()), ("b".to_owned(), weight), ("zeros".to_owned(), zeros)].into_iter().collect()
    }

    fn sorted(tensor: &Tensor) -> Vec<f32> {
        let mut elements: Vec<f32> = tensor.as_f32().unwrap().iter().copied().collect();
        elements.sort_unstable_by(f32::total_cmp);
        elements
    }

    #[test]
    fn a_shuffled_state_has_the_same_elements_in_an_order_of_the_seed() {
        let shuffled = Init::Shuffle.apply(state(), 1);
        assert_eq!(shuffled, Init::Shuffle.apply(state(), 1));
        assert_ne!(shuffled, Init::Shuffle.apply(state(), 2));
        assert_ne!(shuffled.get("a"), state().get("a"));
        assert_ne!(shuffled.get("a"), shuffled.get("b"));
        assert_eq!(shuffled.get("zeros"), state().get("zeros"));
        for (name, tensor) in state().iter() {
            assert_eq!(sorted(shuffled.get(name).unwrap()), sorted(tensor));
        }
        assert_eq!(Init::Keep.apply(state(), 1), state());
    }
}
