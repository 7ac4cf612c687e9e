//! Weights as ONNX Runtime's convolutions on blocks of channels read them.

use super::tensor::Shared;
use crate::threads::Threads;
use gnp_base::{Error, Result};
use std::array;

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

impl WeightLayout {
    /// The channels [M, C] of the weights that are written of weights \[M, C, k…\]: those of blocks that are not full
    /// are zero.
    pub fn channels(self, [m, c]: [usize; 2]) -> [usize; 2] {
        let full = |channels: usize| channels.div_ceil(self.block) * self.block;
        match (self.both, self.adjoint) {
            (true, true) => [full(c), full(m)],
            (true, false) => [full(m), full(c)],
            (false, _) => [full(m), c],
        }
    }
}

/// Writes weights `w` \[M, C, k…\], of `places` k, as `layout` says. M and C are those of `w` itself.
///
/// # Errors
/// Blocks of no channels, or slices of another length.
pub fn lay_out_weights(
    w: &[f32],
    [m, c, places]: [usize; 3],
    layout: WeightLayout,
    to: &mut [f32],
    threads: &dyn Threads,
) -> Result<()> {
    let WeightLayout { block, both, adjoint } = layout;
    let fits = block > 0 && w.len() == m * c * places && {
        let [outer, inner] = layout.channels([m, c]);
        to.len() == outer * inner * places
    };
    if !fits {
        return Err(Error::input(format!("weights [{m}, {c}, {places} places] do not fit blocks of {block} channels")));
    }
    if to.is_empty() {
        return Ok(());
    }
    let (exchanged, depth) = (both && adjoint, if both { block } else { 1 });
    let (outer, inner) = if exchanged { (c, m) } else { (m, c) };
    let deep = inner.div_ceil(depth);
    // A part has a block of the channels of the output, and those of the input that are side by side with it.
    let part = places * depth * block;
    let parts = Shared::new(to);
    threads.run(parts.len / part, &|number| {
        let (first_outer, first_inner) = (number / deep * block, number % deep * depth);
        let (outers, inners) = ((outer - first_outer).min(block), (inner - first_inner).min(depth));
        // SAFETY: each task has a part of its own.
        let to = unsafe { parts.part(number * part..(number + 1) * part) };
        if outers < block || inners < depth {
            to.fill(0.0);
        } else if !exchanged {
            let row = |o: usize| &w[((first_outer + o) * c + first_inner) * places..][..depth * places];
            match block {
                8 => return side_by_side(array::from_fn::<_, 8, _>(row), places, to, adjoint),
                16 => return side_by_side(array::from_fn::<_, 16, _>(row), places, to, adjoint),
                _ => {}
            }
        }
        // The channels of `w` that follow each other in memory are those of the input, or, exchanged, of the output.
        let (rows, along) = if exchanged { (inners, outers) } else { (outers, inners) };
        for row in 0..rows {
            let first =
                if exchanged { (first_inner + row) * c + first_outer } else { (first_outer + row) * c + first_inner };
            let from = &w[first * places..][..along * places];
            let (at, step) = if exchanged { (row * block, 1) } else { (row, block) };
            copy(from, places, &mut to[at..], step, depth * block, adjoint);
        }
    });
    Ok(())
}

/// Writes the numbers of `rows`, one for each lane, side by side: those of a channel, of `places` each, after those of
/// the others at the same place. Places are from the last on where they are `turned`.
fn side_by_side<const B: usize>(rows: [&[f32]; B], places: usize, to: &mut [f32], turned: bool) {
    assert!(rows.iter().all(|row| row.len() == rows[0].len()));
    let depth = rows[0].len() / places;
    for channel in 0..depth {
        for place in 0..places {
            let from = channel * places + place;
            // SAFETY: a row has `depth` channels of `places`, and all rows are as long as the first.
            let lanes: [f32; B] = array::from_fn(|lane| unsafe { *rows[lane].get_unchecked(from) });
            let at = if turned { places - 1 - place } else { place };
            to[(at * depth + channel) * B..][..B].copy_from_slice(&lanes);
        }
    }
}

/// Copies channels that have `places` each: channels `step` apart, places `stride`, from the last on where they are
/// turned.
fn copy(from: &[f32], places: usize, to: &mut [f32], step: usize, stride: usize, turned: bool) {
    for place in 0..places {
        let at = if turned { places - 1 - place } else { place };
        let to = to[at * stride..].iter_mut().step_by(step);
        from[place..].iter().step_by(places).zip(to).for_each(|(from, to)| *to = *from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Spawned;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_weight_is_where_it_is_read(
            (m, c, places) in (1..40usize, 1..40usize, 1..10usize), both: bool, adjoint: bool, narrow: bool,
        ) {
            let block = if narrow { 8 } else { 16 };
            let layout = WeightLayout { block, both, adjoint };
            let w: Vec<f32> = (1..=m * c * places).map(|i| i as f32).collect();
            let [outer, inner] = layout.channels([m, c]);
            let mut to = vec![-1.0; outer * inner * places];
            lay_out_weights(&w, [m, c, places], layout, &mut to, &Spawned(3)).unwrap();
            for o in 0..outer {
                for i in 0..inner {
                    for k in 0..places {
                        let (m_at, c_at) = if both && adjoint { (i, o) } else { (o, i) };
                        let from = if adjoint { places - 1 - k } else { k };
                        let is_there = m_at < m && c_at < c;
                        let expected = if is_there { w[(m_at * c + c_at) * places + from] } else { 0.0 };
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
        for (block, sizes) in [(0, [8, 8, 1]), (8, [8, 8, 2]), (8, [8, 9, 1])] {
            let layout = WeightLayout { block, both: true, adjoint: false };
            let (w, mut to) = (vec![0.0; 64], vec![0.0; 64]);
            assert!(lay_out_weights(&w, sizes, layout, &mut to, &Spawned(1)).is_err(), "{sizes:?}");
        }
    }
}
