//! Operators that cut tensors apart, put them together, and cut or fill their margins.

use super::positions;
use super::{Cotangents, Entry, Op, Rule};
use gnp_base::Result;
use gnp_model::graph::{Builder, Dim, Fact, Value, known_shape};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::AttributeProto;

pub(super) const RULES: &[Entry] = &[
    ("", "Concat", Rule::Vjp(concat)),
    ("", "Split", Rule::VjpMany(split)),
    ("", "Slice", Rule::Vjp(slice)),
    ("", "Pad", Rule::Vjp(pad)),
    ("", "CenterCropPad", Rule::Vjp(by_position)),
    ("", "Compress", Rule::Vjp(by_position)),
    ("", "Trilu", Rule::Vjp(trilu)),
];

/// y = the xᵢ one behind the other  ⇒  x̄ᵢ = the piece of ȳ where xᵢ is
fn concat(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let axis = op.int("axis", 0);
    let parts: Vec<&Value> = (0..op.inputs().len()).map(|i| op.input(i)).collect::<Result<_>>()?;
    if parts.len() == 1 {
        return Ok([dy.clone()].into());
    }
    let facts = parts.iter().map(|part| g.fact(part)).collect();
    let sizes: Vec<Value> = parts.iter().map(|part| g.size_of(part, axis)).collect();
    let sizes = g.concat_ints(&sizes.iter().collect::<Vec<_>>());
    let pieces = g.nodes("Split", &[dy, &sizes], vec![AttributeProto::int("axis", axis)], facts);
    Ok(Cotangents::of(pieces.into_iter().map(Some)))
}

/// yᵢ = pieces of x, one behind the other  ⇒  x̄ = the ȳᵢ one behind the other; zeros where there is none
fn split(op: &Op, dys: &[Option<Value>], g: &Builder<'_>) -> Result<Cotangents> {
    let mut pieces = Vec::with_capacity(dys.len());
    for (i, dy) in dys.iter().enumerate() {
        pieces.push(match dy {
            Some(dy) => dy.clone(),
            None => {
                let y = op.output(i)?;
                g.zeros_like(y)
            }
        });
    }
    if let [only] = pieces.as_slice() {
        return Ok([only.clone()].into());
    }
    Ok([g.concat(&pieces.iter().collect::<Vec<_>>(), op.int("axis", 0))].into())
}

/// y = x\[start : end : step\] along some axes  ⇒  x̄ = ȳ there, zeros elsewhere
fn slice(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let x = op.input(0)?;
    if let Some(cuts) = cuts(op, g)?
        && let Some(dx) = uncut(dy, &cuts, g)
    {
        return Ok([dx].into());
    }
    let in_steps = op.optional(4).is_some_and(|steps| g.ints(steps).is_none_or(|steps| steps.iter().any(|s| *s != 1)));
    if in_steps {
        return by_position(op, dy, g);
    }
    // The margins are known as the graph runs.
    let starts = g.cast(op.input(1)?, DataType::Int64);
    let axes = match op.optional(3) {
        Some(axes) => axes.clone(),
        None => leading_axes(&starts, g),
    };
    let sizes = sizes_at(x, &axes, g);
    let lengths = sizes_at(dy, &axes, g);
    let zero = g.int64(0);
    let begin = g.select(g.compare("Less", &starts, &zero), g.add(&starts, &sizes), &starts);
    let begin = g.binary("Min", g.binary("Max", &begin, &zero), &sizes);
    let pads = g.concat(&[&begin, &g.sub(g.sub(&sizes, &begin), &lengths)], 0);
    Ok([g.node("Pad", &[dy, &pads, &Value::from(""), &axes], vec![], g.fact(x))].into())
}

/// What a `Slice` takes along one axis: `count` elements from `start` on in steps of `step`, of `size`.
struct Cut {
    axis: i64,
    size: i64,
    start: i64,
    step: i64,
    count: i64,
}

/// The cuts of a `Slice` where they are wholly known.
fn cuts(op: &Op, g: &Builder<'_>) -> Result<Option<Vec<Cut>>> {
    let (x, starts, ends) = (op.input(0)?, g.ints(op.input(1)?), g.ints(op.input(2)?));
    let (Some(starts), Some(ends)) = (starts, ends) else { return Ok(None) };
    let axes = op.optional(3).map_or_else(|| Some((0..starts.len() as i64).collect()), |axes| g.ints(axes));
    let steps = op.optional(4).map_or_else(|| Some(vec![1; starts.len()].into()), |steps| g.ints(steps));
    let (Some(axes), Some(steps)) = (axes, steps) else { return Ok(None) };
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] || steps.contains(&0) {
        return Err(op.error("its starts, ends, axes and steps do not go together"));
    }
    let cut = |i: usize| {
        let size = g.fact(x).dim(axes[i])?.known()?;
        let from_end = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
        let (start, end, step) = (from_end(starts[i]), from_end(ends[i]), steps[i]);
        let (start, span) = if step > 0 {
            let start = start.clamp(0, size);
            (start, end.clamp(0, size) - start)
        } else {
            let start = start.clamp(-1, size - 1);
            (start, start - end.clamp(-1, size - 1))
        };
        let count = (span.max(0) as u64).div_ceil(step.unsigned_abs()) as i64;
        Some(Cut { axis: axes[i], size, start, step, count })
    };
    Ok((0..starts.len()).map(cut).collect())
}

/// `dy` put where it was cut from, among zeros; none where that takes a shape that is not known.
fn uncut(dy: &Value, cuts: &[Cut], g: &Builder<'_>) -> Option<Value> {
    let mut dy = dy.clone();
    let (mut begin, mut end) = (Vec::new(), Vec::new());
    for Cut { axis, size, start, step, count } in cuts {
        let mut start = *start;
        if *step < 0 {
            dy = g.slice(&dy, &[-1], &[i64::MIN], &[*axis], &[-1]);
            start += (count - 1) * step;
        }
        let step = step.abs();
        if step > 1 && *count > 1 {
            dy = spread(&dy, *axis, step, *count, g)?;
        }
        let length = if *count > 1 { count * step } else { *count };
        let start = if *count == 0 { 0 } else { start };
        begin.push(start);
        end.push(size - start - length);
    }
    let axes: Vec<i64> = cuts.iter().map(|cut| cut.axis).collect();
    Some(g.pad_along(&dy, &begin, &end, &axes))
}

/// `x` with `step` − 1 zeros after each of its `count` elements along `axis`.
fn spread(x: &Value, axis: i64, step: i64, count: i64, g: &Builder<'_>) -> Option<Value> {
    let mut shape = g.fact(x).shape.clone()?;
    let axis = if axis < 0 { axis + shape.len() as i64 } else { axis };
    *shape.get_mut(axis as usize)? = Dim::Known(count * step);
    g.reshape_dims(g.pad_along(g.unsqueeze(x, &[axis + 1]), &[0], &[step - 1], &[axis + 1]), shape)
}

/// y = x between margins ⇒ x̄ = ȳ without the margins that are constant; margins that repeat x fold back onto what they
/// repeat. The constant's cotangent is the sum over the margins.
fn pad(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let mode = op.string("mode", "constant");
    let dx = match margins(op, g) {
        Some(margins) if mode == "constant" => {
            let (axes, begin, end) = margins;
            let [begin, end] = [begin, end].map(|pads| pads.iter().map(|p| -p).collect::<Vec<_>>());
            Some(g.pad_along(dy, &begin, &end, &axes))
        }
        Some((axes, begin, end)) => {
            let mut dx = Some(dy.clone());
            for ((&axis, &begin), &end) in axes.iter().zip(&begin).zip(&end) {
                let size = g.fact(op.input(0)?).dim(axis).and_then(Dim::known);
                dx = dx.zip(size).and_then(|(dy, size)| fold(mode, &dy, axis, size, [begin, end], g));
            }
            dx
        }
        None => None,
    };
    let dx = match dx {
        Some(dx) => dx,
        None => {
            let axes = op.optional(3).map(|axes| [Value::from(""), axes.clone()]);
            let others: Vec<&Value> = [op.input(1)?].into_iter().chain(axes.iter().flatten()).collect();
            positions::pull_back(op, &others, DataType::Int64, dy, g)?
        }
    };
    let constant = op.optional(2).filter(|_| op.wants(2) && mode == "constant");
    let constant = constant.map(|value| {
        let [all, inside] = [dy, &dx].map(|d| g.reduce_all("ReduceSum", d));
        g.reshape_like(g.sub(&all, &inside), value)
    });
    Ok(Cotangents::of([Some(dx), None, constant]))
}

/// The axes of a `Pad` and what it adds before and behind, where they are constants.
fn margins(op: &Op, g: &Builder<'_>) -> Option<(Vec<i64>, Vec<i64>, Vec<i64>)> {
    let pads = g.ints(op.optional(1)?)?;
    let (begin, end) = pads.split_at(pads.len() / 2);
    let axes = match op.optional(3) {
        Some(axes) => g.ints(axes)?.to_vec(),
        None => (0..begin.len() as i64).collect(),
    };
    Some((axes, begin.to_vec(), end.to_vec()))
}

/// Along one axis, `dy` without its margins and with what those hold added to the elements, of `size`, that they
/// repeat; none where a margin is negative or repeats elements more than once.
fn fold(mode: &str, dy: &Value, axis: i64, size: i64, pads: [i64; 2], g: &Builder<'_>) -> Option<Value> {
    let [begin, end] = pads;
    // Where the two margins begin in x, and how long they are.
    let at = match mode {
        "reflect" if begin < size && end < size => [1, size - 1 - end],
        "wrap" if begin <= size && end <= size => [size - begin, 0],
        "edge" => [0, size - 1],
        _ => return None,
    };
    if begin < 0 || end < 0 || size == 0 {
        return None;
    }
    let mut dx = g.pad_along(dy, &[-begin], &[-end], &[axis]);
    let ranges = [(0, begin), (begin + size, begin + size + end)];
    for ((from, to), at) in ranges.into_iter().zip(at) {
        if from == to {
            continue;
        }
        let (margin, length) = match mode {
            "reflect" => {
                let (last, before) = (to - 1, if from == 0 { i64::MIN } else { from - 1 });
                (g.slice(dy, &[last], &[before], &[axis], &[-1]), to - from)
            }
            "wrap" => (g.slice(dy, &[from], &[to], &[axis], &[1]), to - from),
            _ => {
                let margin = g.slice(dy, &[from], &[to], &[axis], &[1]);
                (g.reduce("ReduceSum", &margin, &[axis], true), 1)
            }
        };
        dx = g.add(&dx, g.pad_along(&margin, &[at], &[size - at - length], &[axis]));
    }
    Some(dx)
}

/// y = x where a triangle is, zeros elsewhere  ⇒  x̄ = ȳ there, zeros elsewhere
fn trilu(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let fact = g.fact(op.input(0)?);
    let inputs: Vec<&Value> = [dy].into_iter().chain(op.optional(1)).collect();
    Ok([g.node("Trilu", &inputs, op.attribute.clone(), fact)].into())
}

/// y = elements of x, and zeros  ⇒  x̄ = ȳ where they come from
fn by_position(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let left_out = Value::from("");
    let others: Vec<&Value> = op.inputs().iter().skip(1).map(|input| input.as_ref().unwrap_or(&left_out)).collect();
    Ok([positions::pull_back(op, &others, DataType::Int64, dy, g)?].into())
}

/// The numbers 0, 1, … as many as `like` has elements.
fn leading_axes(like: &Value, g: &Builder<'_>) -> Value {
    if let Some(&[Dim::Known(count)]) = g.fact(like).shape.as_deref() {
        return g.int64s(&(0..count).collect::<Vec<_>>());
    }
    let ints = |shape| Fact { element: DataType::Int64, shape };
    let [zero, one] = [0, 1].map(|i| g.int64(i));
    let count = g.node("Size", &[like], vec![], ints(known_shape(&[])));
    g.node("Range", &[&zero, &count, &one], vec![], ints(Some(vec![Dim::Unknown])))
}

/// The sizes of `x` along `axes`.
fn sizes_at(x: &Value, axes: &Value, g: &Builder<'_>) -> Value {
    g.gather(g.shape_of(x), axes, 0)
}
