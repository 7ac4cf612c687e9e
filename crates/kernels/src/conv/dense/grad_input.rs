//! The gradient of the input, dx\[n, c, i\] = Σ over m, k of w\[m, c, k\] · dy\[n, m, (i + begin − k·dilation) /
//! stride\], where that divides.
//!
//! With a stride, the positions of dx fall into classes, modulo the stride. Each class is a convolution of dy of its
//! own, without a stride, with the places of the kernel that reach it: nothing is multiplied by zeros between.

use super::super::plane::{Plane, ReadRegion, Reader, Strip, common, pieces, reading, strips};
use super::super::room::Room;
use super::super::tensor::{Gather, Place, Rectangle, Scatter, Shared};
use super::super::tiles::{Inner, InnerTap, Pitch};
use crate::threads::{Caller, Threads};
use crate::vector::{Job, Turn, Vector};
use std::ops::Range;

/// Positions of dx that a task makes at once: what they read of dy stays in the second cache.
const POSITIONS: usize = 512;

/// Weights that a tile multiplies with, one row after the other, until it takes the next channels.
const WEIGHTS: usize = 1 << 15;

pub(in super::super) struct GradInput<'a> {
    pub plane: &'a Plane,
    pub dy: &'a [f32],
    pub dy_place: Place,
    pub w: &'a [f32],
    pub dx_place: Place,
}

/// Some vectors of x's channels, of one group, and where their weights begin.
struct Slice {
    group: usize,
    inputs: Range<usize>,
    weights: usize,
}

impl GradInput<'_> {
    /// Writes dx.
    pub fn run<V: Vector>(&self, dx: &mut [f32], threads: &dyn Threads) {
        let plane = self.plane;
        let (slices, weights) = self.weights::<V>(threads);
        let strips = strips(0..plane.batch, plane.rows.input, plane.columns.input, POSITIONS, false);
        let shares: Vec<_> = pieces(slices.len(), slices.len().div_ceil((16 / strips.len().max(1)).max(1))).collect();
        let regions = plane.rows.read_regions();
        let dx = &Shared::new(dx);
        threads.run(strips.len() * shares.len(), &|task| {
            let (strip, share) = (&strips[task / shares.len()], shares[task % shares.len()].clone());
            self.make::<V>(strip, &regions, &slices[share], &weights, dx);
        });
    }

    /// The weights by slices of x's channels: for each block of y's channels, place of the kernel, and channel of the
    /// block, the slice's vectors.
    fn weights<V: Vector>(&self, threads: &dyn Threads) -> (Vec<Slice>, Room) {
        let plane = self.plane;
        let vectors = plane.inputs.div_ceil(V::LANES);
        // The shorter the rows, the more channels at once: a tile needs enough sums to be busy.
        let most = if plane.columns.inputs_of(0) <= Inner::most::<V>(4) { 4 } else { 2 };
        let mut slices = Vec::new();
        let mut weights = 0;
        for group in 0..plane.groups {
            for some in pieces(vectors, most) {
                let inputs = some.start * V::LANES..(some.end * V::LANES).min(plane.inputs);
                slices.push(Slice { group, inputs, weights });
                weights += plane.outputs.next_multiple_of(V::LANES) * plane.places() * some.len() * V::LANES;
            }
        }
        let mut all = Room::of(weights);
        let to = &Shared::new(&mut all);
        let blocks = plane.outputs.div_ceil(V::LANES);
        let threads: &dyn Threads = if weights < 1 << 16 { &Caller } else { threads };
        threads.run(slices.len() * blocks, &|task| {
            let (slice, block) = (&slices[task / blocks], task % blocks);
            let outputs = block * V::LANES..((block + 1) * V::LANES).min(plane.outputs);
            let wide = slice.inputs.len().next_multiple_of(V::LANES);
            let size = V::LANES * plane.places() * wide;
            let start = slice.weights + block * size;
            // SAFETY: a task's own part.
            let to = unsafe { to.part(start..start + size) };
            if outputs.len() < V::LANES || slice.inputs.len() < wide {
                to.fill(0.0);
            }
            let first = (slice.group * plane.outputs + outputs.start) * plane.inputs + slice.inputs.start;
            let from = &self.w[first * plane.places()..];
            let turn = Weights { from, to, plane, outputs: outputs.len(), inputs: slice.inputs.len(), wide };
            assert!(((outputs.len() - 1) * plane.inputs + slice.inputs.len()) * plane.places() <= from.len());
            // SAFETY: the assertion, and the size of `to`; V was chosen for the processor.
            unsafe { V::run(turn) };
        });
        (slices, all)
    }

    /// Makes a strip of dx.
    fn make<V: Vector>(
        &self,
        strip: &Strip,
        regions: &[Vec<ReadRegion>],
        slices: &[Slice],
        weights: &[f32],
        dx: &Shared<'_>,
    ) {
        let plane = self.plane;
        let read = reading(&plane.rows, &strip.rows);
        let read_count = read.len() * plane.columns.output;
        let blocks = plane.outputs.div_ceil(V::LANES);
        let (mut gathered, mut of_group) = (Room::default(), None);
        let mut made = Room::default();
        for slice in slices {
            let first_output = slice.group * plane.outputs;
            let first_input = slice.group * plane.inputs + slice.inputs.start;
            let vectors = slice.inputs.len().div_ceil(V::LANES);
            let direct = self.dy_place.has_vectors::<V>(first_output);
            if !direct && of_group != Some(slice.group) {
                of_group = Some(slice.group);
                let of_image = read_count * V::LANES * blocks;
                let room = gathered.resize(of_image * strip.images.len());
                for (image, to) in strip.images.clone().zip(room.chunks_mut(of_image.max(1))) {
                    Gather {
                        from: self.dy,
                        place: self.dy_place,
                        image,
                        channels: first_output..first_output + plane.outputs,
                        positions: Rectangle::line(read.start * plane.columns.output..read.end * plane.columns.output),
                        to,
                        vector: read_count * V::LANES,
                        row: 0,
                    }
                    .run::<V>();
                }
            }
            // Vectors of dx are written where they belong if none of their lanes is another group's.
            let in_place = self.dx_place.has_vectors::<V>(first_input)
                && (slice.inputs.len() % V::LANES == 0 || plane.groups == 1);
            let count = strip.positions() * V::LANES;
            let (y, y_block, y_image) = if direct {
                let row = read.start * plane.columns.output * V::LANES;
                let at = strip.images.start * self.dy_place.image() + self.dy_place.channel(first_output) + row;
                (&self.dy[at..], self.dy_place.positions * V::LANES, self.dy_place.image())
            } else {
                (&gathered[..], read_count * V::LANES, read_count * V::LANES * blocks)
            };
            let (x, x_vector, x_image) = if in_place {
                let row = strip.rows.start * plane.columns.input * V::LANES;
                let at = strip.images.start * self.dx_place.image() + self.dx_place.channel(first_input) + row;
                let (x_vector, x_image) = (self.dx_place.positions * V::LANES, self.dx_place.image());
                assert!(at + (strip.images.len() - 1) * x_image + (vectors - 1) * x_vector + count <= dx.len);
                // SAFETY: the assertion.
                (unsafe { dx.at(at) }, x_vector, x_image)
            } else {
                (made.resize(count * vectors * strip.images.len()).as_mut_ptr(), count, count * vectors)
            };
            let w = &weights[slice.weights..];
            let rows =
                Rows { plane, strip, regions, read: read.start, y, y_block, y_image, w, vectors, x, x_vector, x_image };
            // SAFETY: x has the strip's positions, of dx or of `made`; other tasks have other strips or channels.
            unsafe { rows.make::<V>() };
            if in_place {
                continue;
            }
            for (image, from) in strip.images.clone().zip(made.chunks_exact(count * vectors)) {
                let row = strip.rows.start * plane.columns.input;
                let scatter = Scatter {
                    from,
                    vector: count,
                    to: dx,
                    place: self.dx_place,
                    image,
                    channels: first_input..first_input + slice.inputs.len(),
                    positions: row..row + strip.positions(),
                };
                // SAFETY: as above.
                unsafe { scatter.run::<V>() };
            }
        }
    }
}

/// Some rows of x, of some images and a slice of channels.
struct Rows<'a> {
    plane: &'a Plane,
    strip: &'a Strip,
    /// Those of the rows, for each class.
    regions: &'a [Vec<ReadRegion>],
    /// The first row that `y` has.
    read: usize,
    y: &'a [f32],
    y_block: usize,
    y_image: usize,
    w: &'a [f32],
    vectors: usize,
    x: *mut f32,
    x_vector: usize,
    x_image: usize,
}

impl Rows<'_> {
    /// Makes them.
    ///
    /// # Safety
    ///
    /// The vectors of all these rows may be written.
    unsafe fn make<V: Vector>(&self) {
        let Plane { rows, columns, .. } = self.plane;
        for (row_class, regions) in self.regions.iter().enumerate() {
            for region in regions {
                let js = common(&region.inputs, &rows.of_class(row_class, &self.strip.rows));
                if js.is_empty() {
                    continue;
                }
                for column_class in 0..columns.stride.min(columns.input) {
                    let readers: Vec<_> = columns.readers(column_class).collect();
                    for tile in pieces(columns.inputs_of(column_class), Inner::most::<V>(self.vectors)) {
                        // SAFETY: what this function demands.
                        unsafe { self.tile::<V>([row_class, column_class], &js, &region.readers, &tile, &readers) };
                    }
                }
            }
        }
    }

    /// Makes a tile of columns, of the rows `js` of a class, which the same places of the kernel read.
    ///
    /// # Safety
    ///
    /// The vectors of all these positions may be written.
    unsafe fn tile<V: Vector>(
        &self,
        [row_class, column_class]: [usize; 2],
        js: &Range<usize>,
        row_readers: &[Reader],
        tile: &Range<usize>,
        column_readers: &[Reader],
    ) {
        let Plane { rows, columns, outputs, .. } = self.plane;
        // Where y has a neighbour for the whole tile first, then for parts of it.
        let of_tile = |reader: &Reader| {
            let first = tile.start.max(reader.distance.min(0).unsigned_abs());
            let end = columns.output.checked_add_signed(-reader.distance).unwrap_or(0);
            first..tile.end.min(end)
        };
        let whole: Vec<_> = column_readers.iter().filter(|reader| of_tile(reader) == *tile).copied().collect();
        let parts = column_readers.iter().map(|reader| (of_tile(reader), std::slice::from_ref(reader)));
        let parts = parts.filter(|(some, _)| some != tile && !some.is_empty());
        let block = V::LANES * self.vectors * V::LANES;
        let mut taps = Vec::new();
        for (nth, (some, readers)) in [(tile.clone(), &whole[..])].into_iter().chain(parts).enumerate() {
            taps.clear();
            for row_reader in row_readers {
                let row = js.start.wrapping_add_signed(row_reader.distance) - self.read;
                taps.extend(readers.iter().map(|reader| InnerTap {
                    y: (row * columns.output + some.start.wrapping_add_signed(reader.distance)) * V::LANES,
                    w: (row_reader.place * columns.kernel + reader.place) * block,
                }));
            }
            // So many channels at once that their weights stay in the second cache while all rows are made.
            let block_size = readers.len() * row_readers.len() * block;
            let at_once = (WEIGHTS / block_size.max(1)).max(1) * V::LANES;
            let row = js.start * rows.stride + row_class - self.strip.rows.start;
            let at = (row * columns.input + some.start * columns.stride + column_class) * V::LANES;
            for channels in (0..*outputs).step_by(at_once) {
                let nth_block = channels / V::LANES;
                let inner = Inner {
                    y: &self.y[nth_block * self.y_block..],
                    y_pitch: Pitch { image: self.y_image, row: columns.output * V::LANES, column: V::LANES },
                    y_block: self.y_block,
                    channels: at_once.min(outputs - channels),
                    taps: &taps,
                    w: &self.w[nth_block * self.plane.places() * block..],
                    w_block: self.plane.places() * block,
                    x: self.x.wrapping_add(at),
                    x_pitch: Pitch {
                        image: self.x_image,
                        row: rows.stride * columns.input * V::LANES,
                        column: columns.stride * V::LANES,
                    },
                    x_vector: self.x_vector,
                    counts: [self.strip.images.len(), js.len(), some.len()],
                    add: nth > 0 || channels > 0,
                };
                // SAFETY: positions of these rows; a tile is made before it is added to.
                unsafe { inner.run::<V>(self.vectors) };
            }
        }
    }
}

/// Weights of one block of y's channels, as `GradInput::weights` says.
struct Weights<'a> {
    from: &'a [f32],
    to: &'a mut [f32],
    plane: &'a Plane,
    outputs: usize,
    inputs: usize,
    wide: usize,
}

impl Job for Weights<'_> {
    #[inline(always)]
    unsafe fn work<V: Vector>(self) {
        let Self { from, to, plane, outputs, inputs, wide } = self;
        let places = plane.places();
        for output in 0..outputs {
            let from = &from[output * plane.inputs * places..];
            if places == 1 {
                to[output * wide..output * wide + inputs].copy_from_slice(&from[..inputs]);
                continue;
            }
            for input in (0..inputs).step_by(V::LANES) {
                for place in (0..places).step_by(V::LANES) {
                    // SAFETY: the last number of both was checked.
                    unsafe {
                        V::turn(Turn {
                            from: from.as_ptr().add(input * places + place),
                            from_pitch: places,
                            rows: V::LANES.min(inputs - input),
                            columns: V::LANES.min(places - place),
                            to: to.as_mut_ptr().add((place * V::LANES + output) * wide + input),
                            to_pitch: V::LANES * wide,
                            written: V::LANES,
                        });
                    }
                }
            }
        }
    }
}
