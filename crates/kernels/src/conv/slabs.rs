//! Gradients of convolutions along their first axis: of volumes, and of what is out of all proportion.
//!
//! One place of the kernel on the first axis joins each slab of y, what is at one position of the axis, to a slab of x.
//! So it is a convolution over the other axes, with a pair of slabs for an image, and the whole is the sum of these.

use super::plane::Axis;
use super::room::Room;
use super::sizes::Conv;
use super::tensor::{Layout, Shared};
use super::{grad_input_with, grad_weight_with};
use crate::threads::Threads;
use crate::vector::Width;
use gnp_base::error::Result;
use std::ops::Range;

/// A tensor \[N, C, first axis, other axes…\] in a layout, by its slabs. None of its sizes is 0.
struct Slabs {
    batch: usize,
    /// Channels, or blocks of them.
    channels: usize,
    /// Positions of the first axis.
    count: usize,
    /// The numbers that a channel, or a block of them, has in a slab.
    len: usize,
}

impl Slabs {
    fn of(plain: &[usize], layout: Layout) -> Self {
        let shape = layout.shape(plain);
        Self { batch: shape[0], channels: shape[1], count: shape[2], len: shape[3..].iter().product() }
    }

    /// The numbers in `slabs` slabs of all images.
    fn total(&self, slabs: usize) -> usize {
        self.batch * slabs * self.channels * self.len
    }

    /// Where a channel of an image has its slab at `position`.
    fn at(&self, image: usize, channel: usize, position: usize) -> Range<usize> {
        let start = ((image * self.channels + channel) * self.count + position) * self.len;
        start..start + self.len
    }

    /// The slabs that `position` names, of all images, each an image by itself.
    fn take(
        &self,
        from: &[f32],
        slabs: usize,
        position: impl Fn(usize) -> usize + Sync,
        threads: &dyn Threads,
    ) -> Room {
        let mut room = Room::of(self.total(slabs));
        let to = &Shared::new(&mut room);
        let size = self.channels * self.len;
        threads.run(self.batch * slabs, &|task| {
            let (image, slab) = (task / slabs, task % slabs);
            // SAFETY: a task's own part.
            let to = unsafe { to.part(task * size..(task + 1) * size) };
            for (channel, to) in to.chunks_exact_mut(self.len).enumerate() {
                to.copy_from_slice(&from[self.at(image, channel, position(slab))]);
            }
        });
        room
    }

    /// Adds slabs, as `take` makes them, to those that `position` names, each another one.
    fn add(&self, to: &mut [f32], slabs: &[f32], position: impl Fn(usize) -> usize + Sync, threads: &dyn Threads) {
        let to = &Shared::new(to);
        let size = self.channels * self.len;
        let count = slabs.len() / (self.batch * size);
        threads.run(self.batch * count, &|task| {
            let (image, slab) = (task / count, task % count);
            let from = &slabs[task * size..(task + 1) * size];
            for (channel, from) in from.chunks_exact(self.len).enumerate() {
                // SAFETY: slabs of other tasks are of other images, or at other positions.
                let to = unsafe { to.part(self.at(image, channel, position(slab))) };
                to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
            }
        });
    }
}

/// The places of the kernel on an axis that join any positions, each with those of y.
fn joining(axis: &Axis) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
    (0..axis.kernel).map(|place| (place, axis.outputs(place))).filter(|(_, outputs)| !outputs.is_empty())
}

/// Writes dw.
///
/// # Errors
///
/// Those of the convolutions over the other axes.
pub(super) fn grad_weight(
    width: Width,
    conv: &Conv,
    (x, x_layout): (&[f32], Layout),
    (dy, dy_layout): (&[f32], Layout),
    dw: &mut [f32],
    threads: &dyn Threads,
) -> Result<()> {
    let axis = conv.axes()[0];
    let (xs, ys) = (Slabs::of(&conv.x(), x_layout), Slabs::of(&conv.y(), dy_layout));
    let places: usize = conv.w()[3..].iter().product();
    dw.fill(0.0);
    for (place, outputs) in joining(&axis) {
        let over_rest = conv.over_rest(outputs.len());
        let x = xs.take(x, outputs.len(), |slab| axis.input_of(outputs.start + slab, place), threads);
        let dy = ys.take(dy, outputs.len(), |slab| outputs.start + slab, threads);
        let mut made = Room::of(over_rest.w().iter().product());
        grad_weight_with(width, &over_rest, (&x, x_layout), (&dy, dy_layout), &mut made, threads)?;
        let of_place = dw.chunks_exact_mut(places).skip(place).step_by(axis.kernel);
        of_place.zip(made.chunks_exact(places)).for_each(|(dw, made)| dw.copy_from_slice(made));
    }
    Ok(())
}

/// Writes dx.
///
/// # Errors
///
/// Those of the convolutions over the other axes.
pub(super) fn grad_input(
    width: Width,
    conv: &Conv,
    (dy, dy_layout): (&[f32], Layout),
    w: &[f32],
    (dx, dx_layout): (&mut [f32], Layout),
    threads: &dyn Threads,
) -> Result<()> {
    let axis = conv.axes()[0];
    let (xs, ys) = (Slabs::of(&conv.x(), dx_layout), Slabs::of(&conv.y(), dy_layout));
    let places: usize = conv.w()[3..].iter().product();
    dx.fill(0.0);
    for (place, outputs) in joining(&axis) {
        let over_rest = conv.over_rest(outputs.len());
        let dy = ys.take(dy, outputs.len(), |slab| outputs.start + slab, threads);
        let mut of_place = Room::of(over_rest.w().iter().product());
        let from = w.chunks_exact(places).skip(place).step_by(axis.kernel);
        of_place.chunks_exact_mut(places).zip(from).for_each(|(to, from)| to.copy_from_slice(from));
        let mut made = Room::of(xs.total(outputs.len()));
        grad_input_with(width, &over_rest, (&dy, dy_layout), &of_place, (&mut made, dx_layout), threads)?;
        xs.add(dx, &made, |slab| axis.input_of(outputs.start + slab, place), threads);
    }
    Ok(())
}
