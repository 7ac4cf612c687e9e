//! Gradients of a convolution of each channel by itself: vectors of channels, multiplied lane by lane.

use super::grad_input::reading;
use super::plane::{Axis, Plane, pieces, strips};
use super::tensor::{Gather, Place, Scatter, Shared};
use super::tiles::{DepthInner, DepthOuter, Pitch, Tap};
use super::vector::Vector;
use crate::threads::Threads;
use std::ops::Range;

/// Positions at once: what they read stays in the first cache.
const POSITIONS: usize = 192;

/// Some rows of an image's channels, a vector of them, with columns of zeros on both sides.
struct Padded {
    all: Vec<f32>,
    /// The first row and column that it has, on the image's axes.
    row: isize,
    column: isize,
    /// How many columns.
    long: usize,
}

impl Padded {
    /// Room for rows with so many columns, from `column` on.
    fn new(column: isize, long: usize) -> Self {
        Self { all: Vec::new(), row: 0, column, long }
    }

    /// Makes it the rows from `row` on, `count` of them, of some channels. `columns` are the image's, `rows` too.
    #[expect(clippy::too_many_arguments, reason = "where the numbers come from, and which they are")]
    fn fill<V: Vector>(
        &mut self,
        from: &[f32],
        place: Place,
        image: usize,
        channels: &Range<usize>,
        row: isize,
        count: usize,
        [rows, columns]: [usize; 2],
    ) {
        let size = count * self.long * V::LANES;
        if self.all.len() != size {
            self.all.clear();
            self.all.resize(size, 0.0);
        }
        self.row = row;
        // The image's columns that lie in it.
        let first = self.column.max(0).unsigned_abs().min(columns);
        let end = (self.column + self.long as isize).clamp(0, columns as isize).unsigned_abs().max(first);
        let at = (first as isize - self.column).unsigned_abs() * V::LANES;
        for (nth, to) in self.all.chunks_exact_mut(self.long * V::LANES).enumerate() {
            let row = row + nth as isize;
            if !(0..rows as isize).contains(&row) {
                to.fill(0.0);
                continue;
            }
            let start = row.unsigned_abs() * columns;
            Gather {
                from,
                place,
                image,
                channels: channels.clone(),
                positions: start + first..start + end,
                to: &mut to[at.min(self.long * V::LANES)..],
                vector: 0,
            }
            .run::<V>();
        }
    }
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
        let mut all = vec![0.0; room * vectors.len() * images.len()];
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
        let long = (columns.output - 1) * columns.stride + columns.reach();
        let mut x = Padded::new(-(columns.begin as isize), long);
        let place = |row: usize, column: usize| (row * rows.dilation * long + column * columns.dilation) * V::LANES;
        let taps: Vec<_> =
            (0..rows.kernel).flat_map(|row| (0..columns.kernel).map(move |column| place(row, column))).collect();
        let mut gathered = Vec::new();
        for image in images {
            for strip in strips(image..image + 1, rows.output, columns.output, POSITIONS, false) {
                let tall = (strip.rows.len() - 1) * rows.stride + rows.reach();
                let row = (strip.rows.start * rows.stride) as isize - rows.begin as isize;
                x.fill::<V>(self.x, self.x_place, image, channels, row, tall, [rows.input, columns.input]);
                let positions = strip.rows.start * columns.output..strip.rows.end * columns.output;
                let y = if self.dy_place.has_vectors::<V>(channels.start) {
                    let at = image * self.dy_place.image() + self.dy_place.channel(channels.start);
                    &self.dy[at + positions.start * V::LANES..]
                } else {
                    gathered.resize(positions.len() * V::LANES, 0.0);
                    let (from, place, to) = (self.dy, self.dy_place, &mut gathered[..]);
                    Gather { from, place, image, channels: channels.clone(), positions, to, vector: 0 }.run::<V>();
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
                        taps: &taps[some.clone()],
                        sums: &mut sums[some.start * V::LANES..],
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

/// For each class of positions modulo the stride, the kernel's places that reach it, and how far y lies.
fn readers(axis: &Axis) -> Vec<Vec<(usize, isize)>> {
    (0..axis.stride).map(|class| axis.readers(class).collect()).collect()
}

impl GradInput<'_> {
    /// Writes dx.
    pub fn run<V: Vector>(&self, dx: &mut [f32], threads: &dyn Threads) {
        let plane = self.plane;
        let vectors = vectors::<V>(plane.groups);
        let dx = &Shared::new(dx);
        threads.run(plane.batch * vectors.len(), &|task| {
            let (image, channels) = (task / vectors.len(), &vectors[task % vectors.len()]);
            // SAFETY: each task has channels of an image of its own.
            unsafe { self.make::<V>(image, channels, dx) };
        });
    }

    /// # Safety
    ///
    /// No other task has these channels of dx.
    unsafe fn make<V: Vector>(&self, image: usize, channels: &Range<usize>, dx: &Shared<'_>) {
        let Plane { rows, columns, .. } = self.plane;
        let places = self.plane.places();
        let mut w = vec![0.0; places * V::LANES];
        for (lane, w_of) in self.w[channels.start * places..channels.end * places].chunks(places).enumerate() {
            w[lane..].iter_mut().step_by(V::LANES).zip(w_of).for_each(|(to, from)| *to = *from);
        }
        let (row_readers, column_readers) = (readers(rows), readers(columns));
        // The columns of y that are read, those beyond its ends too.
        let reach = column_readers.iter().enumerate().flat_map(|(class, readers)| {
            let count = columns.inputs_of(class) as isize;
            readers.iter().filter(move |_| count > 0).map(move |&(_, distance)| distance..distance + count)
        });
        let reach = reach.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..1);
        let mut y = Padded::new(reach.start, (reach.end - reach.start).unsigned_abs());
        let in_place = self.dx_place.has_vectors::<V>(channels.start);
        let (mut made, mut taps) = (Vec::new(), Vec::new());
        for strip in strips(image..image + 1, rows.input, columns.input, POSITIONS, false) {
            let read = reading(rows, &strip.rows);
            let (row, count) = (read.start as isize, read.len());
            y.fill::<V>(self.dy, self.dy_place, image, channels, row, count, [rows.output, columns.output]);
            let first = strip.rows.start * columns.input;
            let x = if in_place {
                let at = image * self.dx_place.image() + self.dx_place.channel(channels.start);
                assert!(at + (first + strip.positions()) * V::LANES <= dx.len);
                // SAFETY: the assertion.
                unsafe { dx.at(at + first * V::LANES) }
            } else {
                made.resize(strip.positions() * V::LANES, 0.0);
                made.as_mut_ptr()
            };
            for row in strip.rows.clone() {
                for (class, readers) in column_readers.iter().enumerate().take(columns.input) {
                    let x_start = ((row - strip.rows.start) * columns.input + class) * V::LANES;
                    taps.clear();
                    for &(row_place, distance) in &row_readers[row % rows.stride] {
                        let Some(from) = (row / rows.stride).checked_add_signed(distance) else { continue };
                        if !read.contains(&from) {
                            continue;
                        }
                        taps.extend(readers.iter().map(|&(place, distance)| Tap {
                            y: ((from - read.start) * y.long + (distance - y.column).unsigned_abs()) * V::LANES,
                            w: (row_place * columns.kernel + place) * V::LANES,
                        }));
                    }
                    for tile in pieces(columns.inputs_of(class), V::SUMS) {
                        let x_position = columns.stride * V::LANES;
                        let inner = DepthInner {
                            y: y.all.get(tile.start * V::LANES..).unwrap_or(&[]),
                            taps: &taps,
                            w: &w,
                            x: x.wrapping_add(x_start + tile.start * x_position),
                            x_position,
                        };
                        // SAFETY: positions of the strip, of dx or of `made`.
                        unsafe { inner.run::<V>(tile.len()) };
                    }
                }
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
