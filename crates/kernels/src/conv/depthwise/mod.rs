//! Gradients of a convolution of each channel by itself: vectors of channels, multiplied lane by lane.

mod grad_input;
mod grad_weight;

pub(super) use grad_input::GradInput;
pub(super) use grad_weight::GradWeight;

use super::room::Room;
use super::tensor::{Gather, Place, Rectangle};
use crate::vector::Vector;
use std::ops::Range;

/// Positions at once: what they read stays in the first caches.
const POSITIONS: usize = 1024;

/// Tasks to make of a gradient where its sizes allow, whatever the threads.
const TASKS: usize = 32;

/// With more regions than these, a copy of x with its padding costs less than to begin with each.
const FEW_REGIONS: usize = 9;

/// Some rows of an image's channels, a vector of them, with columns of zeros on both sides.
struct Padded {
    all: Room,
    /// The first column that it has, on the image's axis.
    column: isize,
    /// How many columns.
    long: usize,
}

impl Padded {
    /// Room for rows with so many columns, from `column` on.
    fn new(column: isize, long: usize) -> Self {
        Self { all: Room::default(), column, long }
    }

    /// Makes it `count` rows from `row` on, of some channels of an image of these sizes. Rows beyond are zeros.
    fn fill<V: Vector>(&mut self, from: &Image<'_>, channels: &Range<usize>, row: isize, count: usize) {
        let (Self { all, column, long }, [rows, columns]) = (self, from.sizes);
        let size = count * *long * V::LANES;
        let all = all.resize(size);
        // What of the image lies in it.
        let within = |start: isize, count: usize, size: usize| {
            let end = (start + count as isize).clamp(0, size as isize).unsigned_abs();
            start.clamp(0, end as isize).unsigned_abs()..end
        };
        let (some_rows, some_columns) = (within(row, count, rows), within(*column, *long, columns));
        let row_size = *long * V::LANES;
        let before = (some_rows.start as isize - row).unsigned_abs().min(count) * row_size;
        let after = before + some_rows.len() * row_size;
        all[..before].fill(0.0);
        all[after..].fill(0.0);
        let left = (some_columns.start as isize - *column).unsigned_abs().min(*long) * V::LANES;
        for row in all[before..after].chunks_exact_mut(row_size.max(1)) {
            row[..left].fill(0.0);
            row[left + some_columns.len() * V::LANES..].fill(0.0);
        }
        if !some_columns.is_empty() {
            Gather {
                from: from.all,
                place: from.place,
                image: from.image,
                channels: channels.clone(),
                positions: Rectangle {
                    start: some_rows.start * columns + some_columns.start,
                    rows: some_rows.len(),
                    columns: some_columns.len(),
                    pitch: columns,
                },
                to: &mut all[before + left..],
                vector: 0,
                row: row_size,
            }
            .run::<V>();
        }
    }
}

/// An image of a tensor.
struct Image<'a> {
    all: &'a [f32],
    place: Place,
    image: usize,
    /// Rows and columns.
    sizes: [usize; 2],
}

/// The channels of each vector.
fn vectors<V: Vector>(channels: usize) -> Vec<Range<usize>> {
    (0..channels).step_by(V::LANES).map(|first| first..(first + V::LANES).min(channels)).collect()
}
