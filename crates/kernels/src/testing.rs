//! What the tests of kernels share.

use crate::elementwise::Operand;
use crate::threads::Threads;
use proptest::prelude::*;

/// Threads of its own, so many.
pub(crate) struct Spawned(pub(crate) usize);

impl Threads for Spawned {
    fn count(&self) -> usize {
        self.0
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            for thread in 0..self.0 {
                // The last tasks first: no result may depend on their order.
                scope.spawn(move || (0..tasks).rev().skip(thread).step_by(self.0).for_each(task));
            }
        });
    }
}

pub(crate) fn operands_of<'a>(data: &'a [Vec<f32>], shapes: &'a [Vec<usize>]) -> Vec<Operand<'a>> {
    data.iter().zip(shapes).map(|(data, shape)| Operand { floats: data[..].into(), shape }).collect()
}

/// Where the element that has this number among `sizes` is in an operand of `shape`, which broadcasts to them.
pub(crate) fn at(mut number: usize, sizes: &[usize], shape: &[usize]) -> usize {
    let (mut place, mut stride) = (0, 1);
    for (axis, size) in sizes.iter().enumerate().rev() {
        if let Some(own) = (axis + shape.len()).checked_sub(sizes.len()) {
            place += number % size % shape[own] * stride;
            stride *= shape[own];
        }
        number /= size;
    }
    place
}

/// Sizes of up to five axes, and so many shapes that broadcast to them, the first of all of them.
pub(crate) fn shapes_to(count: usize) -> impl Strategy<Value = (Vec<usize>, Vec<Vec<usize>>)> {
    let size = prop_oneof![4 => 1..9usize, 1 => 15..18usize, 1 => 40..140usize];
    let sizes =
        prop::collection::vec(size, 0..6).prop_filter("too large", |sizes| sizes.iter().product::<usize>() < 40_000);
    let long = (1000..5000usize, 1..4usize).prop_map(|(long, short)| vec![short, long]);
    let masks = prop::collection::vec((any::<u8>(), 0..6usize), count - 1);
    (prop_oneof![4 => sizes, 1 => long], masks).prop_map(|(sizes, masks)| {
        let shape = |(mask, skip): (u8, usize)| {
            let kept = |(axis, size): (usize, &usize)| if mask >> axis & 1 == 1 { *size } else { 1 };
            sizes.iter().enumerate().map(kept).skip(skip.min(sizes.len())).collect()
        };
        let shapes = std::iter::once(sizes.clone()).chain(masks.into_iter().map(shape)).collect();
        (sizes, shapes)
    })
}
