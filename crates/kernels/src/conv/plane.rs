//! A convolution over planes: which positions of y read which of x.

use std::ops::Range;

/// One axis: position o of y reads x at o·stride − begin + k·dilation, for the kernel's places k.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    pub input: usize,
    pub output: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub begin: usize,
}

impl Axis {
    /// An axis that is not there.
    pub const NONE: Self = Self { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, begin: 0 };

    /// How much of x one position of y spans.
    pub fn reach(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }

    /// Whether y's positions are x's.
    fn is_identity(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.begin == 0 && self.input == self.output
    }

    /// The positions of y whose place `k` lies on x.
    pub fn outputs(&self, k: usize) -> Range<usize> {
        let place = k * self.dilation;
        let first = self.begin.saturating_sub(place).div_ceil(self.stride);
        let end = (self.input + self.begin).saturating_sub(place).div_ceil(self.stride).min(self.output);
        first.min(end)..end
    }

    /// y's positions in regions, each with the places of the kernel that lie on x, which are the same for all of it.
    pub(super) fn regions(&self) -> Vec<Region> {
        let mut all: Vec<Region> = Vec::new();
        for output in 0..self.output {
            let before =
                |edge: usize| edge.saturating_sub(output * self.stride).div_ceil(self.dilation).min(self.kernel);
            let places = before(self.begin)..before(self.begin + self.input);
            match all.last_mut().filter(|last| last.places == places) {
                Some(last) => last.outputs.end = output + 1,
                None => all.push(Region { outputs: output..output + 1, places }),
            }
        }
        all.retain(|region| !region.places.is_empty());
        all
    }

    /// The position of x that a place of the kernel has for a position of y: it must lie on x.
    pub fn input_of(&self, output: usize, place: usize) -> usize {
        output * self.stride + place * self.dilation - self.begin
    }

    /// The positions i of x, of those that are `class` modulo the stride, as j = (i − class) / stride: how many.
    pub fn inputs_of(&self, class: usize) -> usize {
        self.input.saturating_sub(class).div_ceil(self.stride)
    }

    /// The j of those of some positions of x that are of a class.
    pub fn of_class(&self, class: usize, inputs: &Range<usize>) -> Range<usize> {
        let first = |end: usize| end.saturating_sub(class).div_ceil(self.stride);
        first(inputs.start)..first(inputs.end)
    }

    /// The positions j of each class in regions, each with the places of the kernel that read it, which are the same
    /// for all of it. There may be none.
    pub(super) fn read_regions(&self) -> Vec<Vec<ReadRegion>> {
        (0..self.stride.min(self.input)).map(|class| self.read_regions_of(class)).collect()
    }

    fn read_regions_of(&self, class: usize) -> Vec<ReadRegion> {
        let readers: Vec<_> = self.readers(class).collect();
        let mut all: Vec<ReadRegion> = Vec::new();
        for j in 0..self.inputs_of(class) {
            let read =
                readers.iter().filter(|reader| j.checked_add_signed(reader.distance).is_some_and(|o| o < self.output));
            match all.last_mut().filter(|last| last.readers.iter().eq(read.clone())) {
                Some(last) => last.inputs.end = j + 1,
                None => all.push(ReadRegion { inputs: j..j + 1, readers: read.copied().collect() }),
            }
        }
        all
    }

    /// The kernel's places that read positions of this class.
    pub(super) fn readers(&self, class: usize) -> impl Iterator<Item = Reader> + '_ {
        let stride = self.stride as isize;
        (0..self.kernel).filter_map(move |place| {
            let distance = (class + self.begin) as isize - (place * self.dilation) as isize;
            (distance % stride == 0).then_some(Reader { place, distance: distance / stride })
        })
    }
}

/// A place of the kernel, and how far the position of y is that reads with it from the j of the position of x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reader {
    pub place: usize,
    pub distance: isize,
}

/// Positions of x, by their j, that are read by the same places of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReadRegion {
    pub inputs: Range<usize>,
    pub readers: Vec<Reader>,
}

/// Positions of y that read x with the same places of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub outputs: Range<usize>,
    pub places: Range<usize>,
}

/// A convolution over planes of rows and columns, its channels by group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plane {
    pub batch: usize,
    pub groups: usize,
    /// Channels of x in a group.
    pub inputs: usize,
    /// Channels of y in a group.
    pub outputs: usize,
    pub rows: Axis,
    pub columns: Axis,
}

impl Plane {
    /// The plane of at most two axes, where its padding is in proportion.
    pub fn new(batch: usize, groups: usize, inputs: usize, outputs: usize, axes: &[Axis]) -> Option<Self> {
        let (mut rows, mut columns) = match *axes {
            [] => (Axis::NONE, Axis::NONE),
            [columns] => (Axis::NONE, columns),
            [rows, columns] => (rows, columns),
            _ => return None,
        };
        let in_proportion = |axis: &Axis| {
            let padded = (axis.output - 1) * axis.stride + axis.reach();
            padded <= 4 * axis.input + 64 && axis.stride <= axis.input + 64
        };
        if !in_proportion(&rows) || !in_proportion(&columns) {
            return None;
        }
        // Longer rows: the loops over columns are the fast ones.
        if rows.is_identity() && columns.is_identity() {
            let joined = (1..=rows.input).rev().find(|&n| rows.input % n == 0 && n * columns.input <= 256).unwrap_or(1);
            rows = Axis { input: rows.input / joined, output: rows.input / joined, ..rows };
            columns = Axis { input: columns.input * joined, output: columns.input * joined, ..columns };
        }
        Some(Self { batch, groups, inputs, outputs, rows, columns })
    }

    pub fn is_depthwise(&self) -> bool {
        self.inputs == 1 && self.outputs == 1 && self.groups > 1
    }

    /// Places of the kernel.
    pub fn places(&self) -> usize {
        self.rows.kernel * self.columns.kernel
    }

    /// Multiplications.
    pub fn work(&self) -> usize {
        let positions = self.batch.saturating_mul(self.rows.output * self.columns.output);
        let channels = self.groups * self.inputs * self.outputs;
        positions.saturating_mul(channels).saturating_mul(self.places())
    }
}

/// Part of a tensor's positions: some rows of one image, some columns of a row, or some images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Strip {
    pub images: Range<usize>,
    pub rows: Range<usize>,
    pub columns: Range<usize>,
}

impl Strip {
    /// Positions of one image.
    pub fn positions(&self) -> usize {
        self.rows.len() * self.columns.len()
    }
}

/// The positions of some images in strips of about `positions`; only where `cut` says so are rows cut.
pub(super) fn strips(images: Range<usize>, rows: usize, columns: usize, positions: usize, cut: bool) -> Vec<Strip> {
    let at_once = (positions / (rows * columns).max(1)).max(1);
    let row_step = (positions / columns.max(1)).clamp(1, rows.max(1));
    let column_step = if cut && columns > 2 * positions { positions } else { columns.max(1) };
    let mut all = Vec::new();
    for image in images.clone().step_by(at_once) {
        for row in (0..rows).step_by(row_step) {
            for column in (0..columns).step_by(column_step) {
                all.push(Strip {
                    images: image..(image + at_once).min(images.end),
                    rows: row..(row + row_step).min(rows),
                    columns: column..(column + column_step).min(columns),
                });
            }
        }
    }
    all
}

/// `0..count` in equal pieces (but for one) of at most `most`.
pub(super) fn pieces(count: usize, most: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let pieces = count.div_ceil(most.max(1)).max(1);
    let at = move |piece: usize| (count / pieces) * piece + (count % pieces).min(piece);
    (0..pieces).map(move |piece| at(piece)..at(piece + 1)).filter(|piece| !piece.is_empty())
}

pub(super) fn common(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    a.start.max(b.start)..a.end.min(b.end)
}

/// The rows of y that read some rows of x.
pub(super) fn reading(axis: &Axis, inputs: &Range<usize>) -> Range<usize> {
    // o·stride − begin + k·dilation = i, for the least i with the last k to the largest i with the first.
    let first = (inputs.start + axis.begin).saturating_sub(axis.reach() - 1).div_ceil(axis.stride);
    let end = ((inputs.end - 1 + axis.begin) / axis.stride + 1).min(axis.output);
    first.min(end)..end
}
