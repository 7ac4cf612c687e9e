//! Products of matrices, and what is computed of one.

use super::super::known::{Known, Sizes};
use super::super::size::Size;
use super::moved::broadcast_sizes;
use super::{Operation, Rule};
use crate::onnx::DataType;

pub(super) fn rule(operator: &str) -> Option<Rule> {
    Some(match operator {
        "MatMul" => |op| Some(vec![Known::of(op.element(0).or(op.element(1))).with(product(op.sizes(0), op.sizes(1)))]),
        "MatMulInteger" => |op| Some(vec![Known::of(DataType::Int32).with(product(op.sizes(0), op.sizes(1)))]),
        "QLinearMatMul" => |op| Some(vec![Known::of(op.element(7)).with(product(op.sizes(0), op.sizes(3)))]),
        "Gemm" => gemm,
        "Einsum" => einsum,
        "Det" => det,
        _ => return None,
    })
}

/// The sizes of a product by numpy's rules: a vector is a row on the left and a column on the right, and the axes
/// before the last two broadcast.
pub(super) fn product(a: Option<&Sizes>, b: Option<&Sizes>) -> Option<Sizes> {
    let (a, b) = (a?, b?);
    let (rows, before_a) = match &a[..] {
        [] => return None,
        [_] => (None, Sizes::new()),
        [before @ .., rows, _] => (Some(rows), before.to_vec()),
    };
    let (columns, before_b) = match &b[..] {
        [] => return None,
        [_] => (None, Sizes::new()),
        [before @ .., _, columns] => (Some(columns), before.to_vec()),
    };
    let mut sizes = broadcast_sizes([&before_a, &before_b])?;
    sizes.extend(rows.into_iter().chain(columns).cloned());
    Some(sizes)
}

fn gemm(op: &Operation<'_>) -> Option<Vec<Known>> {
    let rows = op.size(0, usize::from(op.node.int("transA", 0) != 0));
    let columns = op.size(1, usize::from(op.node.int("transB", 0) == 0));
    Some(vec![Known::of(op.element(0).or(op.element(1))).with(vec![rows, columns])])
}

fn det(op: &Operation<'_>) -> Option<Vec<Known>> {
    let sizes = op.sizes(0).and_then(|sizes| Some(sizes[..sizes.len().checked_sub(2)?].to_vec()));
    Some(vec![Known::of(op.element(0)).with(sizes)])
}

/// A letter for each axis of each operand; those of the output are named, or are those that are there once, in the
/// order of the alphabet. An ellipsis stands for axes that broadcast.
fn einsum(op: &Operation<'_>) -> Option<Vec<Known>> {
    let equation: String = op.node.string("equation", "").chars().filter(|c| !c.is_whitespace()).collect();
    let made = Known::of((0..op.inputs.len()).find_map(|i| op.element(i)));
    let (inputs, output) =
        equation.split_once("->").map_or((&*equation, None), |(inputs, output)| (inputs, Some(output)));
    let terms: Vec<&str> = inputs.split(',').collect();
    if terms.len() != op.inputs.len() {
        return None;
    }
    let mut letters: Vec<(char, usize, Option<Size>)> = Vec::new();
    let mut broadcast: Option<Sizes> = Some(Sizes::new());
    for (index, term) in terms.iter().enumerate() {
        let sizes = op.sizes(index);
        let (before, behind) = term.split_once("...").map_or((*term, ""), |(before, behind)| (before, behind));
        let named = before.chars().count() + behind.chars().count();
        if sizes.is_some_and(|sizes| if term.contains("...") { sizes.len() < named } else { sizes.len() != named }) {
            return None;
        }
        let front = before.chars().enumerate().map(|(axis, letter)| (letter, op.size(index, axis)));
        let back = behind.chars().rev().enumerate().map(|(axis, letter)| (letter, op.size_from_end(index, axis + 1)));
        for (letter, size) in front.chain(back) {
            match letters.iter_mut().find(|(other, _, _)| *other == letter) {
                Some((_, count, known)) => {
                    *count += 1;
                    let is_better = known.as_ref().is_none_or(|known| known.is(1) || known.known().is_none());
                    if is_better && size.as_ref().is_some_and(|size| known.is_none() || size.known().is_some()) {
                        *known = size;
                    }
                }
                None => letters.push((letter, 1, size)),
            }
        }
        if term.contains("...") {
            let own = sizes.map(|sizes| sizes[before.chars().count()..sizes.len() - behind.chars().count()].to_vec());
            broadcast = broadcast.zip(own).and_then(|(all, own)| broadcast_sizes([&all, &own]));
        }
    }
    let output = output.map_or_else(
        || {
            let mut once: Vec<char> =
                letters.iter().filter(|(_, count, _)| *count == 1).map(|(letter, ..)| *letter).collect();
            once.sort_unstable();
            let ellipsis = if equation.contains("...") { "..." } else { "" };
            ellipsis.chars().chain(once).collect()
        },
        str::to_owned,
    );
    let (before, behind) = output.split_once("...").map_or((&*output, None), |(before, behind)| (before, Some(behind)));
    let size = |letter: char| letters.iter().find(|(other, ..)| *other == letter).and_then(|(.., size)| size.clone());
    let mut sizes: Sizes = before.chars().map(size).collect();
    if let Some(behind) = behind {
        let Some(broadcast) = broadcast else { return Some(vec![made]) };
        sizes.extend(broadcast);
        sizes.extend(behind.chars().map(size));
    }
    Some(vec![made.with((sizes.len() <= 64).then_some(sizes))])
}
