//! The window that a convolution or a pool slides over its input.

use super::Op;
use gnp_base::Result;
use gnp_model::graph::{Builder, Dim, Fact, Value};
use gnp_model::onnx::proto::AttributeProto;

/// Along each spatial axis, element o of the output reads the elements o·stride − begin + j·dilation of the input, for
/// 0 ≤ j < kernel; those that do not exist are padding.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub kernel: Vec<i64>,
    pub strides: Vec<i64>,
    pub dilations: Vec<i64>,
    pub begin: Vec<i64>,
    pub end: Vec<i64>,
}

impl Window {
    /// The window of a node that slides over `x`, and the padding that is only known when the graph runs.
    ///
    /// # Errors
    /// Where an attribute is of the wrong length or range.
    pub(super) fn over(op: &Op, kernel: Vec<i64>, x: &Value, g: &Builder<'_>) -> Result<(Self, Padding)> {
        let mut window = Self::with_pads(op, kernel)?;
        let zeros = vec![0; window.rank()];
        match op.string("auto_pad", "NOTSET") {
            "" | "NOTSET" => {}
            "VALID" => window.set_pads(&zeros, false),
            side @ ("SAME_UPPER" | "SAME_LOWER") => {
                let odd_to_begin = side == "SAME_LOWER";
                let total = (0..window.rank()).map(|axis| window.same_padding(axis, &g.fact(x)));
                if let Some(total) = total.collect::<Option<Vec<i64>>>() {
                    window.set_pads(&total, odd_to_begin);
                } else {
                    window.set_pads(&zeros, false);
                    let total = window.same_padding_of(x, g);
                    return Ok((window, Padding::divided(&total, odd_to_begin, g)));
                }
            }
            other => return Err(op.error(format!("its attribute `auto_pad` is `{other}`, which is no such mode"))),
        }
        Ok((window, Padding::default()))
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

    /// The same, as a vector of the graph.
    fn same_padding_of(&self, x: &Value, g: &Builder<'_>) -> Value {
        let sizes = spatial_sizes(x, self.rank(), g);
        let reach: Vec<i64> = (0..self.rank()).map(|axis| self.reach(axis) + 1).collect();
        let (one, zero) = (g.int64s(&[1]), g.int64s(&[0]));
        let (strides, reach) = (g.int64s(&self.strides), g.int64s(&reach));
        let last = g.mul(g.div(g.sub(&sizes, &one), &strides), &strides);
        g.binary("Max", g.sub(g.add(&last, &reach), &sizes), &zero)
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

    /// Whether an element may be in several windows.
    pub(super) fn overlaps(&self) -> bool {
        (0..self.rank()).any(|axis| self.reach(axis) >= self.strides[axis])
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
    pub(super) fn cut(&self, x: &Value, g: &Builder<'_>) -> (Value, Self) {
        let negative = |pads: &[i64]| -> Vec<i64> { [0, 0].iter().chain(pads).map(|p| *p.min(&0)).collect() };
        let positive = |pads: &[i64]| pads.iter().map(|p| *p.max(&0)).collect();
        let x = g.pad(x, &negative(&self.begin), &negative(&self.end));
        (x, Self { begin: positive(&self.begin), end: positive(&self.end), ..self.clone() })
    }

    /// All that there is to say of the window, defaults too.
    pub(super) fn all_attributes(&self) -> Vec<AttributeProto> {
        let Self { kernel, strides, dilations, begin, end } = self;
        vec![
            AttributeProto::ints("kernel_shape", kernel),
            AttributeProto::ints("strides", strides),
            AttributeProto::ints("dilations", dilations),
            AttributeProto::ints("pads", &[begin.as_slice(), end].concat()),
        ]
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

    /// The part of `full` that belongs to `x`: `full` is laid out over the padded input, and may lack up to
    /// `stride − 1` of its last elements along each spatial axis, where no window came to lie. They are zero.
    pub(super) fn unpad(&self, full: &Value, padding: &Padding, x: &Value, g: &Builder<'_>) -> Value {
        let rank = self.rank();
        let mut begin = vec![0, 0];
        let mut end = vec![0, 0];
        if let (None, Some(from), Some(to)) = (&padding.0, known_spatial(full, rank, g), known_spatial(x, rank, g)) {
            begin.extend(self.begin.iter().map(|b| -b));
            end.extend(from.iter().zip(&to).zip(&self.begin).map(|((from, to), begin)| to + begin - from));
            return g.pad(full, &begin, &end);
        }
        begin.resize(rank + 2, 0);
        end.extend(self.strides.iter().map(|s| s - 1));
        let full = g.pad(full, &begin, &end);
        let starts = match &padding.0 {
            Some([begin, _]) => begin.clone(),
            None => g.int64s(&self.begin),
        };
        let ends = g.add(&starts, spatial_sizes(x, rank, g));
        let axes = g.int64s(&(2..2 + rank as i64).collect::<Vec<_>>());
        g.node("Slice", &[&full, &starts, &ends, &axes], vec![], g.fact(x))
    }
}

/// Padding that is only known when the graph runs, as a vector of the graph for each side; none where the window has it
/// all.
#[derive(Clone, Debug, Default)]
pub(super) struct Padding(Option<[Value; 2]>);

impl Padding {
    /// The given padding divided among both sides; what is odd goes to the end, or to the begin.
    pub(super) fn divided(total: &Value, odd_to_begin: bool, g: &Builder<'_>) -> Self {
        let (odd, two) = (g.int64s(&[i64::from(odd_to_begin)]), g.int64s(&[2]));
        let begin = g.div(g.add(total, &odd), &two);
        let end = g.sub(total, &begin);
        Self(Some([begin, end]))
    }

    /// Whether the window has all padding.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The same at the begin, and at the end what makes it `total`.
    pub(super) fn with_total(self, total: &Value, g: &Builder<'_>) -> Self {
        Self(self.0.map(|[begin, _]| {
            let end = g.sub(total, &begin);
            [begin, end]
        }))
    }

    /// `x` with the padding around it, or without what it cuts off where it is negative.
    pub(super) fn apply(&self, x: &Value, g: &Builder<'_>) -> Value {
        let Some([begin, end]) = &self.0 else { return x.clone() };
        let none = g.int64s(&[0, 0]);
        let pads = g.concat(&[&none, begin, &none, end], 0);
        let fact = g.fact(x);
        let shape = fact.shape.as_ref().map(|shape| {
            let spatial = shape.len().saturating_sub(2);
            shape.iter().take(2).cloned().chain(vec![Dim::Unknown; spatial]).collect()
        });
        let fact = Fact { element: fact.element, shape };
        g.node("Pad", &[x, &pads], vec![], fact)
    }
}

/// The spatial sizes of `x`, a vector of int64.
pub(super) fn spatial_sizes(x: &Value, rank: usize, g: &Builder<'_>) -> Value {
    if let Some(sizes) = known_spatial(x, rank, g) {
        return g.int64s(&sizes);
    }
    let sizes: Vec<Value> = (2..2 + rank as i64).map(|axis| g.size_of(x, axis)).collect();
    g.concat(&sizes.iter().collect::<Vec<_>>(), 0)
}

fn known_spatial(x: &Value, rank: usize, g: &Builder<'_>) -> Option<Vec<i64>> {
    (2..2 + rank as i64).map(|axis| g.fact(x).dim(axis).and_then(Dim::known)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::onnx::DataType;

    fn window(kernel: i64, stride: i64, dilation: i64) -> Window {
        let (kernel, strides, dilations) = (vec![kernel], vec![stride], vec![dilation]);
        Window { kernel, strides, dilations, begin: vec![0], end: vec![0] }
    }

    #[test]
    fn same_padding_makes_the_output_the_input_over_the_stride_rounded_up() {
        for (size, kernel, stride, dilation) in
            [(7, 3, 1, 1), (7, 3, 2, 1), (8, 3, 2, 1), (9, 2, 3, 2), (5, 1, 2, 1), (9, 5, 4, 1)]
        {
            let window = window(kernel, stride, dilation);
            let x = Fact::with_sizes(DataType::Float, &[2, 3, size]);
            let total = window.same_padding(0, &x).unwrap();
            let output = (size + total - window.reach(0) - 1) / stride + 1;
            assert_eq!(output, (size + stride - 1) / stride, "{size} {window:?}");
        }
    }

    #[test]
    fn padding_depends_on_the_size_only_where_there_is_a_stride() {
        let unknown = Fact::of(DataType::Float);
        assert_eq!(window(3, 1, 2).same_padding(0, &unknown), Some(4));
        assert_eq!(window(3, 2, 1).same_padding(0, &unknown), None);
    }

    #[test]
    fn what_is_odd_goes_to_one_side() {
        let mut window = window(4, 1, 1);
        window.set_pads(&[3], false);
        assert_eq!((window.begin[0], window.end[0]), (1, 2));
        window.set_pads(&[3], true);
        assert_eq!((window.begin[0], window.end[0]), (2, 1));
    }
}
