//! Operators that lay the elements of tensors out anew.

use super::super::known::{Elements, Known, Sizes, numbers};
use super::super::size::Size;
use super::moved::{broadcast_sizes, indices, moved, reshaped};
use super::{Operation, Rule, number, open, place, places, replaced};

pub(super) fn rule(operator: &str) -> Option<Rule> {
    Some(match operator {
        "Reshape" => reshape,
        "Transpose" => transpose,
        "Squeeze" => squeeze,
        "Unsqueeze" => unsqueeze,
        "Flatten" => flatten,
        "Expand" => expand,
        "Tile" => tile,
        "Concat" => concat,
        "Split" => split,
        "Slice" => slice,
        "Pad" => pad,
        "CenterCropPad" => center_crop_pad,
        "DepthToSpace" => |op| Some(vec![blocks(op, true)]),
        "SpaceToDepth" => |op| Some(vec![blocks(op, false)]),
        "ReverseSequence" => |op| Some(vec![op.like(0)]),
        "Trilu" => trilu,
        _ => return None,
    })
}

/// A list of sizes that is an attribute in old operators and an input in new ones.
fn entries(op: &Operation<'_>, name: &str, index: usize) -> Option<Vec<Size>> {
    match op.node.ints(name) {
        Some(list) => Some(list.iter().copied().map(Size::number).collect()),
        None => Some(op.input(index).whole()?.to_vec()),
    }
}

/// How many entries such a list has, where they are not known.
fn length(op: &Operation<'_>, index: usize) -> Option<usize> {
    usize::try_from(op.size(index, 0)?.known()?).ok()
}

/// The sizes are the entries of the second input: 0 is that of the first input's axis, −1 is what is left.
fn reshape(op: &Operation<'_>) -> Option<Vec<Known>> {
    let Some(entries) = entries(op, "shape", 1) else {
        return Some(vec![op.like(0).with(length(op, 1).and_then(open))]);
    };
    let data = op.sizes(0);
    let copies = op.node.int("allowzero", 0) == 0;
    let mut sizes = Sizes::new();
    for (axis, entry) in entries.iter().enumerate() {
        sizes.push(match entry.known() {
            Some(0) if copies => match data {
                Some(data) => data.get(axis)?.clone(),
                None => None,
            },
            Some(-1) => None,
            Some(..-1) => return None,
            _ => Some(entry.clone()),
        });
    }
    let mut rest = (0..entries.len()).filter(|&axis| entries[axis].is(-1));
    if let (Some(at), None, Some(data)) = (rest.next(), rest.next(), data) {
        sizes[at] = left_of(data, sizes.iter().enumerate().filter(|(axis, _)| *axis != at).map(|(_, size)| size));
    }
    let count = |sizes: &Sizes| numbers(sizes)?.into_iter().try_fold(1usize, usize::checked_mul);
    if data.and_then(count).zip(count(&sizes)).is_some_and(|(from, to)| from != to) {
        return Some(vec![Known::of(op.element(0))]);
    }
    Some(vec![reshaped(op.input(0), sizes)])
}

/// What the elements of all axes leave for one, where the others are known.
fn left_of<'s>(all: &Sizes, others: impl Iterator<Item = &'s Option<Size>>) -> Option<Size> {
    let mut left = all.iter().map(Option::as_ref).collect::<Option<Vec<_>>>()?;
    let mut by = Vec::new();
    for size in others {
        let size = size.as_ref()?;
        match left.iter().position(|other| *other == size && !size.is(0)) {
            Some(at) => _ = left.swap_remove(at),
            None => by.push(size),
        }
    }
    Size::product(left)?.exactly_over(&Size::product(by)?)
}

fn transpose(op: &Operation<'_>) -> Option<Vec<Known>> {
    let Some(sizes) = op.sizes(0) else {
        return Some(vec![Known::of(op.element(0)).with(op.node.ints("perm").and_then(|perm| open(perm.len())))]);
    };
    let rank = sizes.len();
    let perm = match op.node.ints("perm") {
        Some(perm) => places(perm, rank).filter(|perm| perm.len() == rank)?,
        None => (0..rank).rev().collect(),
    };
    let to = perm.iter().map(|&axis| sizes[axis].clone()).collect();
    Some(vec![moved(op.input(0), to, |index| {
        let mut from = vec![0; rank];
        perm.iter().zip(index).for_each(|(&axis, &at)| from[axis] = at);
        Some(from)
    })])
}

/// Takes axes of size 1 away: those that are named, or all.
fn squeeze(op: &Operation<'_>) -> Option<Vec<Known>> {
    let unknown = || Some(vec![Known::of(op.element(0))]);
    let Some(sizes) = op.sizes(0) else { return unknown() };
    let gone = if op.has_list("axes", 1) {
        op.list("axes", 1).and_then(|axes| places(&axes, sizes.len()))
    } else {
        // Which they are is open until their sizes are known.
        numbers(sizes).map(|sizes| (0..sizes.len()).filter(|&axis| sizes[axis] == 1).collect())
    };
    let Some(gone) = gone else { return unknown() };
    let left = sizes.iter().enumerate().filter(|(axis, _)| !gone.contains(axis)).map(|(_, size)| size.clone());
    Some(vec![reshaped(op.input(0), left.collect())])
}

/// Puts axes of size 1 in, at their places in the output.
fn unsqueeze(op: &Operation<'_>) -> Option<Vec<Known>> {
    let (Some(sizes), Some(axes)) = (op.sizes(0), op.list("axes", 1)) else {
        let axes = op.node.ints("axes").map(<[i64]>::len).or_else(|| length(op, 1));
        let rank = op.rank(0).zip(axes).and_then(|(rank, axes)| open(rank.checked_add(axes)?));
        return Some(vec![Known::of(op.element(0)).with(rank)]);
    };
    let rank = sizes.len() + axes.len();
    let new = places(&axes, rank)?;
    let mut old = sizes.iter();
    let to = (0..rank).map(|axis| if new.contains(&axis) { Some(number(1)) } else { old.next().cloned() });
    Some(vec![reshaped(op.input(0), to.collect::<Option<_>>()?)])
}

/// A matrix: the axes before `axis`, and those from there on.
fn flatten(op: &Operation<'_>) -> Option<Vec<Known>> {
    let Some(sizes) = op.sizes(0) else { return Some(vec![Known::of(op.element(0)).with(open(2))]) };
    let axis = op.node.int("axis", 1);
    let axis = if axis == sizes.len() as i64 { sizes.len() } else { place(axis, sizes.len())? };
    let product = |part: &[Option<Size>]| Size::product(part.iter().map(Option::as_ref).collect::<Option<Vec<_>>>()?);
    Some(vec![reshaped(op.input(0), vec![product(&sizes[..axis]), product(&sizes[axis..])])])
}

/// What the input and the sizes in the second broadcast to.
fn expand(op: &Operation<'_>) -> Option<Vec<Known>> {
    let Some(data) = op.sizes(0) else { return Some(vec![Known::of(op.element(0))]) };
    let Some(entries) = op.input(1).whole() else {
        return Some(vec![op.like(0).with(length(op, 1).and_then(|length| open(length.max(data.len()))))]);
    };
    let to = entries.iter().cloned().map(Some).collect();
    let sizes = broadcast_sizes([data, &to])?;
    let skipped = sizes.len() - data.len();
    let from = numbers(data);
    Some(vec![moved(op.input(0), sizes, |index| {
        Some(index[skipped..].iter().zip(from.as_ref()?).map(|(&at, &size)| if size == 1 { 0 } else { at }).collect())
    })])
}

fn tile(op: &Operation<'_>) -> Option<Vec<Known>> {
    let Some(sizes) = op.sizes(0) else {
        return Some(vec![Known::of(op.element(0)).with(length(op, 1).and_then(open))]);
    };
    let Some(repeats) = op.input(1).whole().filter(|repeats| repeats.len() == sizes.len()) else {
        return Some(vec![Known::of(op.element(0)).with(open(sizes.len()))]);
    };
    let to = sizes.iter().zip(repeats).map(|(size, repeat)| size.as_ref()?.times(repeat)).collect();
    let from = numbers(sizes);
    Some(vec![moved(op.input(0), to, |index| {
        index.iter().zip(from.as_ref()?).map(|(at, size)| at.checked_rem(*size)).collect()
    })])
}

/// The sum along an axis; along the others all have one size.
fn concat(op: &Operation<'_>) -> Option<Vec<Known>> {
    let inputs = 0..op.node.input.len();
    let element = inputs.clone().find_map(|i| op.element(i));
    let Some(rank) = inputs.clone().find_map(|i| op.rank(i)) else { return Some(vec![Known::of(element)]) };
    let axis = op.axis(1, rank)?;
    let all: Option<Vec<&Sizes>> = inputs.clone().map(|i| op.sizes(i)).collect();
    let some: Vec<&Sizes> = inputs.clone().filter_map(|i| op.sizes(i)).collect();
    if some.iter().any(|sizes| sizes.len() != rank) {
        return None;
    }
    let along = |axis: usize| {
        let mut all = some.iter().filter_map(|sizes| sizes[axis].as_ref());
        all.clone().find(|size| size.known().is_some()).or_else(|| all.next()).cloned()
    };
    let mut sizes: Sizes = (0..rank).map(along).collect();
    sizes[axis] = all.and_then(|all| all.iter().try_fold(Size::ZERO, |sum, sizes| sum.plus(sizes[axis].as_ref()?)));
    Some(vec![concatenated(op, axis, &sizes).unwrap_or_else(|| Known::of(element).with(sizes))])
}

/// The constant that constants make, one behind the other.
fn concatenated(op: &Operation<'_>, axis: usize, sizes: &Sizes) -> Option<Known> {
    let to = numbers(sizes)?;
    super::super::known::small(&to)?;
    // In memory the parts alternate, each with its elements from `axis` on.
    let parts =
        op.inputs.iter().map(|input| Some((input.numbers()?, input.elements()?))).collect::<Option<Vec<_>>>()?;
    let runs = to[..axis].iter().try_fold(1usize, |product, size| product.checked_mul(*size))?;
    let (mut whole, mut real) = (Vec::new(), Vec::new());
    for run in 0..runs {
        for (_, elements) in &parts {
            let length = elements.len().checked_div(runs)?;
            let range = run * length..(run + 1) * length;
            match elements {
                Elements::Whole(all) => whole.extend_from_slice(all.get(range)?),
                Elements::Real(all) => real.extend_from_slice(all.get(range)?),
            }
        }
    }
    let elements = if real.is_empty() { Elements::Whole(whole) } else { Elements::Real(real) };
    Some(Known::of(op.element(0)).with_elements(&to, Some(elements)))
}

/// Parts along an axis: of given sizes, or of equal ones, the last of which is what is left.
fn split(op: &Operation<'_>) -> Option<Vec<Known>> {
    let count = op.node.output.len();
    let Some(sizes) = op.sizes(0) else { return Some(vec![Known::of(op.element(0)); count]) };
    let axis = op.axis(0, sizes.len())?;
    let parts: Vec<Option<Size>> = if op.has_list("split", 1) {
        let given = entries(op, "split", 1).filter(|given| given.len() == count);
        given.map_or_else(|| vec![None; count], |given| given.into_iter().map(Some).collect())
    } else {
        (0..count).map(|part| part_of(op, sizes[axis].as_ref()?, part, count)).collect()
    };
    let mut before = number(0);
    let mut made = Vec::with_capacity(count);
    for part in parts {
        let start = before.as_ref().and_then(|before| usize::try_from(before.known()?).ok());
        before = before.zip(part.as_ref()).and_then(|(before, part)| before.plus(part));
        made.push(moved(op.input(0), replaced(sizes, axis, part)?, |index| {
            let mut from = index.to_vec();
            from[axis] = from[axis].checked_add(start?)?;
            Some(from)
        }));
    }
    Some(made)
}

/// The size of one of `count` parts of an axis.
fn part_of(op: &Operation<'_>, size: &Size, part: usize, count: usize) -> Option<Size> {
    let count = i64::try_from(count).ok()?;
    match size.known() {
        Some(size) => {
            let each = size.checked_add(count - 1)?.checked_div(count)?;
            number((size - each.checked_mul(part as i64)?).min(each).max(0))
        }
        // Until `num_outputs`, they are equal.
        None if op.node.attribute("num_outputs").is_none() => size.over(count),
        None => {
            let each = size.over_rounded_up(count)?;
            let is_last = part as i64 == count - 1;
            if is_last { size.minus(&each.times_number(count - 1)?) } else { Some(each) }
        }
    }
}

/// What Slice takes of one axis: from where, in which steps, how many.
struct Part {
    start: i64,
    step: i64,
}

fn slice(op: &Operation<'_>) -> Option<Vec<Known>> {
    let Some(sizes) = op.sizes(0) else { return Some(vec![Known::of(op.element(0))]) };
    let rank = sizes.len();
    let (starts, ends) = (entries(op, "starts", 1), entries(op, "ends", 2));
    let axes = if op.has_list("axes", 3) {
        op.list("axes", 3)
    } else {
        let count = starts.as_ref().map(Vec::len).or_else(|| length(op, 1));
        count.filter(|&count| count <= rank).map(|count| (0..count as i64).collect())
    };
    let steps = if op.has_list("steps", 4) { op.list("steps", 4).map(Some) } else { Some(None) };
    let Some(axes) = axes.and_then(|axes| places(&axes, rank)) else {
        return Some(vec![Known::of(op.element(0)).with(open(rank))]);
    };
    let mut to = sizes.clone();
    let mut parts: Vec<Option<Part>> = (0..rank).map(|_| Some(Part { start: 0, step: 1 })).collect();
    for (i, &axis) in axes.iter().enumerate() {
        let step = match &steps {
            Some(None) => Some(1),
            Some(Some(steps)) => steps.get(i).copied(),
            None => None,
        };
        let entry = |list: &Option<Vec<Size>>| list.as_ref()?.get(i).cloned();
        let sliced = entry(&starts)
            .zip(entry(&ends))
            .zip(step)
            .and_then(|((start, end), step)| of_axis(sizes[axis].as_ref()?, &start, &end, step));
        (to[axis], parts[axis]) = sliced.map_or((None, None), |(size, part)| (Some(size), part));
    }
    Some(vec![moved(op.input(0), to, |index| {
        let at = |(&at, part): (&usize, &Option<Part>)| {
            let Part { start, step } = part.as_ref()?;
            usize::try_from(start.checked_add(step.checked_mul(i64::try_from(at).ok()?)?)?).ok()
        };
        index.iter().zip(&parts).map(at).collect()
    })])
}

/// How many elements from `start` to before `end` in steps of `step` there are, by the standard's rules for what is out
/// of bounds.
fn of_axis(size: &Size, start: &Size, end: &Size, step: i64) -> Option<(Size, Option<Part>)> {
    if let (Some(size), Some(start), Some(end)) = (size.known(), start.known(), end.known())
        && step != 0
    {
        let from_front = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
        let (lowest, highest) = if step > 0 { (0, size) } else { (-1, size.checked_sub(1)?) };
        let start = from_front(start).clamp(lowest.max(0), highest.max(0));
        let end = from_front(end).clamp(lowest, highest.max(lowest));
        let length = if step > 0 { end - start } else { start - end };
        let count = (length.max(0) as u64).div_ceil(step.unsigned_abs());
        return Some((Size::number(i64::try_from(count).ok()?), Some(Part { start, step })));
    }
    // "To the end" is written as any number that is large.
    let to_end = end.known().is_some_and(|end| end >= i64::from(i32::MAX)) || end == size;
    (start.is(0) && to_end && step == 1).then(|| (size.clone(), None))
}

/// The sizes with `pads` before and behind `axes`, which are all of them where there are none given.
fn pad(op: &Operation<'_>) -> Option<Vec<Known>> {
    let Some(sizes) = op.sizes(0) else { return Some(vec![Known::of(op.element(0))]) };
    let rank = sizes.len();
    let axes =
        if op.has(3) { op.input(3).ints().and_then(|axes| places(&axes, rank)) } else { Some((0..rank).collect()) };
    let Some((pads, axes)) = entries(op, "pads", 1).zip(axes) else {
        return Some(vec![Known::of(op.element(0)).with(open(rank))]);
    };
    let mut to = sizes.clone();
    for (i, &axis) in axes.iter().enumerate() {
        let added = pads.get(i)?.plus(pads.get(axes.len() + i)?)?;
        to[axis] = to[axis].as_ref().and_then(|size| size.plus(&added));
    }
    Some(vec![Known::of(op.element(0)).with(to)])
}

/// The sizes of the second input along `axes`.
fn center_crop_pad(op: &Operation<'_>) -> Option<Vec<Known>> {
    let Some(sizes) = op.sizes(0) else { return Some(vec![Known::of(op.element(0))]) };
    let axes = match op.node.ints("axes") {
        Some(axes) => places(axes, sizes.len())?,
        None => (0..sizes.len()).collect(),
    };
    let given = op.input(1).whole();
    let mut to = sizes.clone();
    for (i, axis) in axes.into_iter().enumerate() {
        to[axis] = given.and_then(|given| given.get(i).cloned());
    }
    Some(vec![Known::of(op.element(0)).with(to)])
}

/// Blocks of pixels from channels, or into channels.
fn blocks(op: &Operation<'_>, to_space: bool) -> Known {
    let made = Known::of(op.element(0));
    let Some([images, channels, height, width]) = op.sizes(0).map(Vec::as_slice) else { return made.with(open(4)) };
    let block = op.node.int("blocksize", 0);
    let larger = |size: &Option<Size>, times: i64| size.as_ref()?.times_number(times);
    let smaller = |size: &Option<Size>, by: i64| size.as_ref()?.over(by);
    let Some(square) = block.checked_mul(block).filter(|_| block > 0) else { return made.with(open(4)) };
    made.with(if to_space {
        vec![images.clone(), smaller(channels, square), larger(height, block), larger(width, block)]
    } else {
        vec![images.clone(), larger(channels, square), smaller(height, block), smaller(width, block)]
    })
}

/// The elements of one triangle of each matrix, and zeros.
fn trilu(op: &Operation<'_>) -> Option<Vec<Known>> {
    let x = op.input(0);
    let computed = || {
        let diagonal = if op.has(1) { op.input(1).number()?.known()? } else { 0 };
        let sizes = x.numbers()?;
        let is_upper = op.node.int("upper", 1) != 0;
        let is_kept = |index: &Vec<usize>| {
            let &[.., row, column] = &index[..] else { return None };
            let behind = (column as i64).checked_sub(row as i64)?;
            Some(if is_upper { behind >= diagonal } else { behind <= diagonal })
        };
        let kept = indices(&sizes)?.iter().map(is_kept).collect::<Option<Vec<_>>>()?;
        let elements = match x.elements()? {
            Elements::Whole(all) => Elements::Whole(
                all.iter().zip(kept).map(|(x, keep)| if keep { x.clone() } else { Size::ZERO }).collect(),
            ),
            Elements::Real(all) => {
                Elements::Real(all.iter().zip(kept).map(|(&x, keep)| if keep { x } else { 0.0 }).collect())
            }
        };
        Some(Known::of(x.element).with_elements(&sizes, Some(elements)))
    };
    Some(vec![computed().unwrap_or_else(|| x.without_elements())])
}
