//! Weights as ONNX Runtime's convolutions on blocks of channels read them.

use super::tensor::{Layout, Shared};
use super::width;
use crate::threads::Threads;
use crate::vector::{Job, Turn, Vector, with_width};
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
/// Blocks of other than 8 or 16 channels, or slices of another length.
pub fn lay_out_weights(
    w: &[f32],
    sizes: [usize; 3],
    layout: WeightLayout,
    to: &mut [f32],
    threads: &dyn Threads,
) -> Result<()> {
    let width = width(&[Layout::Blocked(layout.block)])?;
    let [m, c, places] = sizes;
    let [outer, inner] = layout.channels([m, c]);
    if w.len() != m * c * places || to.len() != outer * inner * places {
        return Err(Error::input(format!(
            "weights [{m}, {c}, {places} places] do not fit blocks of {} channels",
            layout.block
        )));
    }
    if !to.is_empty() {
        with_width!(width, V => lay_out::<V>(w, sizes, layout, to, threads));
    }
    Ok(())
}

fn lay_out<V: Vector>(
    w: &[f32],
    [m, c, places]: [usize; 3],
    WeightLayout { both, adjoint, .. }: WeightLayout,
    to: &mut [f32],
    threads: &dyn Threads,
) {
    let exchanged = both && adjoint;
    let depth = if both { V::LANES } else { 1 };
    let [outer, inner] = if exchanged { [c, m] } else { [m, c] };
    // From one channel to the next in `w`, of the output's and of the input's.
    let [outer_step, inner_step] = if exchanged { [places, c * places] } else { [c * places, places] };
    let deep = inner.div_ceil(depth);
    // A part has a block of the channels of the output, and those of the input that are side by side with it.
    let size = places * depth * V::LANES;
    let parts = Shared::new(to);
    threads.run(parts.len / size, &|number| {
        let (first_outer, first_inner) = (number / deep * V::LANES, number % deep * depth);
        // SAFETY: each task has a part of its own.
        let to = unsafe { parts.part(number * size..(number + 1) * size) };
        let (outers, inners) = ((outer - first_outer).min(V::LANES), (inner - first_inner).min(depth));
        let from = &w[first_outer * outer_step + first_inner * inner_step..];
        let part = Part { from, outer_step, inner_step, outers, inners, places, depth, turned: adjoint, to };
        part.write::<V>();
    });
}

/// A block of the channels of the output, and those of the input that are side by side with it.
struct Part<'a> {
    /// The weights from the first of the part on.
    from: &'a [f32],
    /// From one channel of the output to the next in `from`.
    outer_step: usize,
    /// From one channel of the input to the next.
    inner_step: usize,
    /// The channels that there are.
    outers: usize,
    inners: usize,
    places: usize,
    /// The channels of the input that there is room for.
    depth: usize,
    /// Whether places are from the last on.
    turned: bool,
    /// \[places, depth, lanes\].
    to: &'a mut [f32],
}

impl Part<'_> {
    fn write<V: Vector>(self) {
        assert!(self.outers <= V::LANES && self.inners <= self.depth && self.places > 0);
        assert!(
            (self.outers - 1) * self.outer_step + (self.inners - 1) * self.inner_step + self.places <= self.from.len()
        );
        assert!(self.to.len() == self.places * self.depth * V::LANES);
        // SAFETY: the assertions are what the job demands; V was chosen for the processor.
        unsafe { V::run(self) }
    }
}

impl Job for Part<'_> {
    #[inline(always)]
    unsafe fn work<V: Vector>(self) {
        let Self { from, outer_step, inner_step, outers, inners, places, depth, turned, to } = self;
        if inners < depth {
            to.fill(0.0);
        }
        let place_step = depth * V::LANES;
        if outer_step == 1 {
            for channel in 0..inners {
                // SAFETY: all is in `from` and `to`, by `Part::write`.
                unsafe {
                    let lanes = V::load_first(from.as_ptr().add(channel * inner_step), outers);
                    lanes.store(to.as_mut_ptr().add(channel * V::LANES));
                }
            }
            return;
        }
        // Matrices whose columns become vectors: of the places of a channel, or of channels that have one place each.
        let (matrices, columns, step) = if places == 1 { (1, inners, V::LANES) } else { (inners, places, place_step) };
        let turned = turned && places > 1;
        for channel in 0..matrices {
            for first in (0..columns).step_by(V::LANES) {
                let at = if turned { places - 1 - first } else { first };
                // SAFETY: as above.
                unsafe {
                    V::turn(Turn {
                        from: from.as_ptr().add(channel * inner_step + first),
                        from_pitch: outer_step,
                        rows: outers,
                        columns: V::LANES.min(columns - first),
                        to: to.as_mut_ptr().add(at * step + channel * V::LANES),
                        to_pitch: if turned { step.wrapping_neg() } else { step },
                        written: V::LANES,
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Spawned;
    use crate::vector::Width;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_weight_is_where_it_is_read(
            (m, c, places) in (1..40usize, 1..40usize, 1..26usize), both: bool, adjoint: bool, narrow: bool,
        ) {
            let block = if narrow { 8 } else { 16 };
            let layout = WeightLayout { block, both, adjoint };
            let w: Vec<f32> = (1..=m * c * places).map(|i| i as f32).collect();
            let [outer, inner] = layout.channels([m, c]);
            let mut expected = vec![0.0; outer * inner * places];
            for (o, i, k) in iproduct(outer, inner, places) {
                let (m_at, c_at) = if both && adjoint { (i, o) } else { (o, i) };
                if m_at < m && c_at < c {
                    let depth = if both { block } else { 1 };
                    let part = o / block * (inner / depth) + i / depth;
                    let at = ((part * places + k) * depth + i % depth) * block + o % block;
                    let from = if adjoint { places - 1 - k } else { k };
                    expected[at] = w[(m_at * c + c_at) * places + from];
                }
            }
            for width in Width::all().into_iter().filter(|width| width.lanes() == block) {
                let mut to = vec![-1.0; expected.len()];
                with_width!(width, V => lay_out::<V>(&w, [m, c, places], layout, &mut to, &Spawned(3)));
                prop_assert!(to == expected, "{width:?}: {to:?}, not {expected:?}");
            }
            let mut to = vec![-1.0; expected.len()];
            lay_out_weights(&w, [m, c, places], layout, &mut to, &Spawned(3)).unwrap();
            prop_assert_eq!(to, expected);
        }
    }

    fn iproduct(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..a * b * c).map(move |i| (i / (b * c), i / c % b, i % c))
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
