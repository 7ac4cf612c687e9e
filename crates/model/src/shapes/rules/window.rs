//! Operators that go over an image with a window, and the arithmetic of windows.

use super::super::known::{Known, Sizes};
use super::super::size::Size;
use super::{Operation, Rule, number, open};
use crate::onnx::DataType;

pub(super) fn rule(operator: &str) -> Option<Rule> {
    Some(match operator {
        "MaxPool" => |op| {
            let pooled = pool(op);
            let places = Known::of(DataType::Int64).with(pooled.sizes.clone());
            Some(vec![pooled, places])
        },
        "AveragePool" | "LpPool" => |op| Some(vec![pool(op)]),
        "GlobalAveragePool" | "GlobalLpPool" | "GlobalMaxPool" => global,
        "MaxUnpool" => unpool,
        _ => return None,
    })
}

/// The window along one spatial axis.
pub(super) struct Window {
    kernel: Size,
    stride: i64,
    dilation: i64,
    /// Before and behind; none where the axis is padded until it is as large as its strides say.
    pads: Option<(i64, i64)>,
    rounds_up: bool,
}

/// The number at a place of a list that is an attribute, or `default`.
fn entry(op: &Operation<'_>, name: &str, at: usize, default: i64) -> Option<i64> {
    op.node.ints(name).map_or(Some(default), |list| list.get(at).copied())
}

impl Window {
    /// The window along one of `spatial` axes, of a kernel of this size.
    pub(super) fn along(op: &Operation<'_>, axis: usize, spatial: usize, kernel: Size) -> Option<Self> {
        let pads = match op.node.string("auto_pad", "NOTSET") {
            "SAME_UPPER" | "SAME_LOWER" => None,
            "VALID" => Some((0, 0)),
            _ => Some((entry(op, "pads", axis, 0)?, entry(op, "pads", spatial.checked_add(axis)?, 0)?)),
        };
        let stride = entry(op, "strides", axis, 1).filter(|&stride| stride > 0)?;
        let dilation = entry(op, "dilations", axis, 1).filter(|&dilation| dilation > 0)?;
        Some(Self { kernel, stride, dilation, pads, rounds_up: op.node.int("ceil_mode", 0) == 1 })
    }

    /// How far the window reaches.
    fn field(&self) -> Option<Size> {
        self.kernel.plus_number(-1)?.times_number(self.dilation)?.plus_number(1)
    }

    /// At how many places the window is.
    pub(super) fn places(&self, size: &Size) -> Option<Size> {
        let Some((before, behind)) = self.pads else { return size.over_rounded_up(self.stride) };
        let field = self.field()?;
        let padded = size.plus_number(before.checked_add(behind)?)?;
        let room = padded.minus(&field)?;
        // Engines round to this side or the other where the window is larger than the image.
        if self.stride > 1 && room.known().is_some_and(|room| room < 0) {
            return None;
        }
        if !self.rounds_up || self.stride == 1 {
            return room.over(self.stride)?.plus_number(1);
        }
        let steps = room.over_rounded_up(self.stride)?;
        // A window that begins in what is padded behind is left out.
        let last_reaches = field.known().is_some_and(|field| behind.saturating_add(self.stride - 1) < field);
        match (steps.known(), size.known()) {
            (Some(steps), Some(size)) => {
                let begins_behind = steps.checked_mul(self.stride)? >= size.checked_add(before)?;
                number(if begins_behind { steps } else { steps.checked_add(1)? })
            }
            _ if last_reaches => steps.plus_number(1),
            _ => None,
        }
    }

    /// The size whose windows are at so many places: what a transposed convolution makes of `size`.
    pub(super) fn spread(&self, size: &Size, more: i64) -> Option<Size> {
        let Some((before, behind)) = self.pads else { return size.times_number(self.stride) };
        let last = size.plus_number(-1)?.times_number(self.stride)?;
        last.plus(&self.field()?)?.plus_number(more.checked_sub(before)?.checked_sub(behind)?)
    }
}

fn pool(op: &Operation<'_>) -> Known {
    let made = Known::of(op.element(0));
    let kernel = op.node.ints("kernel_shape").unwrap_or_default();
    let Some([images, channels, spatial @ ..]) = op.sizes(0).map(Vec::as_slice) else {
        return made.with(kernel.len().checked_add(2).and_then(open));
    };
    let along = |(axis, size): (usize, &Option<Size>)| {
        Window::along(op, axis, spatial.len(), Size::number(*kernel.get(axis)?))?.places(size.as_ref()?)
    };
    let mut sizes = vec![images.clone(), channels.clone()];
    sizes.extend(spatial.iter().enumerate().map(along));
    made.with(sizes)
}

fn global(op: &Operation<'_>) -> Option<Vec<Known>> {
    let kept = |(axis, size): (usize, &Option<Size>)| if axis < 2 { size.clone() } else { number(1) };
    let sizes = op.sizes(0).map(|sizes| sizes.iter().enumerate().map(kept).collect::<Sizes>());
    Some(vec![Known::of(op.element(0)).with(sizes)])
}

/// The inverse of MaxPool, whose own size may be given.
fn unpool(op: &Operation<'_>) -> Option<Vec<Known>> {
    let made = Known::of(op.element(0));
    if op.has(2) {
        let given = op.input(2).whole().map(|sizes| sizes.iter().cloned().map(Some).collect::<Sizes>());
        return Some(vec![made.with(given.or_else(|| open(op.rank(0)?)))]);
    }
    let Some([images, channels, spatial @ ..]) = op.sizes(0).map(Vec::as_slice) else { return Some(vec![made]) };
    let kernel = op.node.ints("kernel_shape").unwrap_or_default();
    let along = |(axis, size): (usize, &Option<Size>)| {
        Window::along(op, axis, spatial.len(), Size::number(*kernel.get(axis)?))?.spread(size.as_ref()?, 0)
    };
    let mut sizes = vec![images.clone(), channels.clone()];
    sizes.extend(spatial.iter().enumerate().map(along));
    Some(vec![made.with(sizes)])
}
