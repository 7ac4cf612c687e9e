//! How a kernel walks through its operands: broadcast against each other, in blocks.

use gnp_base::{Error, Result};

/// The most floats of a block, by how many values of its size are kept: beside what is read and written they stay in a
/// first-level cache of 32 KiB. There is as much to be said of a small block as of a large one.
fn block(values: usize) -> usize {
    const ALL: usize = 1 << 12;
    (1 << (ALL / (values + 1)).max(1).ilog2()).clamp(1 << 10, ALL)
}

/// The shape of operands that are broadcast against each other, as NumPy and ONNX do.
///
/// # Errors
/// Where two sizes of an axis differ and neither is 1, or there are more elements than can be counted.
pub(crate) fn broadcast(shapes: &[&[usize]]) -> Result<Vec<usize>> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or_default();
    let mut sizes = vec![1; rank];
    for shape in shapes {
        for (size, &own) in sizes[rank - shape.len()..].iter_mut().zip(*shape) {
            match (*size, own) {
                (_, 1) => {}
                (1, _) => *size = own,
                (a, b) if a == b => {}
                _ => return Err(Error::input(format!("operands of the shapes {shapes:?} do not broadcast"))),
            }
        }
    }
    let elements = sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    elements.map(|_| sizes).ok_or_else(|| Error::input(format!("operands of the shapes {shapes:?} are too large")))
}

/// An axis of the walk.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis {
    pub(crate) size: usize,
    /// Whether the axis is summed over.
    pub(crate) is_reduced: bool,
    /// How far each operand moves with the axis, and last the output.
    pub(crate) strides: Vec<usize>,
}

/// Which blocks there are. Axes outside of a block are kept ones, which number outputs, or reduced ones.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    axes: Vec<Axis>,
    /// The first axis that a block has a part of; all later ones it has whole.
    first: usize,
    /// How far a block reaches along that axis.
    pub(crate) reach: usize,
    /// No block has more floats.
    pub(crate) most: usize,
    /// Blocks with an output of their own.
    pub(crate) kept: usize,
    /// Blocks that are summed for each of those.
    pub(crate) reduced: usize,
}

/// A block: where it starts in each operand and last in the output, and how far it reaches along its first axis.
#[derive(Clone, Debug, Default)]
pub(crate) struct Block {
    pub(crate) starts: Vec<usize>,
    pub(crate) reach: usize,
}

/// How an operand or the output lies in a block.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pattern {
    /// All of the block is one element.
    Scalar,
    /// The block is a run of memory.
    Run,
    /// Sizes and strides of the block's axes. The last stride is 0 or 1.
    Axes(Vec<(usize, usize)>),
}

impl Layout {
    /// The walk through operands of these `shapes` over all of `sizes`, to which they broadcast. The output has the
    /// axes that are not `reduced`. Beside the operands, so many values of a
    /// block's size are kept.
    pub(crate) fn new(shapes: &[&[usize]], sizes: &[usize], reduced: &[bool], values: usize) -> Self {
        let elements: usize = sizes.iter().product();
        let is_spread = |shape: &&&[usize]| ![1, elements].contains(&shape.iter().product());
        let most = block(values + shapes.iter().filter(is_spread).count());
        let axes = axes(shapes, sizes, reduced);
        let mut first = axes.len() - 1;
        let mut inner = 1;
        while first > 0 && inner * axes[first].size <= most {
            inner *= axes[first].size;
            first -= 1;
        }
        let size = axes[first].size;
        // Blocks of about one length, and whole vectors where the axis is the last.
        let whole = size.div_ceil((size * inner).div_ceil(most).max(1)).max(1);
        let reach = if inner == 1 { whole.next_multiple_of(crate::simd::LANES) } else { whole };
        let reach = reach.min(most / inner).min(size.max(1));
        let blocks = |is_reduced: bool| {
            let outer = axes[..first].iter().filter(|axis| axis.is_reduced == is_reduced);
            let along = if axes[first].is_reduced == is_reduced { size.div_ceil(reach) } else { 1 };
            outer.map(|axis| axis.size).product::<usize>() * along
        };
        Self { kept: blocks(false), reduced: blocks(true), axes, first, reach, most }
    }

    /// The block that is number `kept` of those with an output and number `reduced` of those that are summed there.
    pub(crate) fn block(&self, mut kept: usize, mut reduced: usize, block: &mut Block) {
        let tile = &self.axes[self.first];
        let mut number = |is_reduced: bool, count: usize| {
            let of = if is_reduced { &mut reduced } else { &mut kept };
            let number = *of % count;
            *of /= count;
            number
        };
        let start = self.reach * number(tile.is_reduced, tile.size.div_ceil(self.reach));
        block.reach = self.reach.min(tile.size - start);
        block.starts.clear();
        block.starts.extend(tile.strides.iter().map(|stride| start * stride));
        for axis in self.axes[..self.first].iter().rev() {
            let at = number(axis.is_reduced, axis.size);
            block.starts.iter_mut().zip(&axis.strides).for_each(|(start, stride)| *start += at * stride);
        }
    }

    /// How operand number `of` lies in a block; with the number behind the last operand, the output.
    pub(crate) fn pattern(&self, of: usize) -> Pattern {
        let mut axes: Vec<(usize, usize)> = Vec::new();
        for (place, axis) in self.axes[self.first..].iter().enumerate() {
            let (size, stride) = (if place == 0 { self.reach } else { axis.size }, axis.strides[of]);
            match axes.last_mut() {
                _ if size == 1 => {}
                Some((last, outer)) if *outer == stride * size => (*last, *outer) = (*last * size, stride),
                _ => axes.push((size, stride)),
            }
        }
        match &axes[..] {
            [] | [(_, 0)] => Pattern::Scalar,
            [(_, 1)] => Pattern::Run,
            _ => Pattern::Axes(axes),
        }
    }

    /// The elements of a block that reaches so far.
    pub(crate) fn elements(&self, reach: usize) -> usize {
        reach * self.axes[self.first + 1..].iter().map(|axis| axis.size).product::<usize>()
    }

    /// The outputs of a block that reaches so far. They are neighbours.
    pub(crate) fn outputs(&self, reach: usize) -> usize {
        let inner = self.axes[self.first + 1..].iter().filter(|axis| !axis.is_reduced).map(|axis| axis.size);
        (if self.axes[self.first].is_reduced { 1 } else { reach }) * inner.product::<usize>()
    }
}

/// Places along axes, given as sizes and strides, the last axis fastest. The first axis has no end.
pub(crate) struct Walk<'a> {
    axes: &'a [(usize, usize)],
    at: Vec<usize>,
    place: usize,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(axes: &'a [(usize, usize)]) -> Self {
        Self { axes, at: vec![0; axes.len()], place: 0 }
    }

    /// The place, before a step.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> usize {
        let place = self.place;
        for (axis, (at, &(size, stride))) in self.at.iter_mut().zip(self.axes).enumerate().rev() {
            *at += 1;
            self.place += stride;
            if *at < size || axis == 0 {
                break;
            }
            self.place -= size * stride;
            *at = 0;
        }
        place
    }
}

/// The axes of the walk: those of size 1 are left out, and neighbours that every operand walks through as through one
/// become one. There is at least one.
pub(crate) fn axes(shapes: &[&[usize]], sizes: &[usize], reduced: &[bool]) -> Vec<Axis> {
    let rank = sizes.len();
    let kept_shape: Vec<usize> = sizes.iter().zip(reduced).map(|(&size, is)| if *is { 1 } else { size }).collect();
    let all: Vec<&[usize]> = shapes.iter().copied().chain([&kept_shape[..]]).collect();
    let mut next = vec![1; all.len()];
    let mut axes: Vec<Axis> = Vec::new();
    for place in (0..rank).rev() {
        let size = sizes[place];
        let strides = all.iter().zip(&mut next).map(|(shape, next)| {
            let own = (place + shape.len()).checked_sub(rank).map_or(1, |own| shape[own]);
            let stride = if own == 1 { 0 } else { *next };
            *next *= own;
            stride
        });
        let axis = Axis { size, is_reduced: reduced[place], strides: strides.collect() };
        if size == 1 {
            continue;
        }
        match axes.last_mut() {
            Some(inner) if inner.continues(&axis) => inner.size *= size,
            _ => axes.push(axis),
        }
    }
    if axes.is_empty() {
        axes.push(Axis { size: 1, is_reduced: false, strides: vec![0; all.len()] });
    }
    axes.reverse();
    axes
}

impl Axis {
    /// Whether a step along `outer` is for all operands as many steps along this axis as it is long.
    fn continues(&self, outer: &Self) -> bool {
        let mut strides = self.strides.iter().zip(&outer.strides);
        self.is_reduced == outer.is_reduced && strides.all(|(own, outer)| *outer == own * self.size)
    }
}
