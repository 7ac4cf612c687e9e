//! Elements that are moved, not computed.

use super::super::known::{Elements, Known, Sizes, numbers, small};
use super::super::size::Size;

/// A tensor of the type of `from` and of `sizes`, whose element at some place is that of `from` at `at` that place,
/// both with an index for each axis.
pub(super) fn moved(from: &Known, sizes: Sizes, at: impl Fn(&[usize]) -> Option<Vec<usize>>) -> Known {
    let made = Known::of(from.element);
    let elements = || {
        let (of, to) = (from.numbers()?, numbers(&sizes)?);
        let all = from.elements()?;
        let places = indices(&to)?.iter().map(|index| flat(&at(index)?, &of)).collect::<Option<Vec<_>>>()?;
        Some((to, all.at(&places)?))
    };
    match elements() {
        Some((to, elements)) => made.with_elements(&to, Some(elements)),
        None => made.with(sizes),
    }
}

/// A tensor of the elements of `from` in their order, of other sizes.
pub(super) fn reshaped(from: &Known, sizes: Sizes) -> Known {
    let made = Known::of(from.element);
    match (numbers(&sizes), from.elements()) {
        (Some(to), Some(elements)) if small(&to) == Some(elements.len()) => {
            made.with_elements(&to, Some(elements.clone()))
        }
        _ => made.with(sizes),
    }
}

/// The indices of all elements of a small tensor, in the order of memory; none of a larger one.
pub(super) fn indices(sizes: &[usize]) -> Option<Vec<Vec<usize>>> {
    let count = small(sizes)?;
    let index = |flat: usize| {
        let mut index = vec![0; sizes.len()];
        let mut rest = flat;
        for (place, &size) in index.iter_mut().zip(sizes).rev() {
            *place = rest.checked_rem(size).unwrap_or(0);
            rest = rest.checked_div(size).unwrap_or(0);
        }
        index
    };
    Some((0..count).map(index).collect())
}

/// The place in memory of the element at an index.
fn flat(index: &[usize], sizes: &[usize]) -> Option<usize> {
    let mut place = 0usize;
    for (&at, &size) in index.iter().zip(sizes) {
        place = place.checked_mul(size)?.checked_add((at < size).then_some(at)?)?;
    }
    (index.len() == sizes.len()).then_some(place)
}

/// The place in memory of the element that broadcasting puts at `index`, for a tensor of `sizes`.
pub(super) fn broadcast(index: &[usize], sizes: &[usize]) -> Option<usize> {
    let skipped = index.len().checked_sub(sizes.len())?;
    let own: Vec<usize> =
        index[skipped..].iter().zip(sizes).map(|(&at, &size)| if size == 1 { 0 } else { at }).collect();
    flat(&own, sizes)
}

/// What the sizes of several tensors broadcast to; none where they do not, or the number of axes is open.
pub(super) fn broadcast_sizes<'k>(all: impl IntoIterator<Item = &'k Sizes>) -> Option<Sizes> {
    let mut all = all.into_iter();
    let mut sizes = all.next()?.clone();
    for other in all {
        let (longer, shorter) = if sizes.len() >= other.len() { (&sizes, other) } else { (other, &sizes) };
        let skipped = longer.len() - shorter.len();
        let mut made: Sizes = longer[..skipped].to_vec();
        for (a, b) in longer[skipped..].iter().zip(shorter) {
            made.push(match (a, b) {
                (Some(a), Some(b)) if a.known().is_some() && b.known().is_some() => Some(a.broadcast(b)?),
                (Some(a), Some(b)) => a.broadcast(b),
                // More than 1 is what both are.
                (Some(size), None) | (None, Some(size)) => size.known().filter(|&size| size > 1).map(Size::number),
                (None, None) => None,
            });
        }
        sizes = made;
    }
    Some(sizes)
}

/// Elements that `f` makes of those of the operands, which are all known and broadcast to `sizes`.
pub(super) fn zipped<T>(
    sizes: &Sizes,
    operands: &[&Known],
    f: impl Fn(&[usize]) -> Option<T>,
) -> Option<(Vec<usize>, Vec<T>)> {
    let to = numbers(sizes)?;
    let of = operands.iter().map(|operand| operand.numbers()).collect::<Option<Vec<_>>>()?;
    let each = |index: &Vec<usize>| {
        let places = of.iter().map(|sizes| broadcast(index, sizes)).collect::<Option<Vec<_>>>()?;
        f(&places)
    };
    let made = indices(&to)?.iter().map(each).collect::<Option<_>>()?;
    Some((to, made))
}

/// Whole numbers as elements.
pub(super) fn whole(numbers: impl IntoIterator<Item = i64>) -> Elements {
    Elements::Whole(numbers.into_iter().map(Size::number).collect())
}
