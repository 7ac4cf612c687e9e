//! Images put together of columns of blocks.

use super::sampling::count_to;
use super::{Cotangents, Entry, Op, Rule};
use gnp_base::Result;
use gnp_model::graph::{Builder, Dim, Fact, Value};
use gnp_model::onnx::DataType;

pub(super) const RULES: &[Entry] = &[("", "Col2Im", Rule::Vjp(col2im))];

/// y = blocks, a column of x each, added up at their places in an image  ⇒  x̄ = the blocks of ȳ as columns
fn col2im(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, block) = (op.input(0)?, op.input(2)?);
    let given = ["strides", "dilations", "pads"].map(|name| op.ints(name));
    let [strides, dilations, pads] = given;
    let length = |list: Option<&[i64]>, parts: usize| list.map(|list| list.len() / parts);
    let count = g.fact(block).dim(0).and_then(Dim::known).map(|count| count as usize);
    let rank = g.fact(dy).rank().and_then(|rank| rank.checked_sub(2));
    let axes = length(strides, 1).or(length(dilations, 1)).or(length(pads, 2)).or(count).or(rank);
    let Some(axes) = axes.filter(|axes| *axes <= 8) else {
        return Err(op.unknown("the number of axes of its image"));
    };
    let number = |list: Option<&[i64]>, at: usize, default: i64| {
        let number = list.map_or(Some(default), |list| list.get(at).copied());
        number
            .filter(|number| (0..=i64::from(i32::MAX)).contains(number))
            .ok_or_else(|| op.error(format!("its attributes do not fit {axes} axes")))
    };
    let mut image = dy.clone();
    for axis in 0..axes {
        let (begin, end) = (number(pads, axis, 0)?, number(pads, axes + axis, 0)?);
        let (stride, dilation) = (number(strides, axis, 1)?.max(1), number(dilations, axis, 1)?);
        // The axes before are two each by now.
        let at = 2 + 2 * axis as i64;
        image = g.pad_along(&image, &[begin], &[end], &[at]);
        let size = size_of(block, axis, g);
        let one = g.int64s(&[1]);
        let reach = g.mul(g.sub(&size, &one), g.int64s(&[dilation]));
        let room = g.sub(g.sub(g.size_of(&image, at), reach), &one);
        let places = g.add(g.div(room, g.int64s(&[stride])), &one);
        let within = g.mul(count_to(&size, g), g.int64s(&[dilation]));
        let starts = g.mul(count_to(&places, g), g.int64s(&[stride]));
        image = g.gather(&image, g.add(g.unsqueeze(within, &[1]), starts), at);
    }
    let axes = axes as i64;
    let order: Vec<i64> =
        [0, 1].into_iter().chain((0..axes).map(|i| 2 + 2 * i)).chain((0..axes).map(|i| 3 + 2 * i)).collect();
    Ok([g.reshape_like(g.transpose(image, &order), x)].into())
}

/// Element `at` of a vector of whole numbers, as a vector.
fn size_of(sizes: &Value, at: usize, g: &Builder<'_>) -> Value {
    match g.ints(sizes).and_then(|sizes| sizes.get(at).copied()) {
        Some(size) => g.int64s(&[size]),
        None => {
            let fact = Fact::with_sizes(DataType::Int64, &[1]);
            g.node("Gather", &[sizes, &g.int64s(&[at as i64])], vec![], fact)
        }
    }
}
