//! The gradient of the weights, dw\[m, c, k\] = Σ over n, o of dy\[n, m, o\] · x\[n, c, o·stride − begin +
//! k·dilation\].

use super::super::plane::{Plane, Region, Strip, common, pieces, strips};
use super::super::room::Room;
use super::super::tensor::{Gather, Place, Rectangle, Shared};
use super::super::tiles::{Outer, OuterTap, Pitch};
use crate::threads::Threads;
use crate::vector::{Job, Turn, Vector};
use std::ops::Range;

/// Tasks to make of a gradient where its sizes allow: enough for many threads, and the same for any number of them, so
/// that sums are made in one order.
const TASKS: usize = 32;

/// Multiplications that are worth a task.
const WORTH: usize = 1 << 20;

/// Positions that are summed over at once: what they read stays in the second cache.
const POSITIONS: usize = 1024;

/// Places of the kernel, times channels of x, that a task has at most: its sums stay in the second cache.
const SUMS: usize = 1024;

/// Channels of x that a task has at most: what it reads of small images is in the second cache for the next task.
const CHANNELS: usize = 256;

/// A tile of dw: some channels of y, at most two vectors, and some of x, of one group.
struct Part {
    group: usize,
    outputs: Range<usize>,
    inputs: Range<usize>,
}

pub(in super::super) struct GradWeight<'a> {
    pub plane: &'a Plane,
    pub x: &'a [f32],
    pub x_place: Place,
    pub dy: &'a [f32],
    pub dy_place: Place,
}

impl GradWeight<'_> {
    /// Writes dw, \[M, C/group, kernel…\].
    pub fn run<V: Vector>(&self, dw: &mut [f32], threads: &dyn Threads) {
        let plane = self.plane;
        let tasks = (plane.work() / WORTH).clamp(1, TASKS);
        let mut parts = self.parts::<V>(SUMS);
        if parts.len() * plane.batch < tasks {
            parts = self.parts::<V>(SUMS / 4);
        }
        let shares = tasks.div_ceil(parts.len()).min(plane.batch).max(1);
        let images: Vec<_> = pieces(plane.batch, plane.batch.div_ceil(shares)).collect();
        let dw = &Shared::new(dw);
        if images.len() <= 1 {
            threads.run(parts.len(), &|part| {
                let part = &parts[part];
                let mut sums = Room::zeros(self.sums::<V>(part));
                self.add::<V>(part, 0..plane.batch, &mut sums);
                self.write::<V>(part, &sums, dw);
            });
            return;
        }
        // Each share of the images has sums of its own, which are added up in the order of the shares.
        let room = parts.iter().map(|part| self.sums::<V>(part)).max().unwrap_or(0);
        let mut all = Room::of(room * parts.len() * images.len());
        let sums = &Shared::new(&mut all);
        threads.run(parts.len() * images.len(), &|task| {
            let (part, share) = (&parts[task / images.len()], task % images.len());
            // SAFETY: a task's own room.
            let sums = unsafe { sums.part(task * room..task * room + self.sums::<V>(part)) };
            sums.fill(0.0);
            self.add::<V>(part, images[share].clone(), sums);
        });
        threads.run(parts.len(), &|part| {
            // SAFETY: a part's own rooms; the tasks that wrote them have ended.
            let sums = unsafe { sums.part(part * images.len() * room..(part + 1) * images.len() * room) };
            let (total, shares) = sums.split_at_mut(room);
            for share in shares.chunks(room) {
                total.iter_mut().zip(share).for_each(|(total, share)| *total += share);
            }
            self.write::<V>(&parts[part], total, dw);
        });
    }

    /// dw in parts of at most so many sums a vector.
    fn parts<V: Vector>(&self, sums: usize) -> Vec<Part> {
        let plane = self.plane;
        let mut parts = Vec::new();
        for group in 0..plane.groups {
            for inputs in pieces(plane.inputs, (sums / plane.places()).clamp(1, CHANNELS)) {
                for outputs in (0..plane.outputs).step_by(2 * V::LANES) {
                    let outputs = outputs..(outputs + 2 * V::LANES).min(plane.outputs);
                    parts.push(Part { group, outputs, inputs: inputs.clone() });
                }
            }
        }
        parts
    }

    /// How many sums a part has: for each channel of x, for each place of the kernel, the vectors of y's channels.
    fn sums<V: Vector>(&self, part: &Part) -> usize {
        part.inputs.len() * self.plane.places() * part.outputs.len().next_multiple_of(V::LANES)
    }

    /// Adds what some images contribute.
    fn add<V: Vector>(&self, part: &Part, images: Range<usize>, sums: &mut [f32]) {
        let plane = self.plane;
        let vectors = part.outputs.len().div_ceil(V::LANES);
        let first = part.group * plane.outputs + part.outputs.start;
        let mut gathered = Room::default();
        // With few channels of x a tile has place for several places of the kernel, and little of x is read.
        let few = plane.places() > 1 && part.inputs.len() * 2 <= Outer::most::<V>(vectors);
        let positions = if few { 3 * POSITIONS } else { POSITIONS };
        let regions = if few { self.regions(part, vectors * V::LANES) } else { Vec::new() };
        for strip in strips(images, plane.rows.output, plane.columns.output, positions, true) {
            let columns = plane.columns.output;
            let (y, y_pitch, y_vector);
            if self.dy_place.has_vectors::<V>(first) {
                let at = strip.images.start * self.dy_place.image() + self.dy_place.channel(first);
                y = &self.dy[at + (strip.rows.start * columns + strip.columns.start) * V::LANES..];
                y_vector = self.dy_place.positions * V::LANES;
                y_pitch = Pitch { image: self.dy_place.image(), row: columns * V::LANES, column: V::LANES };
            } else {
                let count = strip.positions() * V::LANES;
                let room = gathered.resize(count * vectors * strip.images.len());
                for (image, to) in strip.images.clone().zip(room.chunks_exact_mut(count * vectors)) {
                    let start = strip.rows.start * columns + strip.columns.start;
                    Gather {
                        from: self.dy,
                        place: self.dy_place,
                        image,
                        channels: first..first + part.outputs.len(),
                        positions: Rectangle::line(start..start + strip.positions()),
                        to,
                        vector: count,
                        row: 0,
                    }
                    .run::<V>();
                }
                y = &gathered[..];
                y_vector = count;
                y_pitch = Pitch { image: count * vectors, row: strip.columns.len() * V::LANES, column: V::LANES };
            }
            let products = Products { y, y_pitch, y_vector, vectors, strip };
            if few {
                self.add_few::<V>(part, products, &regions, sums);
            } else {
                self.add_many::<V>(part, products, sums);
            }
        }
    }

    /// Adds a strip's products, a place of the kernel after the other, for some channels of x at once.
    fn add_many<V: Vector>(&self, part: &Part, products: Products<'_>, sums: &mut [f32]) {
        let (Plane { rows, columns, inputs, .. }, place) = (self.plane, self.x_place);
        let Products { y, y_pitch, y_vector, vectors, strip } = products;
        let x_pitch = Pitch {
            image: place.image(),
            row: rows.stride * columns.input * place.position(),
            column: columns.stride * place.position(),
        };
        let wide = vectors * V::LANES;
        let mut taps = Vec::new();
        for channels in pieces(part.inputs.len(), Outer::most::<V>(vectors)) {
            let first = part.group * inputs + part.inputs.start + channels.start;
            taps.clear();
            taps.extend((0..channels.len()).map(|nth| OuterTap {
                x: place.channel(first + nth) - place.channel(first),
                sums: nth * self.plane.places() * wide,
            }));
            for row in 0..rows.kernel {
                let some_rows = common(&strip.rows, &rows.outputs(row));
                for column in 0..columns.kernel {
                    let some_columns = common(&strip.columns, &columns.outputs(column));
                    if some_rows.is_empty() || some_columns.is_empty() {
                        continue;
                    }
                    let (x_row, x_column) =
                        (rows.input_of(some_rows.start, row), columns.input_of(some_columns.start, column));
                    let position = (x_row * columns.input + x_column) * place.position();
                    let skipped = (some_rows.start - strip.rows.start) * y_pitch.row
                        + (some_columns.start - strip.columns.start) * y_pitch.column;
                    let sum = channels.start * self.plane.places() + row * columns.kernel + column;
                    Outer {
                        y: &y[skipped..],
                        y_pitch,
                        y_vector,
                        x: &self.x[strip.images.start * place.image() + place.channel(first) + position..],
                        x_pitch,
                        counts: [strip.images.len(), some_rows.len(), some_columns.len()],
                        taps: &taps,
                        sums: &mut sums[sum * wide..],
                    }
                    .run::<V>(vectors);
                }
            }
        }
    }

    /// The regions of y's positions, with a tap for each place of the kernel and channel of x.
    fn regions(&self, part: &Part, wide: usize) -> Vec<PartOfPlane> {
        let (Plane { rows, columns, inputs, .. }, place) = (self.plane, self.x_place);
        let first = part.group * inputs + part.inputs.start;
        let mut all = Vec::new();
        for row_region in rows.regions() {
            for column_region in columns.regions() {
                let (row, column) = (row_region.places.start, column_region.places.start);
                let mut taps = Vec::new();
                for channel in 0..part.inputs.len() {
                    for row_place in row_region.places.clone() {
                        taps.extend(column_region.places.clone().map(|column_place| {
                            let row_distance = (row_place - row) * rows.dilation * columns.input;
                            let distance = row_distance + (column_place - column) * columns.dilation;
                            let nth = channel * rows.kernel + row_place;
                            OuterTap {
                                x: place.channel(first + channel) - place.channel(first) + distance * place.position(),
                                sums: (nth * columns.kernel + column_place) * wide,
                            }
                        }));
                    }
                }
                all.push(PartOfPlane { rows: row_region.clone(), columns: column_region, taps });
            }
        }
        all
    }

    /// Adds a strip's products, a region after the other, for some places of the kernel and channels of x at once.
    fn add_few<V: Vector>(&self, part: &Part, products: Products<'_>, regions: &[PartOfPlane], sums: &mut [f32]) {
        let (Plane { rows, columns, inputs, .. }, place) = (self.plane, self.x_place);
        let Products { y, y_pitch, y_vector, vectors, strip } = products;
        let first = part.group * inputs + part.inputs.start;
        for region in regions {
            let some_rows = common(&strip.rows, &region.rows.outputs);
            let some_columns = common(&strip.columns, &region.columns.outputs);
            if some_rows.is_empty() || some_columns.is_empty() {
                continue;
            }
            let x_row = rows.input_of(some_rows.start, region.rows.places.start);
            let x_column = columns.input_of(some_columns.start, region.columns.places.start);
            let position = (x_row * columns.input + x_column) * place.position();
            let skipped = (some_rows.start - strip.rows.start) * y_pitch.row
                + (some_columns.start - strip.columns.start) * y_pitch.column;
            for some in pieces(region.taps.len(), Outer::most::<V>(vectors)) {
                Outer {
                    y: &y[skipped..],
                    y_pitch,
                    y_vector,
                    x: &self.x[strip.images.start * place.image() + place.channel(first) + position..],
                    x_pitch: Pitch {
                        image: place.image(),
                        row: rows.stride * columns.input * place.position(),
                        column: columns.stride * place.position(),
                    },
                    counts: [strip.images.len(), some_rows.len(), some_columns.len()],
                    taps: &region.taps[some],
                    sums,
                }
                .run::<V>(vectors);
            }
        }
    }

    /// Writes a part's sums into dw.
    fn write<V: Vector>(&self, part: &Part, sums: &[f32], dw: &Shared<'_>) {
        let plane = self.plane;
        let columns = plane.inputs * plane.places();
        let first = (part.group * plane.outputs + part.outputs.start) * columns + part.inputs.start * plane.places();
        let count = part.inputs.len() * plane.places();
        let wide = part.outputs.len().next_multiple_of(V::LANES);
        assert!(count * wide <= sums.len() && first + (part.outputs.len() - 1) * columns + count <= dw.len);
        // SAFETY: the assertion; parts of dw have no number in common, and each is written by one task; V was chosen
        // for the processor.
        unsafe { V::run(Write { sums, rows: count, outputs: part.outputs.len(), wide, dw: dw.at(first), columns }) }
    }
}

/// A region of y's rows and one of its columns, and the taps of both together.
struct PartOfPlane {
    rows: Region,
    columns: Region,
    taps: Vec<OuterTap>,
}

/// The vectors of y's channels that are summed over, in a strip of its positions.
struct Products<'a> {
    y: &'a [f32],
    y_pitch: Pitch,
    y_vector: usize,
    vectors: usize,
    strip: Strip,
}

/// Writes sums, a row of `wide` for each place and channel of x, as columns of dw.
struct Write<'a> {
    sums: &'a [f32],
    rows: usize,
    outputs: usize,
    wide: usize,
    dw: *mut f32,
    columns: usize,
}

impl Job for Write<'_> {
    #[inline(always)]
    unsafe fn work<V: Vector>(self) {
        for output in (0..self.outputs).step_by(V::LANES) {
            for row in (0..self.rows).step_by(V::LANES) {
                let rows = V::LANES.min(self.rows - row);
                // SAFETY: `GradWeight::write` has checked the last number of both.
                unsafe {
                    V::turn(Turn {
                        from: self.sums.as_ptr().add(row * self.wide + output),
                        from_pitch: self.wide,
                        rows,
                        columns: V::LANES.min(self.outputs - output),
                        to: self.dw.add(output * self.columns + row),
                        to_pitch: self.columns,
                        written: rows,
                    });
                }
            }
        }
    }
}
