//! The window that a convolution or a pool slides over its input.

use super::Op;
use crate::Result;
use crate::graph::{Dim, Fact, TypedBuilder, Value};
use crate::onnx::proto::AttributeProto;

/// What helps where sizes are missing.
pub(super) const SIZES: &str = "give the missing sizes with --dim, or export the model with fixed ones";

/// Along each spatial axis, element o of the output reads the elements o·stride − begin + j·dilation of the input, for 0 ≤ j < kernel;
/// those that do not exist are padding.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub kernel: Vec<i64>,
    pub strides: Vec<i64>,
    pub dilations: Vec<i64>,
    pub begin: Vec<i64>,
    pub end: Vec<i64>,
}

impl Window {
    /// The window of a node that slides over something of which `x` is known.
    ///
    /// # Errors
    /// Where an attribute is of the wrong length or range; where the padding depends on sizes that are not known.
    pub(super) fn of(op: &Op, kernel: Vec<i64>, x: &Fact) -> Result<Self> {
        let mut window = Self::with_pads(op, kernel)?;
        match op.string("auto_pad", "NOTSET") {
            "" | "NOTSET" => {}
            "VALID" => window.set_pads(&vec![0; window.rank()], false),
            side @ ("SAME_UPPER" | "SAME_LOWER") => {
                let total: Option<Vec<i64>> = (0..window.rank()).map(|axis| window.same_padding(axis, x)).collect();
                let total = total.ok_or_else(|| {
                    op.error("its padding depends on the size of its input, which is not known").help(SIZES)
                })?;
                window.set_pads(&total, side == "SAME_LOWER");
            }
            other => return Err(op.error(format!("its attribute `auto_pad` is `{other}`, which is no such mode"))),
        }
        Ok(window)
    }

    /// The window with the pads of the attribute `pads`, whatever `auto_pad` says.
    ///
    /// # Errors
    /// Where an attribute is of the wrong length or range.
    pub(super) fn with_pads(op: &Op, kernel: Vec<i64>) -> Result<Self> {
        let rank = kernel.len();
        let list = |name: &str, count: usize, default: i64| match op.ints(name) {
            None => Ok(vec![default; count]),
            Some(list) if list.len() == count && list.iter().all(|i| *i >= default) => Ok(list.to_vec()),
            Some(list) => Err(op.error(format!("its attribute `{name}` = {list:?} does not fit {rank} spatial axes"))),
        };
        let pads = list("pads", 2 * rank, 0)?;
        let (begin, end) = (pads[..rank].to_vec(), pads[rank..].to_vec());
        Ok(Self { strides: list("strides", rank, 1)?, dilations: list("dilations", rank, 1)?, begin, end, kernel })
    }

    /// How much padding makes the output as large as the input divided by the stride, rounded up.
    fn same_padding(&self, axis: usize, x: &Fact) -> Option<i64> {
        let (stride, reach) = (self.strides[axis], self.reach(axis));
        if stride == 1 {
            return Some(reach);
        }
        let size = x.dim(axis as i64 + 2).and_then(Dim::known)?;
        Some(((size - 1) / stride * stride + reach + 1 - size).max(0))
    }

    /// Divides padding among both sides; what is odd goes to the end, or to the begin.
    pub(super) fn set_pads(&mut self, total: &[i64], odd_to_begin: bool) {
        self.begin = total.iter().map(|t| (t + i64::from(odd_to_begin)) / 2).collect();
        self.end = total.iter().zip(&self.begin).map(|(total, begin)| total - begin).collect();
    }

    /// How many spatial axes there are.
    pub(super) fn rank(&self) -> usize {
        self.kernel.len()
    }

    /// From the first to the last element of the window along an axis.
    pub(super) fn reach(&self, axis: usize) -> i64 {
        (self.kernel[axis] - 1) * self.dilations[axis]
    }

    /// How many elements the window has.
    pub(super) fn size(&self) -> i64 {
        self.kernel.iter().product()
    }

    /// Whether every step is one.
    pub(super) fn is_dense(&self) -> bool {
        self.strides.iter().all(|s| *s == 1)
    }

    /// The same window with other strides and pads.
    pub(super) fn with(&self, strides: Vec<i64>, begin: Vec<i64>, end: Vec<i64>) -> Self {
        Self { strides, begin, end, ..self.clone() }
    }

    /// The window that goes from the output back to the input where all strides are one.
    pub(super) fn mirrored(&self) -> Self {
        let rest = |pads: &[i64]| pads.iter().enumerate().map(|(axis, pad)| self.reach(axis) - pad).collect();
        Self { begin: rest(&self.begin), end: rest(&self.end), ..self.clone() }
    }

    /// Takes out what padding is negative: `x` without what it cuts off, and the window over that.
    pub(super) fn cut(&self, x: &Value, g: &mut TypedBuilder<'_>) -> (Value, Self) {
        let negative = |pads: &[i64]| -> Vec<i64> { [0, 0].iter().chain(pads).map(|p| *p.min(&0)).collect() };
        let positive = |pads: &[i64]| pads.iter().map(|p| *p.max(&0)).collect();
        let x = g.pad(x, &negative(&self.begin), &negative(&self.end));
        (x, Self { begin: positive(&self.begin), end: positive(&self.end), ..self.clone() })
    }

    /// The window as attributes of a convolution or a pool.
    pub(super) fn attributes(&self) -> Vec<AttributeProto> {
        let mut attributes = vec![AttributeProto::ints("kernel_shape", &self.kernel)];
        let mut unless = |name, list: &[i64], default: i64| {
            if list.iter().any(|i| *i != default) {
                attributes.push(AttributeProto::ints(name, list));
            }
        };
        unless("strides", &self.strides, 1);
        unless("dilations", &self.dilations, 1);
        unless("pads", &[self.begin.as_slice(), &self.end].concat(), 0);
        attributes
    }

    /// The part of `full` that belongs to `x`: `full` is laid out over the padded input, and may lack up to `stride − 1` of its last
    /// elements along each spatial axis, where no window came to lie. They are zero.
    pub(super) fn unpad(&self, full: &Value, x: &Value, g: &mut TypedBuilder<'_>) -> Value {
        let axes: Vec<i64> = (2..2 + self.rank() as i64).collect();
        let known = |value: &Value, g: &TypedBuilder<'_>| -> Option<Vec<i64>> {
            axes.iter().map(|&axis| g.fact(value).dim(axis).and_then(Dim::known)).collect()
        };
        let mut begin = vec![0, 0];
        begin.extend(self.begin.iter().map(|b| -b));
        let mut end = vec![0, 0];
        if let (Some(full_sizes), Some(sizes)) = (known(full, g), known(x, g)) {
            end.extend(full_sizes.iter().zip(&sizes).zip(&self.begin).map(|((full, size), begin)| size + begin - full));
            return g.pad(full, &begin, &end);
        }
        end.extend(self.strides.iter().map(|s| s - 1));
        let full = g.pad(full, &vec![0; self.rank() + 2], &end);
        let sizes: Vec<Value> = axes.iter().map(|&axis| g.size_of(x, axis)).collect();
        let sizes = g.concat(&sizes.iter().collect::<Vec<_>>(), 0);
        let (starts, axes) = (g.int64s(&self.begin), g.int64s(&axes));
        let ends = g.add(&starts, &sizes);
        let fact = g.fact(x).clone();
        g.node("Slice", &[&full, &starts, &ends, &axes], vec![], fact)
    }
}
