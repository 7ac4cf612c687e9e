//! Operators that read or write at places which an operand says.
//!
//! Where places may repeat, cotangents are added up by `ScatterElements`: it is the one scattering operator that adds
//! reliably in every engine (see [`positions::scatter_add`]).

use super::positions::{self, scatter_add};
use super::sampling::count_to;
use super::scatter::Scattered;
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
    ("", "TensorScatter", Rule::Definition(tensor_scatter)),
    ("", "TopK", Rule::Vjp(top_k)),
    ("", "Unique", Rule::Definition(unique)),
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

/// y = x with u written, or added, at i along an axis ⇒ ū = ȳ at i; x̄ = ȳ, with zeros at i where u replaced x. Other
/// reductions are in `scatter`.
fn scatter_elements(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, indices, updates) = (op.input(0)?, op.input(1)?, op.input(2)?);
    let axis = op.int("axis", 0);
    let scattered = Scattered { x, indices, updates, y: op.output(0)?, axis };
    let dx = match op.string("reduction", "none") {
        "none" => {
            let (zeros, fact) = (g.zeros_like(updates), g.fact(x));
            g.node("ScatterElements", &[dy, indices, &zeros], vec![AttributeProto::int("axis", axis)], fact)
        }
        "add" => dy.clone(),
        reduction => {
            let (dx, du) = scattered.cotangents(reduction, dy, g).ok_or_else(|| unknown(op, reduction))?;
            return Ok(Cotangents::of([Some(dx), None, Some(du)]));
        }
    };
    Ok(Cotangents::of([Some(dx), None, Some(scattered.read(dy, g))]))
}

/// y = x with the slices u written, or added, at i, a tuple of indices each ⇒ ū = ȳ at i; x̄ = ȳ, with zeros at i where
/// u replaced x. Other reductions are in `scatter`, element by element.
fn scatter_nd(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, indices, updates) = (op.input(0)?, op.input(1)?, op.input(2)?);
    let dx = match op.string("reduction", "none") {
        "none" => {
            let zeros = g.zeros_like(updates);
            g.node("ScatterND", &[dy, indices, &zeros], vec![], g.fact(x))
        }
        "add" => dy.clone(),
        reduction => {
            let positions = g.reshape_like(positions::of(x, g), x);
            let fact = g.fact(updates).with_element(DataType::Int64);
            let indices = g.node("GatherND", &[&positions, indices], vec![], fact);
            let [flat_x, indices, flat_updates, y, dy] =
                [x, &indices, updates, op.output(0)?, dy].map(|value| g.reshape(value, &[-1]));
            let scattered = Scattered { x: &flat_x, indices: &indices, updates: &flat_updates, y: &y, axis: 0 };
            let (dx, du) = scattered.cotangents(reduction, &dy, g).ok_or_else(|| unknown(op, reduction))?;
            return Ok(Cotangents::of([Some(g.reshape_like(dx, x)), None, Some(g.reshape_like(du, updates))]));
        }
    };
    let read = g.node("GatherND", &[dy, indices], vec![], g.fact(updates));
    Ok(Cotangents::of([Some(dx), None, Some(read)]))
}

fn unknown(op: &Op, reduction: &str) -> Error {
    op.error(format!("its attribute `reduction` is `{reduction}`, which is no such reduction"))
}

/// y = a cache with u written along an axis, from a place on that is given for each sample; behind the end at the
/// beginning, with `mode` circular
fn tensor_scatter(op: &Op, g: &Builder<'_>) -> Result<Vec<Value>> {
    let (cache, update) = (op.input(0)?, op.input(1)?);
    let Some(rank) = g.fact(cache).rank().or(g.fact(update).rank()) else {
        return Err(op.unknown("the number of axes of its input"));
    };
    let (rank, axis) = (rank as i64, op.int("axis", -2));
    let axis = if axis < 0 { axis.saturating_add(rank) } else { axis };
    if !(0..rank).contains(&axis) {
        return Err(op.error(format!("it has no axis {axis}")));
    }
    let mut places =
        g.unsqueeze(count_to(&g.size_of(update, axis), g), &(0..rank).filter(|i| *i != axis).collect::<Vec<_>>());
    if let Some(starts) = op.optional(2) {
        places = g.add(places, g.unsqueeze(starts, &(1..rank).collect::<Vec<_>>()));
    }
    if op.string("mode", "linear") == "circular" {
        places = g.binary("Mod", places, g.size_of(cache, axis));
    }
    let indices = g.expand_like(places, update);
    let attributes = vec![AttributeProto::int("axis", axis)];
    Ok(vec![g.node("ScatterElements", &[cache, &indices, update], attributes, g.fact(cache))])
}

/// y = the different elements of x, or slices along an axis: each where it is first found
fn unique(op: &Op, g: &Builder<'_>) -> Result<Vec<Value>> {
    let x = op.input(0)?;
    let positions = Fact { element: DataType::Int64, shape: Some(vec![Dim::Unknown]) }.into();
    let found = g.nodes("Unique", &[x], op.attribute.clone(), vec![g.fact(op.output(0)?), positions]);
    Ok(vec![match op.attribute("axis") {
        Some(axis) => g.gather(x, &found[1], axis.i()),
        None => g.gather(g.reshape(x, &[-1]), &found[1], 0),
    }])
}

/// y, i = the k largest or smallest elements of x along an axis, and where they are  ⇒  x̄ = ȳ at i, zeros elsewhere
fn top_k(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([scatter_add(&g.zeros_like(op.input(0)?), op.output(1)?, dy, op.int("axis", -1), g)].into())
}
