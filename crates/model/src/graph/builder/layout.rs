//! Operators that move elements and change none.

use super::Builder;
use crate::graph::{Dim, Fact, Shape, Value};
use crate::onnx::DataType;
use crate::onnx::proto::AttributeProto;

/// The most inputs of a Concat: with more, ONNX Runtime's kernel for CUDA copies a table of addresses to the device at
/// each run, and no graph of CUDA can be captured.
pub const CONCAT_INPUTS: usize = 32;

impl Builder<'_> {
    /// `x` in a shape known now, in which one size may be −1 (what is left). A size of 0 is not meant here.
    pub fn reshape(&self, x: impl AsRef<Value>, sizes: &[i64]) -> Value {
        let x = x.as_ref();
        let fact = self.fact(x);
        let left = || -> Option<i64> {
            let total: i64 = fact.sizes()?.iter().product();
            let others: i64 = sizes.iter().filter(|s| **s >= 0).product();
            (others > 0).then(|| total / others)
        };
        let dim = |&size: &i64| match size {
            -1 => left().map_or(Dim::Unknown, Dim::Known),
            size => Dim::Known(size),
        };
        let fact = Fact { element: fact.element, shape: Some(sizes.iter().map(dim).collect()) };
        if self.fact(x).same_shape(&fact) {
            return x.clone();
        }
        let shape = self.int64s(sizes);
        self.reshape_to(x, &shape, fact)
    }

    /// `x` in the shape of `like`, which has as many elements.
    pub fn reshape_like(&self, x: impl AsRef<Value>, like: impl AsRef<Value>) -> Value {
        let (x, like) = (x.as_ref(), like.as_ref());
        if self.fact(x).same_shape(&self.fact(like)) {
            return x.clone();
        }
        let fact = Fact { element: self.fact(x).element, shape: self.fact(like).shape.clone() };
        let (shape, exact) = match one_free(&fact.shape) {
            Some(sizes) => (self.int64s(&sizes), sizes.contains(&0)),
            None => (self.shape_of(like), true),
        };
        // Otherwise a size of 0 stands for that of `x`.
        let attributes = if exact { vec![AttributeProto::int("allowzero", 1)] } else { vec![] };
        self.node("Reshape", &[x, &shape], attributes, fact)
    }

    /// `x` in a shape of which all sizes but one are known, or all; none where they are not.
    pub fn reshape_dims(&self, x: impl AsRef<Value>, dims: Vec<Dim>) -> Option<Value> {
        let x = x.as_ref();
        let shape = Some(dims);
        let sizes = one_free(&shape).filter(|sizes| !sizes.contains(&0))?;
        let fact = Fact { element: self.fact(x).element, shape };
        let shape = self.int64s(&sizes);
        Some(self.reshape_to(x, &shape, fact))
    }

    /// `x` in a shape that is a value of the graph; `fact` is what is known of the result.
    pub fn reshape_to(&self, x: impl AsRef<Value>, shape: impl AsRef<Value>, fact: Fact) -> Value {
        let (x, shape) = (x.as_ref(), shape.as_ref());
        self.node("Reshape", &[x, shape], vec![], fact)
    }

    /// A tensor of batch, channels and any further axes as one of rank 3, the further axes taken together.
    pub fn by_channel(&self, x: impl AsRef<Value>) -> Value {
        let x = x.as_ref();
        let fact = self.fact(x);
        if fact.rank() == Some(3) {
            return x.clone();
        }
        let dims = match fact.shape.as_deref() {
            Some([batch, channels, rest @ ..]) => [batch.clone(), channels.clone(), product(rest)],
            _ => [const { Dim::Unknown }; 3],
        };
        let fact = Fact { element: fact.element, shape: Some(dims.to_vec()) };
        // Reshape takes a size of 0 for that of the input.
        let shape = self.int64s(&[0, 0, -1]);
        self.reshape_to(x, &shape, fact)
    }

    /// A tensor of batch, channels and any further axes as one of rank 3: batch, groups of channels, what is in a
    /// group.
    pub fn by_group(&self, x: impl AsRef<Value>, groups: i64) -> Value {
        let x = x.as_ref();
        let fact = self.fact(x);
        let batch = fact.dim(0).cloned().unwrap_or(Dim::Unknown);
        let rest = match fact.shape.as_deref() {
            Some([_, rest @ ..]) => product(rest).known().map_or(Dim::Unknown, |n| Dim::Known(n / groups)),
            _ => Dim::Unknown,
        };
        let fact = Fact { element: fact.element, shape: Some(vec![batch, Dim::Known(groups), rest]) };
        let shape = self.int64s(&[0, groups, -1]);
        self.reshape_to(x, &shape, fact)
    }

    /// `x` as a matrix whose rows are the last axis of `x`; a vector is one row.
    pub fn flatten_rows(&self, x: impl AsRef<Value>) -> Value {
        let x = x.as_ref();
        let fact = self.fact(x);
        if fact.rank() == Some(2) {
            return x.clone();
        }
        let columns = fact.dim(-1).cloned().unwrap_or(Dim::Unknown);
        let rows = fact.shape.as_ref().and_then(|shape| shape.split_last()?.1.iter().map(Dim::known).product());
        let shape = Some(vec![rows.map_or(Dim::Unknown, Dim::Known), columns]);
        let fact = Fact { element: fact.element, shape };
        self.node("Flatten", &[x], vec![AttributeProto::int("axis", -1)], fact)
    }

    /// The axes of `x` in another order: axis i of the result is axis `perm[i]` of `x`.
    pub fn transpose(&self, x: impl AsRef<Value>, perm: &[i64]) -> Value {
        let x = x.as_ref();
        if perm.is_sorted() {
            return x.clone();
        }
        let fact = self.fact(x);
        let shape = match &fact.shape {
            Some(shape) => perm.iter().map(|&axis| shape.get(axis as usize).cloned()).collect(),
            None => Some(vec![Dim::Unknown; perm.len()]),
        };
        let fact = Fact { element: fact.element, shape };
        self.node("Transpose", &[x], vec![AttributeProto::ints("perm", perm)], fact)
    }

    /// The last two axes of `x` exchanged.
    pub fn transpose_last(&self, x: impl AsRef<Value>) -> Value {
        let x = x.as_ref();
        if let Some(rank) = self.fact(x).rank() {
            let mut perm: Vec<i64> = (0..rank as i64).collect();
            if rank >= 2 {
                perm.swap(rank - 1, rank - 2);
            }
            return self.transpose(x, &perm);
        }
        let (rows, columns) = (self.size_of(x, -2), self.size_of(x, -1));
        let stack = self.concat(&[&self.int64s(&[-1]), &rows, &columns], 0);
        let fact = Fact { element: self.fact(x).element, shape: Some(vec![Dim::Unknown; 3]) };
        let transposed = self.transpose(self.reshape_to(x, &stack, fact), &[0, 2, 1]);
        let shape = self.node("Shape", &[x], vec![AttributeProto::int("end", -2)], Fact::of(DataType::Int64));
        let shape = self.concat(&[&shape, &columns, &rows], 0);
        self.reshape_to(transposed, shape, Fact::of(self.fact(x).element))
    }

    /// `x` with axes of size 1 where `axes`, positions in the result, say so.
    pub fn unsqueeze(&self, x: impl AsRef<Value>, axes: &[i64]) -> Value {
        let x = x.as_ref();
        if axes.is_empty() {
            return x.clone();
        }
        let fact = self.fact(x);
        let shape = fact.shape.as_ref().map(|shape| {
            let rank = shape.len() + axes.len();
            let mut left = shape.iter();
            let is_new = |i: usize| axes.contains(&(i as i64)) || axes.contains(&(i as i64 - rank as i64));
            (0..rank)
                .map(|i| if is_new(i) { Dim::Known(1) } else { left.next().cloned().unwrap_or(Dim::Unknown) })
                .collect()
        });
        let fact = Fact { element: fact.element, shape };
        let axes = self.int64s(axes);
        self.node("Unsqueeze", &[x, &axes], vec![], fact)
    }

    /// `x` without the axes `axes`, which have size 1.
    pub fn squeeze(&self, x: impl AsRef<Value>, axes: &[i64]) -> Value {
        let x = x.as_ref();
        if axes.is_empty() {
            return x.clone();
        }
        let fact = self.fact(x);
        let shape = fact.shape.as_ref().map(|shape| {
            let rank = shape.len() as i64;
            let kept = |i: usize| !axes.contains(&(i as i64)) && !axes.contains(&(i as i64 - rank));
            shape.iter().enumerate().filter(|(i, _)| kept(*i)).map(|(_, dim)| dim.clone()).collect()
        });
        let fact = Fact { element: fact.element, shape };
        let axes = self.int64s(axes);
        self.node("Squeeze", &[x, &axes], vec![], fact)
    }

    /// `x`, which broadcasts to the shape of `like`, in that shape.
    pub fn expand_like(&self, x: impl AsRef<Value>, like: impl AsRef<Value>) -> Value {
        let (x, like) = (x.as_ref(), like.as_ref());
        if self.fact(x).same_shape(&self.fact(like)) {
            return x.clone();
        }
        let fact = Fact { element: self.fact(x).element, shape: self.fact(like).shape.clone() };
        let shape = self.shape_of(like);
        self.node("Expand", &[x, &shape], vec![], fact)
    }

    /// The parts one behind the other along `axis`. No more than [`CONCAT_INPUTS`] are taken by one operator: where
    /// there are more, some are joined first, as few as can be.
    pub fn concat(&self, parts: &[&Value], axis: i64) -> Value {
        let mut parts: Vec<Value> = parts.iter().map(|part| (*part).clone()).collect();
        while parts.len() > CONCAT_INPUTS {
            let mut excess = parts.len() - CONCAT_INPUTS;
            let (mut joined, mut rest) = (Vec::new(), &parts[..]);
            while excess > 0 && rest.len() > 1 {
                let (group, behind) = rest.split_at((excess + 1).min(CONCAT_INPUTS).min(rest.len()));
                joined.push(self.concat_at_once(group, axis));
                excess -= group.len() - 1;
                rest = behind;
            }
            joined.extend_from_slice(rest);
            parts = joined;
        }
        self.concat_at_once(&parts, axis)
    }

    fn concat_at_once(&self, parts: &[Value], axis: i64) -> Value {
        if let [part] = parts {
            return part.clone();
        }
        let element = parts.first().map_or(DataType::Float, |part| self.fact(part).element);
        let fact = Fact { element, shape: self.concat_shape(parts, axis) };
        self.node("Concat", &parts.iter().collect::<Vec<_>>(), vec![AttributeProto::int("axis", axis)], fact)
    }

    fn concat_shape(&self, parts: &[Value], axis: i64) -> Shape {
        let mut shape = parts.iter().find_map(|part| self.fact(part).shape.clone())?;
        let index = usize::try_from(if axis < 0 { axis + shape.len() as i64 } else { axis }).ok()?;
        let total: Option<i64> = parts.iter().map(|part| self.fact(part).dim(axis).and_then(Dim::known)).sum();
        *shape.get_mut(index)? = total.map_or(Dim::Unknown, Dim::Known);
        Some(shape)
    }

    /// The elements of `x` from `starts` to `ends` (exclusive) along `axes`, in steps of `steps`, as the operator
    /// `Slice` has them; all four of the same length.
    pub fn slice(&self, x: impl AsRef<Value>, starts: &[i64], ends: &[i64], axes: &[i64], steps: &[i64]) -> Value {
        let x = x.as_ref();
        let fact = self.fact(x);
        let shape = fact.shape.clone().map(|mut shape| {
            let rank = shape.len() as i64;
            for (((start, end), axis), step) in starts.iter().zip(ends).zip(axes).zip(steps) {
                let index = if *axis < 0 { axis + rank } else { *axis } as usize;
                if let Some(dim) = shape.get_mut(index) {
                    *dim = dim.known().map_or(Dim::Unknown, |size| Dim::Known(slice_size(size, *start, *end, *step)));
                }
            }
            shape
        });
        let fact = Fact { element: fact.element, shape };
        let [starts, ends, axes, steps] = [starts, ends, axes, steps].map(|numbers| self.int64s(numbers));
        self.node("Slice", &[x, &starts, &ends, &axes, &steps], vec![], fact)
    }

    /// `x` with zeros around it: `begin[i]` before and `end[i]` behind it along axis i. Negative numbers cut off.
    pub fn pad(&self, x: impl AsRef<Value>, begin: &[i64], end: &[i64]) -> Value {
        let x = x.as_ref();
        if begin.iter().chain(end).any(|p| *p < 0) {
            let starts: Vec<i64> = begin.iter().map(|b| -b.min(&0)).collect();
            let ends: Vec<i64> = end.iter().map(|e| if *e < 0 { *e } else { i64::MAX }).collect();
            let axes: Vec<i64> = (0..begin.len() as i64).collect();
            let cut = self.slice(x, &starts, &ends, &axes, &vec![1; begin.len()]);
            let [begin, end] = [begin, end].map(|pads| pads.iter().map(|p| *p.max(&0)).collect::<Vec<_>>());
            return self.pad(&cut, &begin, &end);
        }
        if begin.iter().chain(end).all(|p| *p == 0) {
            return x.clone();
        }
        let fact = self.fact(x);
        let add = |(dim, (b, e)): (&Dim, (&i64, &i64))| dim.known().map_or(Dim::Unknown, |d| Dim::Known(d + b + e));
        let shape = fact.shape.as_ref().map(|shape| shape.iter().zip(begin.iter().zip(end)).map(add).collect());
        let fact = Fact { element: fact.element, shape };
        let pads = self.int64s(&[begin, end].concat());
        self.node("Pad", &[x, &pads], vec![], fact)
    }

    /// `x` with zeros around it along `axes`: `begin[i]` before and `end[i]` behind it. What negative numbers say is
    /// cut off.
    pub fn pad_along(&self, x: impl AsRef<Value>, begin: &[i64], end: &[i64], axes: &[i64]) -> Value {
        let x = x.as_ref();
        let mut x = x.clone();
        let cut: Vec<usize> = (0..axes.len()).filter(|&i| begin[i] < 0 || end[i] < 0).collect();
        if !cut.is_empty() {
            let of = |number: &dyn Fn(usize) -> i64| cut.iter().map(|&i| number(i)).collect::<Vec<_>>();
            let starts = of(&|i| (-begin[i]).max(0));
            let ends = of(&|i| if end[i] < 0 { end[i] } else { i64::MAX });
            x = self.slice(&x, &starts, &ends, &of(&|i| axes[i]), &vec![1; cut.len()]);
        }
        let fill: Vec<usize> = (0..axes.len()).filter(|&i| begin[i] > 0 || end[i] > 0).collect();
        if fill.is_empty() {
            return x;
        }
        let mut fact = Fact::clone(&self.fact(&x));
        for &i in &fill {
            let more = begin[i].max(0) + end[i].max(0);
            let size = fact.dim(axes[i]).and_then(Dim::known).map_or(Dim::Unknown, |size| Dim::Known(size + more));
            let rank = fact.rank().unwrap_or(0) as i64;
            let index = if axes[i] < 0 { axes[i] + rank } else { axes[i] } as usize;
            if let Some(dim) = fact.shape.as_mut().and_then(|shape| shape.get_mut(index)) {
                *dim = size;
            }
        }
        let pads: Vec<i64> = [begin, end].iter().flat_map(|p| fill.iter().map(|&i| p[i].max(0))).collect();
        let (pads, axes) = (self.int64s(&pads), self.int64s(&fill.iter().map(|&i| axes[i]).collect::<Vec<_>>()));
        self.node("Pad", &[&x, &pads, &Value::from(""), &axes], vec![], fact)
    }

    /// The slices of `x` at `indices` along `axis`.
    pub fn gather(&self, x: impl AsRef<Value>, indices: impl AsRef<Value>, axis: i64) -> Value {
        let (x, indices) = (x.as_ref(), indices.as_ref());
        let (fact, indexed) = (self.fact(x), &self.fact(indices).shape);
        let shape = match (&fact.shape, indexed) {
            (Some(shape), Some(indexed)) => {
                let index = if axis < 0 { axis.saturating_add(shape.len() as i64) } else { axis };
                let (before, behind) =
                    usize::try_from(index).ok().and_then(|index| shape.split_at_checked(index)).unzip();
                before
                    .zip(behind.and_then(<[Dim]>::split_first))
                    .map(|(before, (_, rest))| [before, indexed, rest].concat())
            }
            _ => None,
        };
        let fact = Fact { element: fact.element, shape };
        self.node("Gather", &[x, indices], vec![AttributeProto::int("axis", axis)], fact)
    }
}

fn product(dims: &[Dim]) -> Dim {
    dims.iter().map(Dim::known).product::<Option<i64>>().map_or(Dim::Unknown, Dim::Known)
}

/// The sizes of a shape with −1 for the one that is unknown, where that is enough for `Reshape`.
fn one_free(shape: &Shape) -> Option<Vec<i64>> {
    let sizes: Vec<i64> = shape.as_ref()?.iter().map(|dim| dim.known().unwrap_or(-1)).collect();
    let free = sizes.iter().filter(|size| **size == -1).count();
    (free == 0 || (free == 1 && !sizes.contains(&0))).then_some(sizes)
}

fn slice_size(size: i64, start: i64, end: i64, step: i64) -> i64 {
    let from_end = |i: i64| if i < 0 { i.saturating_add(size) } else { i };
    let (start, end) = (from_end(start), from_end(end));
    let span = match step {
        1.. => end.clamp(0, size) - start.clamp(0, size),
        _ => start.clamp(-1, size - 1) - end.clamp(-1, size - 1),
    };
    let step = step.unsigned_abs().max(1) as i64;
    if span <= 0 { 0 } else { (span + step - 1) / step }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, known_shape};
    use crate::testing::body;

    #[test]
    fn slices_have_the_sizes_of_the_standard() {
        assert_eq!(slice_size(10, 0, 5, 1), 5);
        assert_eq!(slice_size(10, -3, i64::MAX, 1), 3);
        assert_eq!(slice_size(10, 1, 10, 3), 3);
        assert_eq!(slice_size(10, -1, i64::MIN, -1), 10);
        assert_eq!(slice_size(10, 8, 2, -2), 3);
        assert_eq!(slice_size(10, 7, 3, 1), 0);
    }

    #[test]
    fn one_unknown_size_is_what_is_left() {
        assert_eq!(one_free(&Some(vec![Dim::Unknown, Dim::Known(3)])), Some(vec![-1, 3]));
        assert_eq!(one_free(&Some(vec![Dim::Unknown, Dim::Unknown])), None);
        assert_eq!(one_free(&known_shape(&[0, 3])), Some(vec![0, 3]));
    }

    #[test]
    fn no_concat_has_too_many_inputs() {
        for (count, nodes) in [(1, 0), (32, 1), (33, 2), (49, 2), (63, 2), (64, 3), (1024, 33), (1025, 34), (5000, 163)]
        {
            let mut graph = Graph::new(body(&[], &[], &[])).unwrap();
            let parts: Vec<Value> = (0..count).map(|i| Value::from(format!("x{i}").as_str())).collect();
            parts.iter().for_each(|part| graph.declare(part, Fact::with_sizes(DataType::Float, &[2])));
            let b = Builder::new(&mut graph, "test");
            let all = b.concat(&parts.iter().collect::<Vec<_>>(), 0);
            assert_eq!(b.fact(&all).sizes(), Some(vec![2 * count]));
            assert_eq!(graph.nodes().len(), nodes, "{count}");
            assert!(graph.nodes().iter().all(|node| (2..=CONCAT_INPUTS).contains(&node.input.len())));
            let inputs = graph.nodes().iter().flat_map(|node| &node.input);
            let inputs: Vec<_> = inputs.filter(|input| input.starts_with('x')).collect();
            assert!(inputs.len() == parts.len() || count == 1);
        }
    }
}
