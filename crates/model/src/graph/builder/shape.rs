//! Shapes as values of the graph: constants where they are known.

use super::Builder;
use crate::graph::{Dim, Fact, Value};
use crate::onnx::DataType;
use crate::onnx::proto::{AttributeProto, TensorProto};

impl Builder<'_> {
    /// The sizes of `x`, a vector of int64.
    pub fn shape_of(&self, x: impl AsRef<Value>) -> Value {
        let x = x.as_ref();
        if let Some(sizes) = self.fact(x).sizes() {
            return self.int64s(&sizes);
        }
        let shape = self.fact(x).rank().map(|rank| vec![Dim::Known(rank as i64)]);
        self.node("Shape", &[x], vec![], Fact { element: DataType::Int64, shape })
    }

    /// The size of one axis of `x`, a vector of int64 with one element. Negative axes count from the end.
    pub fn size_of(&self, x: impl AsRef<Value>, axis: i64) -> Value {
        let x = x.as_ref();
        if let Some(size) = self.fact(x).dim(axis).and_then(Dim::known) {
            return self.int64s(&[size]);
        }
        let mut attributes = vec![AttributeProto::int("start", axis)];
        if axis != -1 {
            attributes.push(AttributeProto::int("end", axis.saturating_add(1)));
        }
        self.node("Shape", &[x], attributes, Fact::with_sizes(DataType::Int64, &[1]))
    }

    /// Vectors of int64 one behind the other: a constant, where all are.
    pub fn concat_ints(&self, parts: &[&Value]) -> Value {
        let () = ();
        let known: Option<Vec<i64>> = parts.iter().try_fold(Vec::new(), |mut all, part| {
            all.extend_from_slice(&self.ints(part)?);
            Some(all)
        });
        match known {
            Some(known) => self.int64s(&known),
            None => self.concat(parts, 0),
        }
    }

    /// How many elements `x` has along `axes` (along all, where none are given), a scalar of the element type of `x`.
    pub fn count(&self, x: impl AsRef<Value>, axes: Option<&[i64]>) -> Value {
        let x = x.as_ref();
        let element = self.fact(x).element;
        let known = match axes {
            None => self.fact(x).sizes().map(|sizes| sizes.iter().product()),
            Some(axes) => axes.iter().map(|&axis| self.fact(x).dim(axis).and_then(Dim::known)).product(),
        };
        if let Some(count) = known {
            let count: i64 = count;
            return self.number_of(count as f64, element);
        }
        let scalar = Fact::with_sizes(DataType::Int64, &[]);
        let count = match axes {
            None => self.node("Size", &[x], vec![], scalar),
            Some(axes) => {
                // A product of all at once, ReduceProd, has no kernel for int64 on CUDA.
                let shape = self.shape_of(x);
                let size = |&axis: &i64| match self.fact(x).dim(axis).and_then(Dim::known) {
                    Some(size) => self.int64(size),
                    None => self.gather(&shape, self.int64(axis), 0),
                };
                axes.iter().map(size).reduce(|a, b| self.mul(a, b)).unwrap_or_else(|| self.int64(1))
            }
        };
        self.cast(&count, element)
    }

    /// Zeros of the type and shape of `x`.
    pub fn zeros_like(&self, x: impl AsRef<Value>) -> Value {
        let x = x.as_ref();
        self.filled(0.0, x)
    }

    /// `number` in the type and shape of `x`.
    pub fn filled(&self, number: f64, x: impl AsRef<Value>) -> Value {
        let x = x.as_ref();
        let shape = self.shape_of(x);
        self.node("Expand", &[&self.number(number, x), &shape], vec![], self.fact(x))
    }

    /// The shape `short` with ones before it, as long as the shape `long`.
    pub(super) fn pad_with_ones(&self, short: &Value, long: &Value) -> Value {
        let vector = || Fact { element: DataType::Int64, shape: Some(vec![Dim::Unknown]) };
        let (short_rank, long_rank) = (self.shape_of(short), self.shape_of(long));
        let missing = self.sub(long_rank, short_rank);
        let one = TensorProto::int64s("", &[1]);
        let ones = self.node("ConstantOfShape", &[&missing], vec![AttributeProto::tensor("value", one)], vector());
        self.concat(&[&ones, short], 0)
    }
}
