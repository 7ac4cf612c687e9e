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
    let ints = |shape| Fact { element: DataType::Int64, shape };
    let total = g.fact(x).sizes().map(|sizes| sizes.iter().product::<i64>());
    let vector = |extra: i64| Some(vec![total.map_or(Dim::Unknown, |total| Dim::Known(total + extra))]);
    // Position 0 takes the cotangents of the zeros.
    let one = g.int64(1);
    let end = match total {
        Some(total) => g.int64(total + 1),
        None => g.add(g.node("Size", &[x], vec![], ints(known_shape(&[]))), &one),
    };
    let positions = g.node("Range", &[&one, &end, &one], vec![], ints(vector(0)));
    let positions = g.cast(g.reshape_like(&positions, x), element);
    let shape = g.fact(op.output(0)?).shape.clone();
    let inputs: Vec<&Value> = [&positions].into_iter().chain(others.iter().copied()).collect();
    let moved = g.node(op.op_type(), &inputs, op.attribute.clone(), Fact { element, shape });
    let (moved, dy) = (g.reshape(g.cast(&moved, DataType::Int64), &[-1]), g.reshape(dy, &[-1]));
    let end = g.reshape(&end, &[1]);
    let fact = Fact { element: g.fact(x).element, shape: vector(1) };
    let zero = g.number(0.0, x);
    let sum = scatter_add(&g.node("Expand", &[&zero, &end], vec![], fact), &moved, &dy, 0, g);
    Ok(g.reshape_like(g.slice(&sum, &[1], &[i64::MAX], &[0], &[1]), x))
}

/// `x` with `updates` added at `indices` along `axis`. (`ScatterND` would be faster, but ONNX Runtime runs it in
/// several threads that lose updates to the same place.)
pub(super) fn scatter_add(x: &Value, indices: &Value, updates: &Value, axis: i64, g: &Builder<'_>) -> Value {
    let fact = g.fact(x);
    let attributes = vec![AttributeProto::int("axis", axis), AttributeProto::string("reduction", "add")];
    g.node("ScatterElements", &[x, indices, updates], attributes, fact)
}
