//! A convolution as cuDNN has it: over two axes or three, with as much padding at the end of each as at its begin.

use super::frame::Frame;
use crate::conv::{Axis, Conv};
use gnp_base::{Error, Result};

/// Sizes of a convolution. x is \[N, C, spatial…\], and may be larger than that of the [`Conv`]: see [`Shape::new`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub(super) x: Vec<i32>,
    pub(super) y: Vec<i32>,
    pub(super) w: Vec<i32>,
    pub(super) pads: Vec<i32>,
    pub(super) strides: Vec<i32>,
    pub(super) dilations: Vec<i32>,
    pub(super) groups: i32,
}

/// One axis with padding that is the same at both ends.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Even {
    /// How many zeros x has before it in memory, and after it.
    before: usize,
    after: usize,
    /// The padding that there is besides.
    pad: usize,
}

impl Even {
    fn new(axis: &Axis) -> Self {
        let spanned = (axis.output - 1) * axis.stride + axis.reach();
        // The first position of y is to read `begin` before x, and there are to be as many positions as there are.
        let padded = axis.input + 2 * axis.begin;
        if padded < spanned {
            Self { before: 0, after: spanned - padded, pad: axis.begin }
        } else if padded - spanned < axis.stride {
            Self { before: 0, after: 0, pad: axis.begin }
        } else {
            let pad = spanned.saturating_sub(axis.begin + axis.input);
            Self { before: axis.begin - pad, after: 0, pad }
        }
    }
}

impl Shape {
    /// Of a convolution with something to sum over; and the frame that its x is to be put in, if any.
    ///
    /// # Errors
    /// More than three axes, or more elements than cuDNN counts.
    pub(super) fn new(conv: &Conv) -> Result<(Self, Option<Frame>)> {
        let mut axes = conv.axes();
        if axes.len() > 3 {
            let message = format!("a convolution over {} axes on a card: cuDNN has up to three", axes.len());
            return Err(Error::unsupported(message));
        }
        if axes.len() == 1 {
            axes.insert(0, Axis::NONE);
        }
        let even: Vec<Even> = axes.iter().map(Even::new).collect();
        let framed = |axis: usize| even[axis].before + axes[axis].input + even[axis].after;
        let each = |size: &dyn Fn(usize) -> usize| (0..axes.len()).map(size).collect::<Vec<_>>();
        let (x, y, w) = (conv.x(), conv.y(), conv.w());
        let shape = Self {
            x: counted(&x[..2], &each(&framed))?,
            y: counted(&y[..2], &each(&|axis| axes[axis].output))?,
            w: counted(&w[..2], &each(&|axis| axes[axis].kernel))?,
            pads: numbers(&each(&|axis| even[axis].pad))?,
            strides: numbers(&each(&|axis| axes[axis].stride))?,
            dilations: numbers(&each(&|axis| axes[axis].dilation))?,
            groups: number(conv.group())?,
        };
        let inner = numbers(&each(&|axis| axes[axis].input))?;
        let frame = (inner[..] != shape.x[2..]).then(|| {
            let before = numbers(&each(&|axis| even[axis].before))?;
            Ok(Frame::new(shape.x[0] * shape.x[1], &inner, &shape.x[2..], &before))
        });
        Ok((shape, frame.transpose()?))
    }
}

fn number(size: usize) -> Result<i32> {
    i32::try_from(size).map_err(|_| Error::unsupported(format!("a convolution with {size}: cuDNN counts to 2³¹")))
}

fn numbers(sizes: &[usize]) -> Result<Vec<i32>> {
    sizes.iter().map(|size| number(*size)).collect()
}

/// The shape of a tensor that has no more elements than an `i32` counts.
fn counted(channels: &[usize], spatial: &[usize]) -> Result<Vec<i32>> {
    let sizes = [channels, spatial].concat();
    let count = sizes.iter().try_fold(1_i32, |count, size| count.checked_mul(i32::try_from(*size).ok()?));
    if count.is_none() {
        return Err(Error::unsupported(format!("a convolution with a tensor {sizes:?}: cuDNN counts to 2³¹")));
    }
    numbers(&sizes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::Window;
    use crate::conv::testing::convolutions;
    use proptest::prelude::*;

    fn shape(kernel: &[i64], strides: &[i64], pads: &[i64], x: &[usize]) -> (Shape, Option<Frame>) {
        let window = Window::new(kernel, strides, &[], pads, 1).unwrap();
        Shape::new(&Conv::new(window, x, 4).unwrap()).unwrap()
    }

    #[test]
    fn a_line_is_a_plane_of_one_row() {
        let (line, frame) = shape(&[3], &[2], &[1, 1], &[2, 3, 9]);
        assert!(frame.is_none());
        assert_eq!((&line.x[..], &line.y[..], &line.w[..]), (&[2, 3, 1, 9][..], &[2, 4, 1, 5][..], &[4, 3, 1, 3][..]));
        assert_eq!((&line.pads[..], &line.strides[..], &line.dilations[..]), (&[0, 1][..], &[1, 2][..], &[1, 1][..]));
        // It is the plane that is written so.
        assert_eq!(line, shape(&[1, 3], &[1, 2], &[0, 1, 0, 1], &[2, 3, 1, 9]).0);
    }

    #[test]
    fn x_is_framed_where_the_padding_at_its_end_cannot_be_that_at_its_begin() {
        // What strides leave over makes up for the difference.
        assert!(shape(&[3, 3], &[2, 2], &[1, 1, 0, 0], &[1, 1, 8, 8]).1.is_none());
        let (same, frame) = shape(&[3, 3], &[2, 2], &[0, 0, 1, 1], &[2, 3, 8, 8]);
        assert_eq!((&same.x[..], &same.pads[..]), (&[2, 3, 9, 9][..], &[0, 0][..]));
        assert_eq!(frame, Some(Frame::new(6, &[8, 8], &[9, 9], &[0, 0])));
        let (causal, frame) = shape(&[3], &[1], &[2, 0], &[1, 1, 8]);
        assert_eq!((&causal.x[..], &causal.pads[..]), (&[1, 1, 1, 10][..], &[0, 0][..]));
        assert_eq!(frame, Some(Frame::new(1, &[1, 8], &[1, 10], &[0, 2])));
    }

    #[test]
    fn what_cudnn_has_not_is_an_error() {
        let conv = |kernel: &[i64], x: &[usize]| {
            Shape::new(&Conv::new(Window::new(kernel, &[], &[], &[], 1).unwrap(), x, 1).unwrap())
        };
        assert!(conv(&[1; 4], &[1; 6]).is_err());
        assert!(conv(&[1, 1], &[1 << 10, 1 << 10, 1 << 6, 1 << 5]).is_err());
        assert!(conv(&[1, 1], &[1 << 10, 1 << 10, 1 << 5, 1 << 5]).is_ok());
    }

    proptest! {
        #[test]
        fn positions_stay_where_they_are((attributes, x, outputs) in (1..4_usize).prop_flat_map(convolutions)) {
            let Ok(conv) = Conv::new(attributes.window(), &x, outputs) else { return Ok(()) };
            for axis in conv.axes().iter().filter(|axis| axis.input > 0) {
                let even = Even::new(axis);
                prop_assert_eq!(even.before + even.pad, axis.begin);
                let padded = even.before + axis.input + even.after + 2 * even.pad;
                prop_assert_eq!((padded - axis.reach()) / axis.stride + 1, axis.output);
            }
        }
    }
}
