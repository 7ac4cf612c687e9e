//! Sums and their like over axes.

use super::Builder;
use crate::graph::{Dim, Fact, Value};
use crate::onnx::DataType;
use crate::onnx::proto::AttributeProto;

impl Builder<'_> {
    /// A reduction (`ReduceSum`, `ReduceMean`, `ReduceMax`, …) over some axes, which may be counted from the end; over
    /// none, where the list is empty.
    ///
    /// Axes that are not neighbours, as those of all but the channels of a batch, are reduced a run of neighbours at a
    /// time, the last run first: engines have fast kernels for neighbours alone. A run's result has the axes left that
    /// the next one reduces, so what is appended is a chain whose operators' axes are together those that are asked
    /// for.
    pub fn reduce(&self, operator: &str, x: impl AsRef<Value>, axes: &[i64], keepdims: bool) -> Value {
        let x = x.as_ref();
        let Some(further) = further_runs(operator) else { return self.reduce_at_once(operator, x, axes, keepdims) };
        let runs = runs(axes, self.fact(x).rank());
        let stage = |x: Value, (i, run): (usize, &Vec<i64>)| {
            self.reduce_at_once(if i == 0 { operator } else { further }, &x, run, keepdims)
        };
        runs.iter().rev().enumerate().fold(x.clone(), stage)
    }

    fn reduce_at_once(&self, operator: &str, x: &Value, axes: &[i64], keepdims: bool) -> Value {
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

/// What reduces, over further axes, what `operator` made over some: the two together are `operator` over all of them.
fn further_runs(operator: &str) -> Option<&str> {
    match operator {
        "ReduceSum" | "ReduceMean" | "ReduceProd" | "ReduceMax" | "ReduceMin" => Some(operator),
        "ReduceSumSquare" | "ReduceL1" => Some("ReduceSum"),
        _ => None,
    }
}

/// The axes as runs of neighbours, from the first to the last; as they are, where it cannot be known which are
/// neighbours.
fn runs(axes: &[i64], rank: Option<usize>) -> Vec<Vec<i64>> {
    let from_front = |&axis: &i64| if axis < 0 { Some(axis + rank? as i64) } else { Some(axis) };
    let Some(mut from_front) = axes.iter().map(from_front).collect::<Option<Vec<_>>>() else {
        return vec![axes.to_vec()];
    };
    from_front.sort_unstable();
    let runs: Vec<_> = from_front.chunk_by(|a, b| b - a <= 1).map(<[i64]>::to_vec).collect();
    if runs.len() == 1 { vec![axes.to_vec()] } else { runs }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::testing::body;

    #[test]
    fn axes_are_runs_of_neighbours() {
        assert_eq!(runs(&[0, 2, 3], None), [vec![0], vec![2, 3]]);
        assert_eq!(runs(&[-1, 0, -2], Some(4)), [vec![0], vec![2, 3]]);
        assert_eq!(runs(&[0, -1], None), [vec![0, -1]]);
        assert_eq!(runs(&[-2, -1], Some(3)), [vec![-2, -1]]);
        assert!(runs(&[], None).is_empty());
    }

    #[test]
    fn axes_apart_are_reduced_one_run_after_the_other() {
        let mut graph = Graph::new(body(&["x"], &[], &["x"])).unwrap();
        graph.declare("x", Fact { element: DataType::Float, shape: Some(vec![Dim::Unknown; 4]) });
        let (b, x) = (Builder::new(&mut graph, "test"), Value::from("x"));
        let y = b.reduce("ReduceSumSquare", &x, &[0, 2, 3], false);
        assert_eq!(b.fact(&y).rank(), Some(1));
        let y = b.reduce("ReduceL2", &x, &[0, 2, 3], true);
        assert_eq!(b.fact(&y).rank(), Some(4));
        let operators: Vec<_> = graph.nodes().iter().map(|node| node.op_type()).collect();
        assert_eq!(operators, ["ReduceSumSquare", "ReduceSum", "ReduceL2"]);
    }
}
