//! Sums and their like over axes.

use super::Builder;
use crate::graph::{Dim, Fact, Value};
use crate::onnx::DataType;
use crate::onnx::proto::AttributeProto;

impl Builder<'_> {
    /// A reduction (`ReduceSum`, `ReduceMean`, `ReduceMax`, …) over some axes, which may be counted from the end; over
    /// none, where the list is empty.
    pub fn reduce(&self, operator: &str, x: impl AsRef<Value>, axes: &[i64], keepdims: bool) -> Value {
        let x = x.as_ref();
        if axes.is_empty() {
            return x.clone();
        }
        let fact = self.fact(x);
        let shape = fact.shape.as_ref().map(|shape| {
            let rank = shape.len() as i64;
            let reduced = |i: usize| axes.contains(&(i as i64)) || axes.contains(&(i as i64 - rank));
            let dims = shape.iter().enumerate().filter(|(i, _)| keepdims || !reduced(*i));
            dims.map(|(i, dim)| if reduced(i) { Dim::Known(1) } else { dim.clone() }).collect()
        });
        let fact = Fact { element: fact.element, shape };
        let axes = self.int64s(axes);
        self.node(operator, &[x, &axes], vec![AttributeProto::int("keepdims", keepdims.into())], fact)
    }

    /// A reduction over all axes, to a scalar.
    pub fn reduce_all(&self, operator: &str, x: impl AsRef<Value>) -> Value {
        let x = x.as_ref();
        let fact = Fact::with_sizes(self.fact(x).element, &[]);
        self.node(operator, &[x], vec![AttributeProto::int("keepdims", 0)], fact)
    }

    /// A sum over axes known when the graph runs; over none, where there are none.
    fn reduce_sum_by(&self, x: &Value, axes: &Value, keepdims: bool) -> Value {
        let fact = self.fact(x);
        let shape = fact.shape.as_ref().filter(|_| keepdims).map(|shape| vec![Dim::Unknown; shape.len()]);
        let fact = Fact { element: fact.element, shape };
        let attributes =
            vec![AttributeProto::int("keepdims", keepdims.into()), AttributeProto::int("noop_with_empty_axes", 1)];
        self.node("ReduceSum", &[x, axes], attributes, fact)
    }

    /// `x` summed over the axes along which `like` was broadcast to its shape; the result has the shape of `like`. This
    /// is what a broadcast operand's cotangent needs.
    pub fn sum_to(&self, x: impl AsRef<Value>, like: impl AsRef<Value>) -> Value {
        let (x, like) = (x.as_ref(), like.as_ref());
        if self.fact(x).same_shape(&self.fact(like)) {
            return x.clone();
        }
        match self.axes_to_sum(x, like) {
            Some((axes, _)) if axes.is_empty() => x.clone(),
            Some((axes, true)) => self.reduce("ReduceSum", x, &axes, false),
            Some((axes, false)) => self.reshape_like(self.reduce("ReduceSum", x, &axes, true), like),
            None => {
                let (from, to) = (self.shape_of(x), self.shape_of(like));
                let broadcast = self.compare("Equal", self.pad_with_ones(&to, &from), self.int64(1));
                let axes = self.node("NonZero", &[&broadcast], vec![], Fact::of(DataType::Int64));
                let sum = self.reduce_sum_by(x, &self.reshape(axes, &[-1]), true);
                let fact = Fact { element: self.fact(x).element, shape: self.fact(like).shape.clone() };
                self.reshape_to(&sum, &to, fact)
            }
        }
    }

    /// The axes over which to sum, and whether they are just the leading ones that `like` does not have; none where
    /// that cannot be known yet.
    fn axes_to_sum(&self, x: &Value, like: &Value) -> Option<(Vec<i64>, bool)> {
        let (from, to) = (self.fact(x), self.fact(like));
        let (from, to) = (from.shape.as_ref()?, to.shape.as_ref()?);
        let extra = from.len().checked_sub(to.len())?;
        let mut axes: Vec<i64> = (0..extra as i64).collect();
        for (i, to) in to.iter().enumerate() {
            let from = &from[extra + i];
            match to {
                Dim::Known(1) if !from.is(to) => axes.push((extra + i) as i64),
                Dim::Known(_) => {}
                _ if from.is(to) => {}
                _ => return None,
            }
        }
        let leading = axes.len() == extra;
        Some((axes, leading))
    }
}
