//! The gradient of an operator that only moves elements, whatever it does with them: run on the positions of its
//! input's elements instead of the elements, it says where each cotangent belongs.
//!
//! This is right for any shape and any operands, and slower than a formula of the operator's own; rules use it for what
//! those do not cover.

use super::Op;
use gnp_base::Result;
use gnp_model::graph::{Builder, Dim, Fact, Value, known_shape};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::AttributeProto;

/// x̄ of a node that puts elements of its first input x, each any number of times, into y along with zeros. The
/// operator must take whole numbers of the type `element`; `others` are its inputs after x.
pub(super) fn pull_back(op: &Op, others: &[&Value], element: DataType, dy: &Value, g: &Builder<'_>) -> Result<Value> {
    let x = op.input(0)?;
    let total = total(x, g);
    // Position 0 takes the cotangents of the zeros.
    let one = g.int64(1);
    let end = match total {
        Some(total) => g.int64(total + 1),
        None => g.add(count(x, g), &one),
    };
    let positions = g.node("Range", &[&one, &end, &one], vec![], vector(DataType::Int64, total));
    let positions = g.cast(g.reshape_like(&positions, x), element);
    let shape = g.fact(op.output(0)?).shape.clone();
    let inputs: Vec<&Value> = [&positions].into_iter().chain(others.iter().copied()).collect();
    let moved = g.node(op.op_type(), &inputs, op.attribute.clone(), Fact { element, shape });
    let (moved, dy) = (g.reshape(g.cast(&moved, DataType::Int64), &[-1]), g.reshape(dy, &[-1]));
    let end = g.reshape(&end, &[1]);
    let fact = vector(g.fact(x).element, total.map(|total| total + 1));
    let zero = g.number(0.0, x);
    let sum = scatter_add(&g.node("Expand", &[&zero, &end], vec![], fact), &moved, &dy, 0, g);
    Ok(g.reshape_like(g.slice(&sum, &[1], &[i64::MAX], &[0], &[1]), x))
}

/// The positions of the elements of `x`, from 0 on, a vector of int64.
pub(super) fn of(x: &Value, g: &Builder<'_>) -> Value {
    let total = total(x, g);
    let end = total.map_or_else(|| count(x, g), |total| g.int64(total));
    g.node("Range", &[&g.int64(0), &end, &g.int64(1)], vec![], vector(DataType::Int64, total))
}

/// How many elements `x` has, where that is known.
fn total(x: &Value, g: &Builder<'_>) -> Option<i64> {
    g.fact(x).sizes().map(|sizes| sizes.iter().product())
}

/// How many elements `x` has, a scalar of the graph.
fn count(x: &Value, g: &Builder<'_>) -> Value {
    g.node("Size", &[x], vec![], Fact { element: DataType::Int64, shape: known_shape(&[]) })
}

fn vector(element: DataType, size: Option<i64>) -> Fact {
    Fact { element, shape: Some(vec![size.map_or(Dim::Unknown, Dim::Known)]) }
}

/// `x` with `updates` added at `indices` along `axis`. (`ScatterND` would be faster, but ONNX Runtime runs it in
/// several threads that lose updates to the same place.)
pub(super) fn scatter_add(x: &Value, indices: &Value, updates: &Value, axis: i64, g: &Builder<'_>) -> Value {
    let fact = g.fact(x);
    let attributes = vec![AttributeProto::int("axis", axis), AttributeProto::string("reduction", "add")];
    g.node("ScatterElements", &[x, indices, updates], attributes, fact)
}
