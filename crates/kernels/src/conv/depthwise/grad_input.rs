//! The gradient of the input, dx\[n, c, i\] = Σ over k of w\[c, k\] · dy\[n, c, (i + begin − k·dilation) / stride\],
//! where that divides.

use super::super::plane::{Plane, ReadRegion, common, pieces, reading, strips};
use super::super::room::Room;
use super::super::tensor::{Place, Scatter, Shared};
use super::super::tiles::{DepthInner, InnerTap, Pitch};
use super::{FEW_REGIONS, Image, POSITIONS, Padded, TASKS, vectors};
use crate::threads::Threads;
use crate::vector::Vector;
use std::ops::Range;

pub(in super::super) struct GradInput<'a> {
    pub plane: &'a Plane,
    pub dy: &'a [f32],
    pub dy_place: Place,
    pub w: &'a [f32],
    pub dx_place: Place,
}

/// How positions of dx are made, for all channels alike.
struct Plan {
    /// The columns of y that are copied, with zeros beyond its ends: the first, and how many. None where y is read
    /// where it is.
    padded: Option<(isize, usize)>,
    parts: Vec<Part>,
}

/// Positions of dx of one class that the same places of the kernel read.
struct Part {
    /// Their rows and columns, modulo the stride.
    classes: [usize; 2],
    rows: Range<usize>,
    columns: Range<usize>,
    /// From the row of dx, as its j, to the first of y that is read.
    distance: isize,
    taps: Vec<InnerTap>,
}

impl Plan {
    fn new<V: Vector>(plane: &Plane, direct: bool) -> Self {
        let Plane { rows, columns, .. } = plane;
        let row_regions = rows.read_regions();
        let mut column_regions = columns.read_regions();
        let count = |regions: &[Vec<ReadRegion>]| regions.iter().map(Vec::len).max().unwrap_or(0);
        let direct = direct && count(&row_regions) * count(&column_regions) <= FEW_REGIONS;
        let padded = (!direct).then(|| {
            // With zeros beyond the ends of y's rows, all columns have all neighbours.
            for (class, regions) in column_regions.iter_mut().enumerate() {
                let readers = columns.readers(class).collect();
                *regions = vec![ReadRegion { inputs: 0..columns.inputs_of(class), readers }];
            }
            let reach = column_regions.iter().flatten().flat_map(|region| {
                let count = region.inputs.len() as isize;
                region.readers.iter().map(move |reader| reader.distance..reader.distance + count)
            });
            let reach = reach.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..1);
            (reach.start, reach.len())
        });
        let (first_column, long) = padded.unwrap_or((0, columns.output));
        let mut parts = Vec::new();
        for (row_class, row_regions) in row_regions.iter().enumerate() {
            for (column_class, column_regions) in column_regions.iter().enumerate() {
                for row_region in row_regions {
                    let distance = row_region.readers.iter().map(|reader| reader.distance).min().unwrap_or(0);
                    for column_region in column_regions {
                        let column = column_region.inputs.start as isize - first_column;
                        let mut taps = Vec::new();
                        for reader in &row_region.readers {
                            let row = (reader.distance - distance).unsigned_abs();
                            let place = reader.place * columns.kernel;
                            taps.extend(column_region.readers.iter().map(|reader| InnerTap {
                                y: (row * long + (column + reader.distance).unsigned_abs()) * V::LANES,
                                w: (place + reader.place) * V::LANES,
                            }));
                        }
                        let (rows, columns) = (row_region.inputs.clone(), column_region.inputs.clone());
                        parts.push(Part { classes: [row_class, column_class], rows, columns, distance, taps });
                    }
                }
            }
        }
        Self { padded, parts }
    }
}

impl GradInput<'_> {
    /// Writes dx.
    pub fn run<V: Vector>(&self, dx: &mut [f32], threads: &dyn Threads) {
        let plane = self.plane;
        let plan = Plan::new::<V>(plane, self.dy_place.has_vectors::<V>(0));
        let vectors = vectors::<V>(plane.groups);
        let shares = TASKS.div_ceil(vectors.len()).min(plane.batch);
        let images: Vec<_> = pieces(plane.batch, plane.batch.div_ceil(shares)).collect();
        let dx = &Shared::new(dx);
        threads.run(images.len() * vectors.len(), &|task| {
            let (images, channels) = (images[task / vectors.len()].clone(), &vectors[task % vectors.len()]);
            // SAFETY: each task has channels of images of its own.
            unsafe { self.make::<V>(&plan, images, channels, dx) };
        });
    }

    /// # Safety
    ///
    /// No other task has these channels of dx.
    unsafe fn make<V: Vector>(&self, plan: &Plan, images: Range<usize>, channels: &Range<usize>, dx: &Shared<'_>) {
        let Plane { rows, columns, .. } = self.plane;
        let places = self.plane.places();
        let mut w = Room::zeros(places * V::LANES);
        for (lane, w_of) in self.w[channels.start * places..channels.end * places].chunks(places).enumerate() {
            w[lane..].iter_mut().step_by(V::LANES).zip(w_of).for_each(|(to, from)| *to = *from);
        }
        let in_place = self.dx_place.has_vectors::<V>(channels.start);
        let (mut made, mut y) = (Room::default(), plan.padded.map(|(column, long)| Padded::new(column, long)));
        let long = y.as_ref().map_or(columns.output, |y| y.long);
        let strips = images.flat_map(|image| strips(image..image + 1, rows.input, columns.input, POSITIONS, false));
        for strip in strips {
            let image = strip.images.start;
            let read = reading(rows, &strip.rows);
            let from = match &mut y {
                None => {
                    let start = image * self.dy_place.image() + self.dy_place.channel(channels.start);
                    &self.dy[start + read.start * columns.output * V::LANES..]
                }
                Some(y) => {
                    let sizes = [rows.output, columns.output];
                    let of_y = Image { all: self.dy, place: self.dy_place, image, sizes };
                    y.fill::<V>(&of_y, channels, read.start as isize, read.len());
                    &y.all[..]
                }
            };
            let first = strip.rows.start * columns.input;
            let x = if in_place {
                let at = image * self.dx_place.image() + self.dx_place.channel(channels.start);
                assert!(at + (first + strip.positions()) * V::LANES <= dx.len);
                // SAFETY: the assertion.
                unsafe { dx.at(at + first * V::LANES) }
            } else {
                made.resize(strip.positions() * V::LANES).as_mut_ptr()
            };
            for part in &plan.parts {
                let [row_class, column_class] = part.classes;
                let js = common(&part.rows, &rows.of_class(row_class, &strip.rows));
                if js.is_empty() {
                    continue;
                }
                let read =
                    if part.taps.is_empty() { 0 } else { js.start.wrapping_add_signed(part.distance) - read.start };
                let row = js.start * rows.stride + row_class - strip.rows.start;
                let column = part.columns.start * columns.stride + column_class;
                let inner = DepthInner {
                    y: &from[read * long * V::LANES..],
                    y_row: long * V::LANES,
                    taps: &part.taps,
                    w: &w,
                    x: x.wrapping_add((row * columns.input + column) * V::LANES),
                    x_pitch: Pitch {
                        image: 0,
                        row: rows.stride * columns.input * V::LANES,
                        column: columns.stride * V::LANES,
                    },
                    rows: js.len(),
                    columns: part.columns.len(),
                };
                // SAFETY: positions of the strip, of dx or of `made`.
                unsafe { inner.run::<V>() };
            }
            if in_place && channels.len() < V::LANES {
                // SAFETY: this task's channels, and the lanes beyond, which are no channel's.
                let vectors = unsafe { std::slice::from_raw_parts_mut(x, strip.positions() * V::LANES) };
                vectors.chunks_exact_mut(V::LANES).for_each(|vector| vector[channels.len()..].fill(0.0));
            }
            if !in_place {
                let positions = first..first + strip.positions();
                let (to, place, channels) = (dx, self.dx_place, channels.clone());
                // SAFETY: this task's channels.
                unsafe { Scatter { from: &made, vector: 0, to, place, image, channels, positions }.run::<V>() };
            }
        }
    }
}
