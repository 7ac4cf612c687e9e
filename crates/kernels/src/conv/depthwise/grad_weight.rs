//! The gradient of the weights, dw\[c, k\] = Σ over n, o of dy\[n, c, o\] · x\[n, c, o·stride − begin + k·dilation\].

use super::super::plane::{Plane, Region, pieces, strips};
use super::super::room::Room;
use super::super::tensor::{Gather, Place, Rectangle, Shared};
use super::super::tiles::{DepthOuter, OuterTap, Pitch};
use super::{FEW_REGIONS, Image, POSITIONS, Padded, TASKS, vectors};
use crate::threads::Threads;
use crate::vector::Vector;
use std::ops::Range;

pub(in super::super) struct GradWeight<'a> {
    pub plane: &'a Plane,
    pub x: &'a [f32],
    pub x_place: Place,
    pub dy: &'a [f32],
    pub dy_place: Place,
}

impl GradWeight<'_> {
    /// Writes dw, \[C, 1, kernel…\].
    pub fn run<V: Vector>(&self, dw: &mut [f32], threads: &dyn Threads) {
        let plane = self.plane;
        let vectors = vectors::<V>(plane.groups);
        // As many whatever the threads, so that sums are made in one order.
        let shares = TASKS.div_ceil(vectors.len()).min(plane.work() / (1 << 16)).clamp(1, plane.batch.max(1));
        let images: Vec<_> = pieces(plane.batch, plane.batch.div_ceil(shares)).collect();
        let room = plane.places() * V::LANES;
        let mut all = Room::zeros(room * vectors.len() * images.len());
        let sums = &Shared::new(&mut all);
        threads.run(vectors.len() * images.len(), &|task| {
            let (channels, images) = (&vectors[task / images.len()], images[task % images.len()].clone());
            // SAFETY: a task's own room.
            self.add::<V>(channels, images, unsafe { sums.part(task * room..(task + 1) * room) });
        });
        for (channels, sums) in vectors.iter().zip(all.chunks((room * images.len()).max(1))) {
            for (lane, channel) in channels.clone().enumerate() {
                for (place, dw) in dw[channel * plane.places()..][..plane.places()].iter_mut().enumerate() {
                    *dw = sums.chunks(room).map(|share| share[place * V::LANES + lane]).sum();
                }
            }
        }
        if images.is_empty() {
            dw.fill(0.0);
        }
    }

    fn add<V: Vector>(&self, channels: &Range<usize>, images: Range<usize>, sums: &mut [f32]) {
        let Plane { rows, columns, .. } = self.plane;
        let regions = [rows.regions(), columns.regions()];
        let in_place = self.x_place.has_vectors::<V>(channels.start) && self.dy_place.has_vectors::<V>(channels.start);
        if in_place && regions[0].len() * regions[1].len() <= FEW_REGIONS {
            return self.add_in_place::<V>(channels, images, &regions, sums);
        }
        let long = (columns.output - 1) * columns.stride + columns.reach();
        let mut x = Padded::new(-(columns.begin as isize), long);
        let tap = |row: usize, column: usize| OuterTap {
            x: (row * rows.dilation * long + column * columns.dilation) * V::LANES,
            sums: (row * columns.kernel + column) * V::LANES,
        };
        let taps: Vec<_> =
            (0..rows.kernel).flat_map(|row| (0..columns.kernel).map(move |column| tap(row, column))).collect();
        let mut gathered = Room::default();
        for image in images {
            for strip in strips(image..image + 1, rows.output, columns.output, POSITIONS, false) {
                let tall = (strip.rows.len() - 1) * rows.stride + rows.reach();
                let row = (strip.rows.start * rows.stride) as isize - rows.begin as isize;
                let sizes = [rows.input, columns.input];
                x.fill::<V>(&Image { all: self.x, place: self.x_place, image, sizes }, channels, row, tall);
                let positions = strip.rows.start * columns.output..strip.rows.end * columns.output;
                let y = if self.dy_place.has_vectors::<V>(channels.start) {
                    let at = image * self.dy_place.image() + self.dy_place.channel(channels.start);
                    &self.dy[at + positions.start * V::LANES..]
                } else {
                    let to = gathered.resize(positions.len() * V::LANES);
                    let (from, place) = (self.dy, self.dy_place);
                    let (channels, positions) = (channels.clone(), Rectangle::line(positions));
                    Gather { from, place, image, channels, positions, to, vector: 0, row: 0 }.run::<V>();
                    &gathered[..]
                };
                for some in pieces(taps.len(), V::SUMS) {
                    DepthOuter {
                        y,
                        y_pitch: Pitch { image: 0, row: columns.output * V::LANES, column: V::LANES },
                        x: &x.all,
                        x_pitch: Pitch {
                            image: 0,
                            row: rows.stride * long * V::LANES,
                            column: columns.stride * V::LANES,
                        },
                        counts: [1, strip.rows.len(), strip.columns.len()],
                        taps: &taps[some],
                        sums,
                    }
                    .run::<V>();
                }
            }
        }
    }

    /// The same for tensors that are vectors as they are, a region after the other: nothing is copied.
    fn add_in_place<V: Vector>(
        &self,
        channels: &Range<usize>,
        images: Range<usize>,
        [row_regions, column_regions]: &[Vec<Region>; 2],
        sums: &mut [f32],
    ) {
        let Plane { rows, columns, .. } = self.plane;
        let mut taps = Vec::new();
        for row_region in row_regions {
            for column_region in column_regions {
                let (row, column) = (row_region.places.start, column_region.places.start);
                taps.clear();
                for row_place in row_region.places.clone() {
                    taps.extend(column_region.places.clone().map(|column_place| OuterTap {
                        x: ((row_place - row) * rows.dilation * columns.input
                            + (column_place - column) * columns.dilation)
                            * V::LANES,
                        sums: (row_place * columns.kernel + column_place) * V::LANES,
                    }));
                }
                let (y_row, y_column) = (row_region.outputs.start, column_region.outputs.start);
                let y = (y_row * columns.output + y_column) * V::LANES;
                let x = (rows.input_of(y_row, row) * columns.input + columns.input_of(y_column, column)) * V::LANES;
                let start = |place: &Place| images.start * place.image() + place.channel(channels.start);
                for some in pieces(taps.len(), V::SUMS) {
                    DepthOuter {
                        y: &self.dy[start(&self.dy_place) + y..],
                        y_pitch: Pitch {
                            image: self.dy_place.image(),
                            row: columns.output * V::LANES,
                            column: V::LANES,
                        },
                        x: &self.x[start(&self.x_place) + x..],
                        x_pitch: Pitch {
                            image: self.x_place.image(),
                            row: rows.stride * columns.input * V::LANES,
                            column: columns.stride * V::LANES,
                        },
                        counts: [images.len(), row_region.outputs.len(), column_region.outputs.len()],
                        taps: &taps[some],
                        sums,
                    }
                    .run::<V>();
                }
            }
        }
    }
}
