//! Operators that read or write at places which an operand says.
//!
//! Where places may repeat, cotangents are added up by `ScatterElements`: it is the one scattering operator that adds
//! reliably in every engine (see [`positions::scatter_add`]).

use super::positions::{self, scatter_add};
use super::{Cotangents, Entry, Op, Rule};
use gnp_base::{Error, Result};
use gnp_model::graph::{Builder, Dim, Fact, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::AttributeProto;

pub(super) const RULES: &[Entry] = &[
    ("", "Gather", Rule::Vjp(gather)),
    ("", "GatherElements", Rule::Vjp(gather_elements)),
    ("", "GatherND", Rule::Vjp(gather_nd)),
    ("", "ScatterElements", Rule::Vjp(scatter_elements)),
    ("", "ScatterND", Rule::Vjp(scatter_nd)),
    ("", "TopK", Rule::Vjp(top_k)),
];

/// An axis of up to so many elements is scattered to by a product with a matrix of zeros and ones, which runs in
/// parallel.
const SHORT: i64 = 256;

/// y = the slices of x at i along an axis ⇒ x̄ = ȳ added up at i. One slice is put among zeros; a table of few rows is
/// multiplied, x̄ = onehot(i) ȳ.
fn gather(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, indices) = (op.input(0)?, op.input(1)?);
    let (Some(rank), Some(picked)) = (g.fact(x).rank(), g.fact(indices).rank()) else {
        return Ok([positions::pull_back(op, &[indices], DataType::Int64, dy, g)?].into());
    };
    let axis = op.int("axis", 0);
    let axis = if axis < 0 { axis + rank as i64 } else { axis };
    let size = g.fact(x).dim(axis).and_then(Dim::known);
    let only = g.ints(indices).and_then(|indices| if let [index] = *indices { Some(index) } else { None });
    let indices = g.reshape(g.cast(indices, DataType::Int64), &[-1]);
    let dy = flat_axis(x, &indices, dy, axis, picked, g);
    if let (Some(size), Some(index)) = (size, only) {
        let index = if index < 0 { index + size } else { index };
        return Ok([g.pad_along(&dy, &[index], &[size - 1 - index], &[axis])].into());
    }
    let dx = match size {
        Some(size) if size <= SHORT && axis == 0 => by_product(&indices, &dy, x, size, g),
        _ => {
            let after: Vec<i64> = (1..rank as i64 - axis).collect();
            let everywhere = g.expand_like(g.unsqueeze(&indices, &after), &dy);
            scatter_add(&g.zeros_like(x), &everywhere, &dy, axis, g)
        }
    };
    Ok([dx].into())
}

/// `dy`, with the `picked` axes that the indices have in place of the one of `x`, with a single axis for them.
fn flat_axis(x: &Value, indices: &Value, dy: &Value, axis: i64, picked: usize, g: &Builder<'_>) -> Value {
    match picked {
        0 => return g.unsqueeze(dy, &[axis]),
        1 => return dy.clone(),
        _ => {}
    }
    let mut shape = g.fact(x).shape.clone().unwrap_or_default();
    let count = match g.fact(indices).shape.as_deref() {
        Some([count]) => count.clone(),
        _ => Dim::Unknown,
    };
    if let Some(dim) = shape.get_mut(axis as usize) {
        *dim = count;
    }
    if let Some(flat) = g.reshape_dims(dy, shape.clone()) {
        return flat;
    }
    let rank = shape.len() as i64;
    let sizes: Vec<Value> = (0..rank).map(|i| if i == axis { g.int64s(&[-1]) } else { g.size_of(x, i) }).collect();
    let sizes = g.concat_ints(&sizes.iter().collect::<Vec<_>>());
    let fact = Fact { element: g.fact(dy).element, shape: Some(shape) };
    g.reshape_to(dy, &sizes, fact)
}

/// onehot(i) ȳ with `size` rows, in the shape of `like`
fn by_product(indices: &Value, dy: &Value, like: &Value, size: i64, g: &Builder<'_>) -> Value {
    let rows = match g.fact(like).rank() {
        Some(1 | 2) => dy.clone(),
        _ => {
            let shape = g.concat_ints(&[&g.shape_of(indices), &g.int64s(&[-1])]);
            let fact = Fact { element: g.fact(dy).element, shape: Some(vec![Dim::Unknown; 2]) };
            g.reshape_to(dy, &shape, fact)
        }
    };
    let (zero, depth) = (g.int64(0), g.int64(size));
    let indices = g.select(g.compare("Less", indices, &zero), g.add(indices, &depth), indices);
    let column = g.int64s(&(0..size).collect::<Vec<_>>());
    let equal = g.compare("Equal", g.reshape(&column, &[-1, 1]), &indices);
    g.reshape_like(g.matmul(g.mask(&equal, dy), &rows), like)
}

/// y = the elements of x at i along an axis  ⇒  x̄ = ȳ added up at i
fn gather_elements(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let x = op.input(0)?;
    Ok([scatter_add(&g.zeros_like(x), op.input(1)?, dy, op.int("axis", 0), g)].into())
}

/// y = the elements or slices of x at i, a tuple of indices each  ⇒  x̄ = ȳ added up at i
fn gather_nd(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let indices = g.cast(op.input(1)?, DataType::Int64);
    Ok([positions::pull_back(op, &[&indices], DataType::Int64, dy, g)?].into())
}

/// y = x with u written, or added, at i along an axis ⇒ ū = ȳ at i; x̄ = ȳ, with zeros at i where u replaced x. With
/// `reduction` max or min, ȳ goes to the elements that are the extremum in equal shares, as in PyTorch's
/// `scatter_reduce`.
fn scatter_elements(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, indices, updates) = (op.input(0)?, op.input(1)?, op.input(2)?);
    let axis = op.int("axis", 0);
    let read =
        |x: &Value| g.node("GatherElements", &[x, indices], vec![AttributeProto::int("axis", axis)], g.fact(updates));
    match op.string("reduction", "none") {
        "none" => {
            let zeros = g.zeros_like(updates);
            let fact = g.fact(x);
            let inputs = [dy, indices, &zeros];
            let dx = g.node("ScatterElements", &inputs, vec![AttributeProto::int("axis", axis)], fact);
            Ok(Cotangents::of([Some(dx), None, Some(read(dy))]))
        }
        "add" => Ok(Cotangents::of([Some(dy.clone()), None, Some(read(dy))])),
        "max" | "min" => {
            let y = op.output(0)?;
            let y_read = read(y);
            let [kept, taken] =
                [(x, y), (updates, &y_read)].map(|(value, y)| g.mask(g.compare("Equal", value, y), value));
            let share = g.div(dy, scatter_add(&kept, indices, &taken, axis, g));
            let share_read = read(&share);
            Ok(Cotangents::of([Some(g.mul(&share, &kept)), None, Some(g.mul(&share_read, &taken))]))
        }
        reduction => Err(unsupported(op, reduction)),
    }
}

/// y = x with the slices u written, or added, at i, a tuple of indices each ⇒ ū = ȳ at i; x̄ = ȳ, with zeros at i where
/// u replaced x
fn scatter_nd(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, indices, updates) = (op.input(0)?, op.input(1)?, op.input(2)?);
    let read = g.node("GatherND", &[dy, indices], vec![], g.fact(updates));
    let dx = match op.string("reduction", "none") {
        "none" => {
            let zeros = g.zeros_like(updates);
            g.node("ScatterND", &[dy, indices, &zeros], vec![], g.fact(x))
        }
        "add" => dy.clone(),
        reduction => return Err(unsupported(op, reduction)),
    };
    Ok(Cotangents::of([Some(dx), None, Some(read)]))
}

fn unsupported(op: &Op, reduction: &str) -> Error {
    op.error(format!("there is no gradient of its reduction `{reduction}`"))
        .help("write the reduction as a sum, or freeze the parameters before this node (--freeze)")
}

/// y, i = the k largest or smallest elements of x along an axis, and where they are  ⇒  x̄ = ȳ at i, zeros elsewhere
fn top_k(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([scatter_add(&g.zeros_like(op.input(0)?), op.output(1)?, dy, op.int("axis", -1), g)].into())
}
