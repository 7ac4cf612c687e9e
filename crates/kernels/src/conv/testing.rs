//! Convolutions for tests.

use super::Window;
use proptest::prelude::*;

/// The attributes of a node.
#[derive(Clone, Debug)]
pub(crate) struct Attributes {
    pub(crate) kernel: Vec<i64>,
    pub(crate) strides: Vec<i64>,
    pub(crate) dilations: Vec<i64>,
    pub(crate) pads: Vec<i64>,
    pub(crate) group: i64,
}

impl Attributes {
    pub(crate) fn window(&self) -> Window {
        Window::new(&self.kernel, &self.strides, &self.dilations, &self.pads, self.group).unwrap()
    }
}

/// Numbers between -1 and 1 that are the same in each run.
pub(crate) fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Convolutions over `axes` axes: attributes, the shape of x, channels of y.
pub(crate) fn convolutions(axes: usize) -> impl Strategy<Value = (Attributes, Vec<usize>, usize)> {
    let each = move |range: std::ops::RangeInclusive<i64>| prop::collection::vec(range, axes..=axes);
    let channels = prop_oneof![Just((1, 1)), (1_usize..40, 1_usize..40), Just((16, 32)), Just((3, 16))];
    let group = prop_oneof![3 => Just(1), 1 => 1_usize..6, 2 => 17_usize..20];
    (
        (each(1..=4), each(1..=3), each(1..=2), prop::collection::vec(0_i64..=3, 2 * axes..=2 * axes)),
        (group, channels, 0_usize..4, prop::collection::vec(0_usize..14, axes..=axes)),
    )
        .prop_map(move |((kernel, strides, dilations, pads), (group, (inputs, outputs), batch, input))| {
            // No more work than a naive sum in a test build can do.
            let (inputs, outputs) = if group > 1 { (1 + inputs % 3, 1 + outputs % 3) } else { (inputs, outputs) };
            let input = input.into_iter().map(|size| if axes > 2 { size % 5 } else { size });
            let x = [batch, group * inputs].into_iter().chain(input).collect();
            (Attributes { kernel, strides, dilations, pads, group: group as i64 }, x, group * outputs)
        })
}
