//! What a convolution is: its attributes, and sizes that agree with them.

use super::plane::{Axis, Plane};
use super::tensor::{Layout, Place};
use gnp_base::error::{Error, Result};

/// The attributes of a convolution, as the standard's `Conv` has them, checked; of a pool, without `group`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    begin: Vec<usize>,
    end: Vec<usize>,
    group: usize,
}

/// No axis is longer, with its padding: a pass over positions cannot overflow.
const LONGEST: usize = 1 << 40;

impl Window {
    /// From the attributes of a node. Lists have one entry an axis of the kernel, `pads` has all begins, then all ends;
    /// empty ones stand for ones (strides, dilations) and zeros (pads).
    ///
    /// # Errors
    ///
    /// No axis or an empty one, a list of another length, a stride, dilation or group below one, a negative pad.
    pub fn new(kernel: &[i64], strides: &[i64], dilations: &[i64], pads: &[i64], group: i64) -> Result<Self> {
        let axes = kernel.len();
        if axes == 0 {
            return Err(Error::input("a window's `kernel_shape` has no axis"));
        }
        let pads = numbers("pads", pads, 2 * axes, 0)?;
        Ok(Self {
            kernel: numbers("kernel_shape", kernel, axes, 1)?,
            strides: numbers("strides", strides, axes, 1)?,
            dilations: numbers("dilations", dilations, axes, 1)?,
            begin: pads[..axes].to_vec(),
            end: pads[axes..].to_vec(),
            group: numbers("group", &[group], 1, 1)?[0],
        })
    }

    /// The places of the kernel, along each axis.
    pub fn kernel(&self) -> &[usize] {
        &self.kernel
    }

    /// How far the kernel's places move from output to output, an axis each.
    pub fn strides(&self) -> &[usize] {
        &self.strides
    }

    /// How far the kernel's places are apart, an axis each.
    pub fn dilations(&self) -> &[usize] {
        &self.dilations
    }

    /// The zeros before each axis of x.
    pub fn begin(&self) -> &[usize] {
        &self.begin
    }

    /// The zeros behind each axis of x.
    pub fn end(&self) -> &[usize] {
        &self.end
    }

    /// The number of groups.
    pub fn group(&self) -> usize {
        self.group
    }

    /// The first of an axis's outputs that lies on its input: what it reads begins `pads` before the axis.
    fn output(&self, axis: usize, input: usize) -> Option<usize> {
        let padded = input.checked_add(self.begin[axis])?.checked_add(self.end[axis])?;
        let reach = (self.kernel[axis] - 1).checked_mul(self.dilations[axis])?.checked_add(1)?;
        (padded <= LONGEST && reach <= padded).then(|| (padded - reach) / self.strides[axis] + 1)
    }

    fn input(&self, axis: usize, output: usize, left_over: usize) -> Option<usize> {
        let reach = (self.kernel[axis] - 1).checked_mul(self.dilations[axis])?.checked_add(1)?;
        let padded = output.checked_sub(1)?.checked_mul(self.strides[axis])?.checked_add(reach)?;
        padded.checked_add(left_over)?.checked_sub(self.begin[axis].checked_add(self.end[axis])?)
    }
}

fn numbers(name: &str, given: &[i64], count: usize, least: usize) -> Result<Vec<usize>> {
    if given.is_empty() {
        return Ok(vec![least; count]);
    }
    if given.len() != count {
        return Err(Error::input(format!("a window's `{name}` has {} numbers, not {count}", given.len())));
    }
    let number = |&number: &i64| {
        usize::try_from(number)
            .ok()
            .filter(|&number| (least..=LONGEST).contains(&number))
            .ok_or_else(|| Error::input(format!("a window's `{name}` is {number}: it must be {least} at least")))
    };
    given.iter().map(number).collect()
}

/// A convolution: a window, and shapes that agree with it.
///
/// x is \[N, C, spatial…\], y is \[N, M, spatial…\], w is \[M, C/group, kernel…\]. Group g reads C/group channels of x
/// and makes M/group channels of y:
///
/// y\[n, m, o\] = Σ over c, k of w\[m, c, k\] · x\[n, c, o·stride − begin + k·dilation\],
///
/// where x is zero outside of its axes (ONNX, operator `Conv`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Conv {
    window: Window,
    batch: usize,
    inputs: usize,
    outputs: usize,
    input: Vec<usize>,
    output: Vec<usize>,
}

impl Conv {
    /// The convolution of an x of shape \[N, C, spatial…\] to `outputs` channels.
    ///
    /// # Errors
    ///
    /// x has not the window's axes, channels are not a multiple of `group`, a kernel exceeds the padded x, sizes that
    /// no memory holds.
    pub fn new(window: Window, x: &[usize], outputs: usize) -> Result<Self> {
        let [batch, inputs, input @ ..] = x else { return Err(Error::input("a convolution of an x without channels")) };
        if input.len() != window.kernel.len() {
            let (axes, kernel) = (input.len(), window.kernel.len());
            return Err(Error::input(format!("a convolution's x has {axes} spatial axes, its kernel has {kernel}")));
        }
        let group = window.group;
        if *inputs == 0 || outputs == 0 || !inputs.is_multiple_of(group) || !outputs.is_multiple_of(group) {
            let message = format!("a convolution of {inputs} to {outputs} channels does not fit `group` {group}");
            return Err(Error::input(message));
        }
        let output = |axis: usize| {
            window.output(axis, input[axis]).ok_or_else(|| {
                Error::input(format!("a convolution's kernel {:?} exceeds its padded x {input:?}", window.kernel))
            })
        };
        let output = (0..input.len()).map(output).collect::<Result<Vec<_>>>()?;
        let conv = Self { batch: *batch, inputs: *inputs, outputs, input: input.to_vec(), output, window };
        let too_large = |shape: &[usize]| {
            let bytes = shape.iter().try_fold(4_usize, |bytes, &size| bytes.checked_mul(size.max(1)));
            // Blocks of channels round up.
            bytes.is_none_or(|bytes| bytes > isize::MAX as usize / 64)
        };
        if [conv.x(), conv.y(), conv.w()].iter().any(|shape| too_large(shape)) {
            return Err(Error::input(format!("a convolution of x {x:?} is larger than any memory")));
        }
        Ok(conv)
    }

    /// The convolution whose x and y have these shapes.
    ///
    /// # Errors
    ///
    /// As [`Conv::new`], and shapes that disagree.
    pub fn between(window: Window, x: &[usize], y: &[usize]) -> Result<Self> {
        let conv = Self::new(window, x, y.get(1).copied().unwrap_or(0))?;
        if conv.y() != y {
            return Err(Error::input(format!("a convolution of x {x:?} makes a y of {:?}, not {y:?}", conv.y())));
        }
        Ok(conv)
    }

    /// The convolution that makes a y of this shape with a w of that one. `left_over` says, an axis each, how much of x
    /// strides leave over at its end (empty: nothing), the `output_padding` of a transposed convolution.
    ///
    /// # Errors
    ///
    /// As [`Conv::new`], and shapes that disagree.
    pub fn making(window: Window, y: &[usize], w: &[usize], left_over: &[i64]) -> Result<Self> {
        let axes = window.kernel.len();
        let left_over = numbers("output_padding", left_over, axes, 0)?;
        let disagree = || Error::input(format!("no convolution makes a y of {y:?} with a w of {w:?}"));
        if y.len() != 2 + axes || w.len() != 2 + axes {
            return Err(disagree());
        }
        let mut x = vec![y[0], w[1].checked_mul(window.group).ok_or_else(disagree)?];
        for axis in 0..axes {
            x.push(window.input(axis, y[2 + axis], left_over[axis]).ok_or_else(disagree)?);
        }
        let conv = Self::new(window, &x, w[0])?;
        if conv.y() != y || conv.w() != w { Err(disagree()) } else { Ok(conv) }
    }

    /// Its window.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// The shape of x: \[N, C, spatial…\].
    pub fn x(&self) -> Vec<usize> {
        [&[self.batch, self.inputs], &self.input[..]].concat()
    }

    /// The shape of y: \[N, M, spatial…\].
    pub fn y(&self) -> Vec<usize> {
        [&[self.batch, self.outputs], &self.output[..]].concat()
    }

    /// The shape of w: \[M, C/group, kernel…\].
    pub fn w(&self) -> Vec<usize> {
        [&[self.outputs, self.inputs / self.window.group], &self.window.kernel[..]].concat()
    }

    /// How many groups the channels are in.
    pub fn group(&self) -> usize {
        self.window.group
    }

    /// Whether there is nothing to sum over: no image, or images without a position.
    pub(crate) fn is_empty(&self) -> bool {
        self.batch == 0 || self.input.contains(&0)
    }

    pub(super) fn x_place(&self, layout: Layout) -> Place {
        Place { channels: self.inputs, positions: self.input.iter().product(), block: layout.block() }
    }

    pub(super) fn y_place(&self, layout: Layout) -> Place {
        Place { channels: self.outputs, positions: self.output.iter().product(), block: layout.block() }
    }

    pub(crate) fn axes(&self) -> Vec<Axis> {
        let window = &self.window;
        let axis = |axis: usize| Axis {
            input: self.input[axis],
            output: self.output[axis],
            kernel: window.kernel[axis],
            stride: window.strides[axis],
            dilation: window.dilations[axis],
            begin: window.begin[axis],
        };
        (0..self.input.len()).map(axis).collect()
    }

    /// The convolution over planes, where it is one.
    pub(super) fn plane(&self) -> Option<Plane> {
        let group = self.window.group;
        Plane::new(self.batch, group, self.inputs / group, self.outputs / group, &self.axes())
    }

    /// The convolutions over all axes but the first that a place of the kernel there is, with `slabs` pairs of an image's
    /// slabs for images.
    pub(super) fn over_rest(&self, slabs: usize) -> Self {
        let window = Window {
            kernel: self.window.kernel[1..].to_vec(),
            strides: self.window.strides[1..].to_vec(),
            dilations: self.window.dilations[1..].to_vec(),
            begin: self.window.begin[1..].to_vec(),
            end: self.window.end[1..].to_vec(),
            group: self.window.group,
        };
        let (input, output) = (self.input[1..].to_vec(), self.output[1..].to_vec());
        Self { window, batch: self.batch * slabs, inputs: self.inputs, outputs: self.outputs, input, output }
    }
}
