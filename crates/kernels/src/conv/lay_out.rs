//! Weights as ONNX Runtime's convolutions on blocks of channels read them.

use super::tensor::Shared;
use crate::threads::Threads;
use gnp_base::{Error, Result};

/// How the weights of a convolution are laid out, and which weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightLayout {
    /// The channels in a block.
    pub block: usize,
    /// Whether the channels of the input are in blocks too: \[M / b, C / b, k…, b of C, b of M\]; otherwise the weights
    /// become \[M / b, C, k…, b of M\].
    pub both: bool,
    /// Whether the weights are those of the adjoint: the kernel back to front, and, with `both`, input and output
    /// exchanged.
    pub adjoint: bool,
}

/// Writes weights `w` \[M, C, k…\], of `places` k, as `layout` says. M and C are those of `w` itself.
///
/// # Errors
/// Channels that no blocks divide, or slices of another length.
pub fn lay_out_weights(
    w: &[f32],
    [m, c, places]: [usize; 3],
    layout: WeightLayout,
    to: &mut [f32],
    threads: &dyn Threads,
) -> Result<()> {
    let WeightLayout { block, both, adjoint } = layout;
    let exchanged = both && adjoint;
    let (outer, inner) = if exchanged { (c, m) } else { (m, c) };
    let divides = |channels: usize| block > 0 && channels % block == 0;
    let count = m.checked_mul(c).and_then(|channels| channels.checked_mul(places));
    if !divides(outer) || both && !divides(inner) || count != Some(w.len()) || w.len() != to.len() {
        return Err(Error::input(format!("weights [{m}, {c}, {places} places] do not fit blocks of {block} channels")));
    }
    if w.is_empty() {
        return Ok(());
    }
    // A part has a block of the channels of the output, and those of the input that are side by side with it.
    let depth = if both { block } else { 1 };
    let part = places * depth * block;
    let parts = Shared::new(to);
    threads.run(w.len() / part, &|number| {
        let (first_outer, first_inner) = (number / (inner / depth) * block, number % (inner / depth) * depth);
        // SAFETY: each task has a part of its own.
        let to = unsafe { parts.part(number * part..(number + 1) * part) };
        for o in 0..block {
            for i in 0..depth {
                let (outer_channel, inner_channel) = (first_outer + o, first_inner + i);
                let row = if exchanged { inner_channel * c + outer_channel } else { outer_channel * c + inner_channel };
                let from = &w[row * places..][..places];
                for (place, &weight) in from.iter().enumerate() {
                    let place = if adjoint { places - 1 - place } else { place };
                    to[(place * depth + i) * block + o] = weight;
                }
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Spawned;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_weight_is_where_it_is_read(
            (m, c, places) in (1..4usize, 1..4usize, 1..10usize),
            both: bool, adjoint: bool, narrow: bool, channels in 1..5usize,
        ) {
            let block = if narrow { 8 } else { 16 };
            let (m, c) = if both { (m * block, c * block) } else { (m * block, channels) };
            let w: Vec<f32> = (0..m * c * places).map(|i| i as f32).collect();
            let mut to = vec![-1.0; w.len()];
            let layout = WeightLayout { block, both, adjoint };
            lay_out_weights(&w, [m, c, places], layout, &mut to, &Spawned(3)).unwrap();
            let (outer, inner) = if both && adjoint { (c, m) } else { (m, c) };
            for o in 0..outer {
                for i in 0..inner {
                    for k in 0..places {
                        let from = if adjoint { places - 1 - k } else { k };
                        let expected = if both && adjoint { w[(i * c + o) * places + from] } else { w[(o * c + i) * places + from] };
                        let depth = if both { block } else { 1 };
                        let part = o / block * (inner / depth) + i / depth;
                        let at = ((part * places + k) * depth + i % depth) * block + o % block;
                        prop_assert_eq!(to[at], expected);
                    }
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let layout = WeightLayout { block: 8, both: true, adjoint: false };
        let sizes = [[8, 4, 1], [4, 8, 1], [8, 8, 2]];
        for sizes in sizes {
            let (w, mut to) = (vec![0.0; 64], vec![0.0; 64]);
            assert!(lay_out_weights(&w, sizes, layout, &mut to, &Spawned(1)).is_err(), "{sizes:?}");
        }
    }
}
