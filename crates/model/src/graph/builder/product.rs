//! Matrix products.

use super::Builder;
use super::elementwise::broadcast;
use crate::graph::{Dim, Fact, Shape, Value};
use crate::onnx::proto::AttributeProto;

impl Builder<'_> {
    /// The product of NumPy's `matmul`: matrices in the last two axes, the axes before them broadcast, vectors without
    /// the axis that they lack.
    pub fn matmul(&self, a: impl AsRef<Value>, b: impl AsRef<Value>) -> Value {
        let (a, b) = (a.as_ref(), b.as_ref());
        let fact =
            Fact { element: self.fact(a).element, shape: matmul_shape(&self.fact(a).shape, &self.fact(b).shape) };
        self.node("MatMul", &[a, b], vec![], fact)
    }

    /// α a b of two matrices, each of which may be transposed first.
    pub fn gemm(&self, a: impl AsRef<Value>, b: impl AsRef<Value>, trans_a: bool, trans_b: bool, alpha: f32) -> Value {
        let (a, b) = (a.as_ref(), b.as_ref());
        let dim = |x: &Value, axis: bool| self.fact(x).dim(axis.into()).cloned().unwrap_or(Dim::Unknown);
        let shape = Some(vec![dim(a, trans_a), dim(b, !trans_b)]);
        let fact = Fact { element: self.fact(a).element, shape };
        let mut attributes = Vec::new();
        if alpha != 1.0 {
            attributes.push(AttributeProto::float("alpha", alpha));
        }
        for (name, set) in [("transA", trans_a), ("transB", trans_b)] {
            if set {
                attributes.push(AttributeProto::int(name, 1));
            }
        }
        self.node("Gemm", &[a, b], attributes, fact)
    }
}

fn matmul_shape(a: &Shape, b: &Shape) -> Shape {
    let (a, b) = (a.as_ref()?, b.as_ref()?);
    let split =
        |shape: &[Dim]| shape.split_at_checked(shape.len().checked_sub(2)?).map(|(x, y)| (x.to_vec(), y.to_vec()));
    let (batch_a, rows) = match split(a) {
        Some((batch, matrix)) => (batch, Some(matrix[0].clone())),
        None => (vec![], None),
    };
    let (batch_b, columns) = match split(b) {
        Some((batch, matrix)) => (batch, Some(matrix[1].clone())),
        None => (vec![], None),
    };
    let batch = broadcast(&Some(batch_a), &Some(batch_b))?;
    Some(batch.into_iter().chain(rows).chain(columns).collect())
}
