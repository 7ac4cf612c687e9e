//! Operators that take axes together.

use super::super::known::{Elements, Known, Sizes, numbers};
use super::super::size::Size;
use super::elementwise::rounded;
use super::{Operation, Rule, number, open, places};

pub(super) fn rule(operator: &str) -> Option<Rule> {
    match operator {
        "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceMax" | "ReduceMean" | "ReduceMin"
        | "ReduceProd" | "ReduceSum" | "ReduceSumSquare" => Some(reduce),
        _ => None,
    }
}

/// The axes in `axes`, or, where there are none, all or none of them, become 1 or go.
pub(super) fn reduce(op: &Operation<'_>) -> Option<Vec<Known>> {
    let made = Known::of(op.element(0));
    let keeps = op.node.int("keepdims", 1) != 0;
    let Some(axes) = (if op.has_list("axes", 1) { op.list("axes", 1) } else { Some(Vec::new()) }) else {
        return Some(vec![made.with(if keeps { op.rank(0).and_then(open) } else { None })]);
    };
    if axes.is_empty() && op.node.int("noop_with_empty_axes", 0) == 1 {
        return Some(vec![op.like(0)]);
    }
    let Some(sizes) = op.sizes(0) else {
        let is_number = axes.is_empty() && !keeps;
        return Some(vec![made.with(is_number.then(Sizes::new))]);
    };
    // A number without axes counts as a vector.
    let axes = match axes.is_empty() {
        true => (0..sizes.len()).collect(),
        false => places(&axes, sizes.len().max(1))?,
    };
    let each = sizes.iter().enumerate().filter_map(|(axis, size)| match axes.contains(&axis) {
        true => keeps.then(|| number(1)),
        false => Some(size.clone()),
    });
    let to: Sizes = each.collect();
    let all = (0..sizes.len()).all(|axis| axes.contains(&axis));
    Some(vec![match (numbers(&to), all.then(|| of_all(op)).flatten()) {
        (Some(to), Some(elements)) => made.with_elements(&to, Some(elements)),
        _ => made.with(to),
    }])
}

/// The one number that the elements of a small constant make.
fn of_all(op: &Operation<'_>) -> Option<Elements> {
    let operator = op.node.op_type();
    match op.input(0).elements()? {
        Elements::Whole(all) => Some(Elements::Whole(vec![match operator {
            "ReduceSum" => all.iter().try_fold(Size::ZERO, |sum, next| sum.plus(next))?,
            "ReduceProd" => Size::product(all)?,
            "ReduceMax" => Size::number(op.input(0).ints()?.into_iter().max()?),
            "ReduceMin" => Size::number(op.input(0).ints()?.into_iter().min()?),
            _ => return None,
        }])),
        Elements::Real(all) => {
            let made = match operator {
                "ReduceSum" => all.iter().sum(),
                "ReduceMean" => all.iter().sum::<f64>() / all.len() as f64,
                "ReduceProd" => all.iter().product(),
                "ReduceMax" => all.iter().copied().reduce(f64::max)?,
                "ReduceMin" => all.iter().copied().reduce(f64::min)?,
                "ReduceL1" => all.iter().map(|x| x.abs()).sum(),
                "ReduceL2" => all.iter().map(|x| x * x).sum::<f64>().sqrt(),
                "ReduceSumSquare" => all.iter().map(|x| x * x).sum(),
                _ => return None,
            };
            Some(Elements::Real(vec![rounded(made, op.element(0))?]))
        }
    }
}
