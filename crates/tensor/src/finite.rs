//! Numbers that are none.

use super::Tensor;
use gnp_base::Error;
use gnp_base::contract::{GRAD_NORM, MIXED_GRAD_NORM, SCALED_BY, SKIPPED};

/// A number that is NaN or infinite, and what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct NotFinite {
    /// The name of an output, or of a part of the state.
    pub name: String,
    /// The number.
    pub value: f32,
}

impl NotFinite {
    /// That it is part of a state, which is of no use.
    pub fn in_state(&self) -> Error {
        Error::diverged(format!("`{}` holds {}, which is no number to go on with", self.name, self.value))
            .help("start from weights that are numbers; what depends on a constant of −∞, such as a mask, cannot train it: --freeze its name")
    }
}

/// Looked at as a whole before one by one, which is as fast as memory is read.
const BLOCK: usize = 4096;

/// The bits of a number without its sign are at least these where it is infinite or NaN.
const INFINITE: u32 = 0x7f80_0000;

/// The index of the first element that is NaN or infinite.
pub fn first_not_finite(elements: &[f32]) -> Option<usize> {
    let largest = |block: &[f32]| block.iter().fold(0, |largest: u32, x| largest.max(x.to_bits() & 0x7fff_ffff));
    let block = elements.chunks(BLOCK).position(|block| largest(block) >= INFINITE)?;
    let begin = block * BLOCK;
    elements[begin..].iter().position(|x| !x.is_finite()).map(|index| begin + index)
}

/// The first of named tensors of floats with an element that is NaN or infinite.
pub fn find<'t>(tensors: impl IntoIterator<Item = (&'t str, &'t Tensor)>) -> Option<NotFinite> {
    tensors.into_iter().find_map(|(name, tensor)| {
        let Tensor::F32(array) = tensor else { return None };
        let value = match array.as_slice() {
            Some(elements) => first_not_finite(elements).map(|index| elements[index]),
            None => array.iter().copied().find(|x| !x.is_finite()),
        };
        value.map(|value| NotFinite { name: name.to_owned(), value })
    })
}

/// What among the numbers that a step returned, the loss first, is none. Tables, such as logits, may hold what they
/// like; so may the norms of gradients in a step that was [`skipped`], since the next one has a smaller scale.
pub fn of_outputs(names: &[String], outputs: &[Tensor]) -> Option<NotFinite> {
    let scale = Tensor::scalar_named(names, outputs, SCALED_BY);
    let may_overflow = skipped(names, outputs) && scale.is_some_and(|scale| scale > 1.0);
    let is_number = |index: usize, name: &str, tensor: &Tensor| {
        index == 0 || tensor.shape().is_empty() && !(may_overflow && [GRAD_NORM, MIXED_GRAD_NORM].contains(&name))
    };
    let named = names.iter().map(String::as_str).zip(outputs).enumerate();
    find(named.filter(|(index, (name, tensor))| is_number(*index, name, tensor)).map(|(_, named)| named))
}

/// Whether a step says that it was not taken, as a gradient of it was not finite at the scale that its loss had.
pub fn skipped(names: &[String], outputs: &[Tensor]) -> bool {
    Tensor::scalar_named(names, outputs, SKIPPED) == Some(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_is_found(length in 0usize..20_000, at: proptest::sample::Index, value: f32) {
            let mut elements = vec![f32::MAX; length];
            if length > 0 {
                elements[at.index(length)] = value;
                elements[length - 1] = f32::MIN_POSITIVE;
            }
            prop_assert_eq!(first_not_finite(&elements), elements.iter().position(|x| !x.is_finite()));
        }
    }

    #[test]
    fn the_norms_of_a_skipped_step_may_be_none() {
        let names = ["loss", GRAD_NORM, SCALED_BY, SKIPPED].map(str::to_owned);
        let outputs = |loss, scale, skipped| [loss, f32::INFINITY, scale, skipped].map(Tensor::scalar);
        assert_eq!(of_outputs(&names, &outputs(1.0, 2.0, 1.0)), None);
        let found = |loss, scale, skipped| of_outputs(&names, &outputs(loss, scale, skipped)).map(|found| found.name);
        assert_eq!(found(1.0, 1.0, 1.0).as_deref(), Some(GRAD_NORM));
        assert_eq!(found(1.0, 2.0, 0.0).as_deref(), Some(GRAD_NORM));
        assert_eq!(found(f32::NAN, 2.0, 1.0).as_deref(), Some("loss"));
    }

    #[test]
    fn numbers_are_looked_at_and_tables_are_not() {
        let names = ["loss", "logits", "norm"].map(str::to_owned);
        let table = Tensor::F32(ndarray::arr1(&[f32::NEG_INFINITY]).into_dyn());
        let outputs = |loss, norm| [Tensor::scalar(loss), table.clone(), Tensor::scalar(norm)];
        assert_eq!(of_outputs(&names, &outputs(1.0, 2.0)), None);
        let found = of_outputs(&names, &outputs(1.0, f32::INFINITY));
        assert_eq!(found, Some(NotFinite { name: "norm".into(), value: f32::INFINITY }));
        assert!(of_outputs(&names, &outputs(f32::NAN, 2.0)).is_some_and(|found| found.name == "loss"));
    }
}
