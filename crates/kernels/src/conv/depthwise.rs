//! Gradients of a convolution of each channel by itself: vectors of channels, multiplied lane by lane.

use super::grad_input::reading;
use super::plane::{Plane, ReadRegion, Region, common, pieces, strips};
use super::room::Room;
use super::tensor::{Gather, Place, Rectangle, Scatter, Shared};
use super::tiles::{DepthInner, DepthOuter, InnerTap, OuterTap, Pitch};
use super::vector::Vector;
use crate::threads::Threads;
use std::ops::Range;

/// Positions at once: what they read stays in the first caches.
const POSITIONS: usize = 1024;

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
                to: &mut all[before + (some_columns.start as isize - *column).unsigned_abs() * V::LANES..],
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

pub(super) struct GradWeight<'a> {
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
        let shares = 32_usize.div_ceil(vectors.len()).min(plane.work() / (1 << 16)).clamp(1, plane.batch.max(1));
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

pub(super) struct GradInput<'a> {
    pub plane: &'a Plane,
    pub dy: &'a [f32],
    pub dy_place: Place,
    pub w: &'a [f32],
    pub dx_place: Place,
}

impl GradInput<'_> {
    /// Writes dx.
    pub fn run<V: Vector>(&self, dx: &mut [f32], threads: &dyn Threads) {
        let plane = self.plane;
        let vectors = vectors::<V>(plane.groups);
        let dx = &Shared::new(dx);
        let shares = 64_usize.div_ceil(vectors.len()).min(plane.batch);
        let images: Vec<_> = pieces(plane.batch, plane.batch.div_ceil(shares)).collect();
        threads.run(images.len() * vectors.len(), &|task| {
            let (images, channels) = (images[task / vectors.len()].clone(), &vectors[task % vectors.len()]);
            // SAFETY: each task has channels of images of its own.
            unsafe { self.make::<V>(images, channels, dx) };
        });
    }

    /// # Safety
    ///
    /// No other task has these channels of dx.
    unsafe fn make<V: Vector>(&self, images: Range<usize>, channels: &Range<usize>, dx: &Shared<'_>) {
        let Plane { rows, columns, .. } = self.plane;
        let places = self.plane.places();
        let mut w = Room::zeros(places * V::LANES);
        for (lane, w_of) in self.w[channels.start * places..channels.end * places].chunks(places).enumerate() {
            w[lane..].iter_mut().step_by(V::LANES).zip(w_of).for_each(|(to, from)| *to = *from);
        }
        let row_regions: Vec<_> = (0..rows.stride.min(rows.input)).map(|class| rows.read_regions(class)).collect();
        let mut column_regions: Vec<_> =
            (0..columns.stride.min(columns.input)).map(|class| columns.read_regions(class)).collect();
        let count = |regions: &[Vec<ReadRegion>]| regions.iter().map(Vec::len).max().unwrap_or(0);
        let direct = self.dy_place.has_vectors::<V>(channels.start)
            && count(&row_regions) * count(&column_regions) <= FEW_REGIONS;
        let mut y = Padded::new(0, 0);
        if !direct {
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
            y = Padded::new(reach.start, (reach.end - reach.start).unsigned_abs());
        }
        let in_place = self.dx_place.has_vectors::<V>(channels.start)
            && (channels.len() == V::LANES || self.dy_place.block.is_none());
        let (mut made, mut taps) = (Room::default(), Vec::new());
        let strips = images.flat_map(|image| strips(image..image + 1, rows.input, columns.input, POSITIONS, false));
        for strip in strips {
            let image = strip.images.start;
            let read = reading(rows, &strip.rows);
            // Rows of y, how many columns they have, and which is the first.
            let (from, long, first_column) = if direct {
                let start = image * self.dy_place.image() + self.dy_place.channel(channels.start);
                (&self.dy[start + read.start * columns.output * V::LANES..], columns.output, 0)
            } else {
                let sizes = [rows.output, columns.output];
                let of_y = Image { all: self.dy, place: self.dy_place, image, sizes };
                y.fill::<V>(&of_y, channels, read.start as isize, read.len());
                (&y.all[..], y.long, y.column)
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
            for (row_class, column_class, row_region, column_region) in all(&row_regions, &column_regions) {
                let js = common(&row_region.inputs, &rows.of_class(row_class, &strip.rows));
                if js.is_empty() {
                    continue;
                }
                taps.clear();
                for reader in &row_region.readers {
                    let row = js.start.wrapping_add_signed(reader.distance) - read.start;
                    let place = reader.place * columns.kernel;
                    taps.extend(column_region.readers.iter().map(|reader| {
                        let column =
                            (column_region.inputs.start as isize + reader.distance - first_column).unsigned_abs();
                        InnerTap { y: (row * long + column) * V::LANES, w: (place + reader.place) * V::LANES }
                    }));
                }
                let row = js.start * rows.stride + row_class - strip.rows.start;
                let column = column_region.inputs.start * columns.stride + column_class;
                let inner = DepthInner {
                    y: from,
                    y_row: long * V::LANES,
                    taps: &taps,
                    w: &w,
                    x: x.wrapping_add((row * columns.input + column) * V::LANES),
                    x_pitch: Pitch {
                        image: 0,
                        row: rows.stride * columns.input * V::LANES,
                        column: columns.stride * V::LANES,
                    },
                    rows: js.len(),
                    columns: column_region.inputs.len(),
                };
                // SAFETY: positions of the strip, of dx or of `made`.
                unsafe { inner.run::<V>() };
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

/// All pairs of regions, with their classes.
fn all<'a>(
    rows: &'a [Vec<ReadRegion>],
    columns: &'a [Vec<ReadRegion>],
) -> impl Iterator<Item = (usize, usize, &'a ReadRegion, &'a ReadRegion)> {
    rows.iter().enumerate().flat_map(move |(row_class, rows)| {
        columns.iter().enumerate().flat_map(move |(column_class, columns)| {
            rows.iter().flat_map(move |row| columns.iter().map(move |column| (row_class, column_class, row, column)))
        })
    })
}
