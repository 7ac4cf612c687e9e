//! Operators that tell what a tensor is like, and that make one of given sizes.

use super::super::known::{Elements, Known, Sizes, fixed, numbers, small};
use super::super::size::Size;
use super::moved::whole;
use super::{Operation, Rule, open};
use crate::onnx::DataType;
use crate::onnx::proto::TensorProto;

pub(super) fn rule(operator: &str) -> Option<Rule> {
    Some(match operator {
        "Constant" => constant,
        "ConstantOfShape" => constant_of_shape,
        "EyeLike" => |op| Some(vec![Known::of(op.named_type("dtype").or(op.element(0))).with(op.sizes(0).cloned())]),
        "OptionalHasElement" => |_| Some(vec![Known::scalar(DataType::Bool, None)]),
        "Range" => range,
        "SequenceLength" => |_| Some(vec![Known::scalar(DataType::Int64, None)]),
        "Shape" => shape,
        "Size" => size,
        _ => return None,
    })
}

fn constant(op: &Operation<'_>) -> Option<Vec<Known>> {
    let attribute = |name: &str| op.node.attribute(name);
    let real = |all: &[f32]| Some(Elements::Real(all.iter().copied().map(f64::from).collect()));
    let made = if let Some(tensor) = attribute("value").and_then(|value| value.t.as_deref()) {
        Known::constant(tensor)?
    } else if let Some(value) = attribute("value_int") {
        Known::scalar(DataType::Int64, Some(Size::number(value.i())))
    } else if let Some(value) = attribute("value_ints") {
        Known::of(DataType::Int64).with_elements(&[value.ints.len()], Some(whole(value.ints.iter().copied())))
    } else if let Some(value) = attribute("value_float") {
        Known::of(DataType::Float).with_elements(&[], real(&[value.f()]))
    } else if let Some(value) = attribute("value_floats") {
        Known::of(DataType::Float).with_elements(&[value.floats.len()], real(&value.floats))
    } else if attribute("value_string").is_some() {
        Known::of(DataType::String).with(Sizes::new())
    } else if let Some(value) = attribute("value_strings") {
        Known::of(DataType::String).with(fixed(&[value.strings.len()]))
    } else {
        let sparse = attribute("sparse_value")?.sparse_tensor.as_deref()?;
        let sizes = sparse.dims.iter().map(|&size| Some(Size::number(size))).collect::<Sizes>();
        Known::of(sparse.values.as_ref()?.element()).with(sizes)
    };
    Some(vec![made])
}

/// Zeros of float32, or the one element of `value`.
fn constant_of_shape(op: &Operation<'_>) -> Option<Vec<Known>> {
    let value = op.node.attribute("value").and_then(|value| value.t.as_deref());
    let element = value.map_or(Some(DataType::Float), TensorProto::element);
    let Some(entries) = op.input(0).whole() else {
        let rank = op.size(0, 0).and_then(|rank| usize::try_from(rank.known()?).ok());
        return Some(vec![Known::of(element).with(rank.and_then(open))]);
    };
    let sizes: Sizes = entries.iter().cloned().map(Some).collect();
    let filled = || {
        let numbers = numbers(&sizes)?;
        let count = small(&numbers)?;
        let elements = match value {
            None => Elements::Real(vec![0.0; count]),
            Some(value) => Known::constant(value)?.elements()?.at(&vec![0; count])?,
        };
        Some(Known::of(element).with_elements(&numbers, Some(elements)))
    };
    Some(vec![filled().unwrap_or_else(|| Known::of(element).with(sizes.clone()))])
}

/// The sizes from axis `start` to before `end`, which are clamped.
fn shape(op: &Operation<'_>) -> Option<Vec<Known>> {
    let Some(sizes) = op.sizes(0) else { return Some(vec![Known::of(DataType::Int64).with(vec![None])]) };
    let rank = sizes.len() as i64;
    let from_front = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
    let (start, end) = (from_front(op.node.int("start", 0)), from_front(op.node.int("end", rank)));
    let part = sizes.get(start..end.max(start))?;
    Some(vec![match part.iter().cloned().collect::<Option<Vec<_>>>() {
        Some(entries) => Known::vector(DataType::Int64, entries),
        None => Known::of(DataType::Int64).with(fixed(&[part.len()])),
    }])
}

fn size(op: &Operation<'_>) -> Option<Vec<Known>> {
    let sizes = op.sizes(0).and_then(|sizes| sizes.iter().map(Option::as_ref).collect::<Option<Vec<_>>>());
    Some(vec![Known::scalar(DataType::Int64, sizes.and_then(Size::product))])
}

/// Numbers from the first to before the second, in steps of the third.
fn range(op: &Operation<'_>) -> Option<Vec<Known>> {
    let made = Known::of((0..3).find_map(|i| op.element(i)));
    if let [Some(start), Some(limit), Some(step)] = [0, 1, 2].map(|i| op.input(i).number()) {
        let count = count(start, limit, step.known()?);
        let elements = || {
            let count = count.as_ref()?.known()?;
            let count = small(&[usize::try_from(count).ok()?])? as i64;
            let step = step.known()?;
            (0..count).map(|at| start.plus_number(at.checked_mul(step)?)).collect::<Option<Vec<_>>>()
        };
        return Some(vec![match elements() {
            Some(elements) => made.with_elements(&[elements.len()], Some(Elements::Whole(elements))),
            None => made.with(vec![count]),
        }]);
    }
    if let [Some(&[start]), Some(&[limit]), Some(&[step])] = [0, 1, 2].map(|i| op.input(i).floats()) {
        let count = ((limit - start) / step).ceil().max(0.0);
        let count = (count < 1e15).then_some(Size::number(count as i64));
        return Some(vec![made.with(vec![count])]);
    }
    Some(vec![made.with(vec![None])])
}

/// How many steps there are from `start` to before `limit`.
fn count(start: &Size, limit: &Size, step: i64) -> Option<Size> {
    let (way, step) = match step {
        0 => return None,
        1.. => (limit.minus(start)?, step),
        _ => (start.minus(limit)?, step.checked_neg()?),
    };
    match way.known() {
        Some(way) => Some(Size::number(way.max(0).checked_add(step - 1)? / step)),
        // That it is not the other way is known of sizes alone.
        None => way.is_not_negative().then(|| way.over_rounded_up(step))?,
    }
}
