//! A layer in one direction, over all steps at once.

use super::cell::{Cell, Sum};
use super::input::{B, C, H, LENGTHS, P, R, W, X};
use crate::graph::{Along, Builder, Dim, Fact, Value};
use crate::onnx::DataType;
use crate::onnx::proto::{AttributeProto, NodeProto};

/// The operands of a layer in one direction. Steps and batch are one axis where it says *rows*.
#[derive(Debug)]
pub struct Direction<'c> {
    /// The equations.
    pub cell: &'c Cell,
    /// The input, \[rows, features\].
    pub x: Value,
    /// The weights of each of [`Cell::sums`].
    pub weights: Vec<Weights>,
    /// The states before the first step, \[batch, hidden\]; 0 where there is none.
    pub first: Vec<Option<Value>>,
    /// The peepholes, \[3 · hidden\].
    pub peepholes: Option<Value>,
    /// Which steps are there, \[steps, batch, 1\]; where there are lengths.
    pub is_there: Option<Value>,
    /// Which sequences have a step, \[batch, 1\]; where there are lengths.
    has_steps: Option<Value>,
    /// The axis of the directions, and where this one is on it; none where it is the only one.
    at: Option<i64>,
    /// How many steps, how long a batch.
    sizes: [Value; 2],
    dims: [Dim; 2],
}

/// What a sum is made with: rows of W, R and the biases.
#[derive(Debug)]
pub struct Weights {
    /// Those of the input.
    pub w: Option<Value>,
    /// Those of the operand.
    pub r: Option<Value>,
    /// The biases of both, added up.
    pub bias: Option<Value>,
}

impl<'c> Direction<'c> {
    /// Direction `index`, with this `cell`, of the `directions` of the layer `node`.
    pub fn of(node: &NodeProto, cell: &'c Cell, index: usize, directions: usize, b: &Builder<'_>) -> Self {
        let at = (directions > 1).then_some(index as i64);
        let input = |position: usize| node.input(position).map(Value::from);
        let own = |position: usize| input(position).map(|value| pick(&value, at, 0, b));
        let x = input(X).unwrap_or_else(|| "".into());
        let lengths = input(LENGTHS).map(|lengths| b.cast(lengths, DataType::Int64));
        let sizes = [0, 1].map(|axis| b.size_of(&x, axis));
        let dims = [0, 1].map(|axis| b.fact(&x).dim(axis).cloned().unwrap_or(Dim::Unknown));
        let is_there = lengths.as_ref().map(|lengths| {
            let ints = Fact { element: DataType::Int64, shape: Some(vec![dims[0].clone()]) };
            let steps = b.node("Range", &[&b.int64(0), &b.reshape(&sizes[0], &[]), &b.int64(1)], vec![], ints);
            b.compare("Less", b.unsqueeze(steps, &[1, 2]), b.unsqueeze(lengths, &[0, 2]))
        });
        let has_steps = lengths.map(|lengths| b.compare("Greater", b.unsqueeze(lengths, &[1]), b.int64(0)));
        let mut direction = Self {
            cell,
            weights: weights(cell, [own(W), own(R), own(B)], b),
            first: vec![None; cell.states()],
            peepholes: if cell.states() > 1 { own(P) } else { None },
            x: rows(&x, b),
            is_there,
            has_steps,
            at,
            sizes,
            dims,
        };
        for (state, position) in [H, C].into_iter().take(cell.states()).enumerate() {
            direction.first[state] = own(position).inspect(|first| b.declare(first, direction.state_fact(false, b)));
        }
        direction
    }

    /// This direction's part of a value with an axis of directions, without that axis.
    pub fn part(&self, x: &Value, axis: i64, b: &Builder<'_>) -> Value {
        pick(x, self.at, axis, b)
    }

    /// A sum, of what its weights make of the input and of the operand.
    pub fn sum(
        &self,
        index: usize,
        of_input: Option<&Value>,
        operand: Option<&Value>,
        b: &Builder<'_>,
    ) -> Option<Value> {
        match (operand, &self.weights[index].r) {
            (Some(operand), Some(r)) => Some(self.product(index, operand, r, of_input, b)),
            _ => of_input.cloned(),
        }
    }

    /// The part of a sum that does not depend on the states: of the input and the biases, for all rows.
    pub fn of_input(&self, index: usize, b: &Builder<'_>) -> Option<Value> {
        let Weights { w, bias, .. } = &self.weights[index];
        match w {
            Some(w) => Some(self.product(index, &self.x, w, bias.as_ref(), b)),
            None => bias.clone(),
        }
    }

    /// x · wᵀ for a sum, and what is added.
    fn product(&self, index: usize, x: &Value, w: &Value, more: Option<&Value>, b: &Builder<'_>) -> Value {
        let fact = b.fact(x);
        let rows = fact.dim(0).cloned().unwrap_or(Dim::Unknown);
        let fact = Fact { element: fact.element, shape: Some(vec![rows, Dim::Known(self.width(index))]) };
        let inputs: Vec<&Value> = [x, w].into_iter().chain(more).collect();
        b.node("Gemm", &inputs, vec![AttributeProto::int("transB", 1)], fact)
    }

    /// How many numbers a sum has for a row.
    pub fn width(&self, sum: usize) -> i64 {
        let gates = &self.cell.sums()[sum].gates;
        (gates.end - gates.start) * self.cell.hidden
    }

    /// The rows of a sum as \[steps, batch, …\].
    pub fn by_step(&self, sum: usize, rows: &Value, b: &Builder<'_>) -> Value {
        let width = self.width(sum);
        let [steps, batch] = &self.sizes;
        let shape = b.concat_ints(&[steps, batch, &b.int64s(&[width])]);
        let [steps, batch] = self.dims.clone();
        let fact = Fact { element: b.fact(rows).element, shape: Some(vec![steps, batch, Dim::Known(width)]) };
        b.reshape_to(rows, shape, fact)
    }

    /// The states before the first step, zeros where none are given.
    pub fn first(&self, state: usize, b: &Builder<'_>) -> Value {
        match &self.first[state] {
            Some(first) => first.clone(),
            None => self.zeros(b),
        }
    }

    /// What is known of a state, \[batch, hidden\], or of those of all steps, \[steps, batch, hidden\].
    pub fn state_fact(&self, of_all_steps: bool, b: &Builder<'_>) -> Fact {
        let [steps, batch] = self.dims.clone();
        let steps = Some(steps).filter(|_| of_all_steps);
        let shape = steps.into_iter().chain([batch, Dim::Known(self.cell.hidden)]).collect();
        Fact { element: b.fact(&self.x).element, shape: Some(shape) }
    }

    /// A state that is 0.
    pub fn zeros(&self, b: &Builder<'_>) -> Value {
        let fact = self.state_fact(false, b);
        let shape = b.concat_ints(&[&self.sizes[1], &b.int64s(&[self.cell.hidden])]);
        b.node("Expand", &[&b.number_of(0.0, fact.element), &shape], vec![], fact)
    }

    /// `x`, \[batch, …\], where a sequence has a step; 0 where it has none.
    pub fn where_steps(&self, x: &Value, b: &Builder<'_>) -> Value {
        match &self.has_steps {
            Some(has_steps) => b.select(has_steps, x, b.number(0.0, x)),
            None => x.clone(),
        }
    }

    /// Over the steps, in the order of the cell; backwards in the other.
    pub fn along(&self, backwards: bool) -> Along {
        Along { axis: 0, reverse: self.cell.reverse != backwards }
    }

    /// The hidden states before each step, \[steps, batch, hidden\], of those after each step.
    pub fn hidden_before(&self, after: &Value, b: &Builder<'_>) -> Value {
        let reverse = self.cell.reverse;
        // Behind the last step of a sequence, the states that are returned are 0.
        let (begin, end) = if reverse { (-1, 1) } else { (1, -1) };
        let Some(first) = &self.first[0] else { return b.pad_along(after, &[begin], &[end], &[0]) };
        let kept = b.pad_along(after, &[begin.min(0)], &[end.min(0)], &[0]);
        let first = b.unsqueeze(first, &[0]);
        let before = if reverse { b.concat(&[&kept, &first], 0) } else { b.concat(&[&first, &kept], 0) };
        match &self.is_there {
            Some(is_there) if reverse => {
                // The first step is the last that is there: the one before it, in time, is not.
                let next_is_there = b.pad_along(b.mask(is_there, after), &[-1], &[1], &[0]);
                b.select(b.compare("Greater", next_is_there, b.number(0.0, after)), before, first)
            }
            _ => before,
        }
    }
}

/// Steps and batch as one axis.
pub(super) fn rows(x: &Value, b: &Builder<'_>) -> Value {
    let width = b.fact(x).dim(-1).and_then(Dim::known);
    match width {
        Some(width) => b.reshape(x, &[-1, width]),
        None => b.flatten_rows(x),
    }
}

/// What is at `at` on an axis, without the axis; it has one element where there is no `at`.
fn pick(x: &Value, at: Option<i64>, axis: i64, b: &Builder<'_>) -> Value {
    match at {
        Some(at) => b.gather(x, b.int64(at), axis),
        None => b.squeeze(x, &[axis]),
    }
}

fn weights(cell: &Cell, [w, r, biases]: [Option<Value>; 3], b: &Builder<'_>) -> Vec<Weights> {
    let sums = cell.sums();
    let gates = sums.iter().map(|sum| sum.gates.end).max().unwrap_or(0);
    let cut = |x: &Value, from: i64, to: i64, all: i64| match (from, to) {
        (0, to) if to == all => x.clone(),
        _ => b.slice(x, &[from * cell.hidden], &[to * cell.hidden], &[0], &[1]),
    };
    let one = |sum: &Sum| {
        let (from, to) = (sum.gates.start, sum.gates.end);
        let own = |x: &Value| cut(x, from, to, gates);
        let bias = |begin: i64| biases.as_ref().map(|biases| cut(biases, begin + from, begin + to, 2 * gates));
        let of_input = if sum.of_input { bias(0) } else { None };
        let of_state = sum.operand.and_then(|_| bias(gates));
        Weights {
            w: w.as_ref().filter(|_| sum.of_input).map(own),
            r: r.as_ref().filter(|_| sum.operand.is_some()).map(own),
            bias: match (of_input, of_state) {
                (Some(a), Some(c)) => Some(b.add(a, c)),
                (a, c) => a.or(c),
            },
        }
    };
    sums.iter().map(one).collect()
}
