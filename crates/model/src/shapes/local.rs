//! Rules that tract does not have, or not for training, or not for sizes that are symbols; and those that are too
//! simple to ask for.

use super::convert::{closed, dims, ints};
use crate::onnx::proto::NodeProto;
use crate::onnx::proto::standard_domain;
use tract_onnx::tract_hir::internal::{
    DatumType, DimFact, Factoid as _, GenericFactoid, InferenceFact, ShapeFactoid, TDim, TVec, tensor0,
};

/// What `node` makes of its inputs, of which `input` tells: one fact for each output, named or not; none where there is
/// no rule here.
pub(super) fn infer(node: &NodeProto, input: impl Fn(usize) -> Option<InferenceFact>) -> Option<Vec<InferenceFact>> {
    let first = input(0)?;
    let like = |fact: InferenceFact| fact.without_value();
    let mut outputs = vec![InferenceFact::default(); node.output.len()];
    let (output, others) = outputs.split_first_mut()?;
    *output = like(first.clone());
    match (standard_domain(node.domain()), node.op_type()) {
        ("", "SoftmaxCrossEntropyLoss" | "NegativeLogLikelihoodLoss") => {
            output.shape = match node.string("reduction", "mean") {
                "none" => input(1)?.shape,
                _ => ShapeFactoid::closed(TVec::new()),
            };
            others.fill(like(first));
        }
        ("", "Size") if is_numbers(&first.shape) => {
            let size = |dim: &DimFact| dim.concretize().and_then(|dim| dim.to_i64().ok());
            let count: Option<i64> = closed(&first.shape)?.iter().map(size).product();
            *output = InferenceFact::from(tensor0(count?));
        }
        // tract leaves the number of rows open where the third operand broadcasts.
        ("", "Gemm") => {
            let (a, b) = (closed(&first.shape)?, closed(&input(1)?.shape)?);
            let rows = a.get(node.int("transA", 0).clamp(0, 1) as usize)?;
            let columns = b.get(1 - node.int("transB", 0).clamp(0, 1) as usize)?;
            output.shape = ShapeFactoid::closed([rows.clone(), columns.clone()].into_iter().collect());
        }
        // Arithmetic on shapes is left to tract, which knows the numbers.
        _ if first.value.is_concrete() => return None,
        // Which axes it takes away is open until their sizes are known; tract takes a symbol not to be 1.
        ("", "Squeeze") if node.ints("axes").is_none() && node.input(1).is_none() && !is_numbers(&first.shape) => {
            output.shape = ShapeFactoid::default();
        }
        // tract wants to know how many axes there were.
        ("", "Flatten") if closed(&first.shape).is_none() => {
            output.shape = ShapeFactoid::closed([GenericFactoid::Any, GenericFactoid::Any].into_iter().collect());
        }
        ("", "Reshape") => output.shape = reshaped(node, &first, &input(1)?)?,
        ("", "Slice") => output.shape = sliced(node, &first, input),
        ("", "Pad") if node.input.len() > 1 => output.shape = padded(&first, &input(1)?, input(3))?,
        ("", "Dropout") => others.fill(like(first).with_datum_type(DatumType::Bool)),
        ("", "BatchNormalization") => {
            for (statistics, position) in others.iter_mut().zip([3, 4].into_iter().cycle()) {
                *statistics = input(position).map(like).unwrap_or_default();
            }
        }
        ("", "LayerNormalization") => others.fill(layer_statistics(node, &first)),
        (domain, operator) if keeps_first(domain, operator) => {}
        _ => return None,
    }
    Some(outputs)
}

/// The shape that Reshape makes of `data` by the elements of `shape`, where these are known. tract leaves open what is
/// left (−1) where the sizes are symbols.
fn reshaped(node: &NodeProto, data: &InferenceFact, shape: &InferenceFact) -> Option<ShapeFactoid> {
    let Some((dims, entries)) = closed(&data.shape).zip(dims(shape)) else {
        // It has as many axes as there are elements all the same.
        let rank = closed(&shape.shape)?.first()?.concretize()?.to_i64().ok()?;
        return Some(ShapeFactoid::closed(std::iter::repeat_n(GenericFactoid::Any, rank as usize).collect()));
    };
    let copies = node.int("allowzero", 0) == 0;
    let mut sizes: TVec<DimFact> = TVec::new();
    for (i, entry) in entries.iter().enumerate() {
        sizes.push(match entry.to_i64() {
            Ok(0) if copies => dims.get(i)?.clone(),
            Ok(-1) => GenericFactoid::Any,
            Ok(size) if size < 0 => return None,
            _ => GenericFactoid::Only(entry.clone()),
        });
    }
    let mut rest = entries.iter().enumerate().filter(|(_, entry)| entry.to_i64().is_ok_and(|entry| entry == -1));
    if let (Some((at, _)), None) = (rest.next(), rest.next()) {
        let of = |dims: &TVec<DimFact>| dims.iter().map(|dim| dim.concretize()).collect::<Option<Vec<TDim>>>();
        let others = sizes.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, size)| size.clone()).collect();
        if let (Some(all), Some(others)) = (of(&dims), of(&others)) {
            sizes[at] = quotient(&all, &others).map_or(GenericFactoid::Any, GenericFactoid::Only);
        }
    }
    let count = |dims: &TVec<DimFact>| dims.iter().map(|dim| dim.concretize()?.to_i64().ok()).product::<Option<i64>>();
    let fits = count(&dims).zip(count(&sizes)).is_none_or(|(from, to)| from == to);
    fits.then(|| ShapeFactoid::closed(sizes))
}

/// The product of `of` divided by that of `by`, where that surely leaves nothing.
fn quotient(of: &[TDim], by: &[TDim]) -> Option<TDim> {
    let ((mut number, mut left), (divisor, factors)) = (factors(of)?, factors(by)?);
    for factor in factors {
        left.swap_remove(left.iter().position(|other| *other == factor)?);
    }
    number = (divisor != 0 && number % divisor == 0).then(|| number / divisor)?;
    Some(left.into_iter().fold(TDim::Val(number), |product, factor| product * factor))
}

/// The factors of a product: a number, and what is not one.
fn factors(dims: &[TDim]) -> Option<(i64, Vec<TDim>)> {
    let (mut number, mut others, mut left) = (1i64, Vec::new(), dims.to_vec());
    while let Some(dim) = left.pop() {
        match dim {
            TDim::Val(value) => number = number.checked_mul(value)?,
            TDim::MulInt(factor, of) => {
                number = number.checked_mul(factor)?;
                left.push(*of);
            }
            TDim::Mul(factors) => left.extend(factors),
            other => others.push(other),
        }
    }
    Some((number, others))
}

/// Whether all sizes are numbers.
fn is_numbers(shape: &ShapeFactoid) -> bool {
    closed(shape).is_some_and(|dims| dims.iter().all(|dim| matches!(dim, GenericFactoid::Only(TDim::Val(_)))))
}

/// The shape of what Slice takes out of its input. tract takes it for granted that a size that is a symbol reaches as
/// far as the slice does.
fn sliced(node: &NodeProto, data: &InferenceFact, input: impl Fn(usize) -> Option<InferenceFact>) -> ShapeFactoid {
    let numbers = |name: &str, position: usize| match node.ints(name) {
        Some(ints) => Some(ints.to_vec()),
        None => ints(&input(position)?),
    };
    let is_given = |name: &str, position: usize| node.attribute(name).is_some() || node.input(position).is_some();
    let Some(mut dims) = closed(&data.shape) else { return data.shape.clone() };
    let (starts, ends, rank) = (numbers("starts", 1), numbers("ends", 2), dims.len());
    let axes = match &starts {
        Some(starts) if !is_given("axes", 3) => Some((0..starts.len() as i64).collect()),
        _ => numbers("axes", 3),
    };
    let steps = if is_given("steps", 4) { numbers("steps", 4) } else { Some(vec![1; rank]) };
    let Some(axes) = axes else { return ShapeFactoid::closed(dims.iter().map(|_| GenericFactoid::Any).collect()) };
    for (i, axis) in axes.iter().enumerate() {
        let Some(dim) = index(*axis, rank).and_then(|axis| dims.get_mut(axis)) else { continue };
        let number = |list: &Option<Vec<i64>>| list.as_ref()?.get(i).copied();
        *dim = match (number(&starts), number(&ends), number(&steps)) {
            (Some(start), Some(end), Some(step)) => size_of_slice(dim, start, end, step),
            _ => GenericFactoid::Any,
        };
    }
    ShapeFactoid::closed(dims)
}

/// How many elements from `start` to before `end` in steps of `step` there are, by the standard's rules for what is out
/// of bounds.
fn size_of_slice(dim: &DimFact, start: i64, end: i64, step: i64) -> DimFact {
    match dim {
        GenericFactoid::Only(TDim::Val(size)) if step != 0 => {
            let from_front = |at: i64| if at < 0 { at.saturating_add(*size) } else { at };
            let (lowest, highest) = if step > 0 { (0, *size) } else { (-1, size - 1) };
            let start = from_front(start).clamp(lowest.max(0), highest.max(0));
            let end = from_front(end).clamp(lowest, highest.max(lowest));
            let length = if step > 0 { end - start } else { start - end };
            GenericFactoid::Only(TDim::Val((length.max(0) as u64).div_ceil(step.unsigned_abs()) as i64))
        }
        // "To the end" is written as any number that is large.
        dim if start == 0 && end >= i64::from(i32::MAX) && step == 1 => dim.clone(),
        _ => GenericFactoid::Any,
    }
}

/// An axis that may be counted from the end.
fn index(axis: i64, rank: usize) -> Option<usize> {
    usize::try_from(if axis < 0 { axis.checked_add(rank as i64)? } else { axis }).ok()
}

/// The shape of an input with `pads` at both ends of `axes`, which are all of them where there is no such input.
fn padded(input: &InferenceFact, pads: &InferenceFact, axes: Option<InferenceFact>) -> Option<ShapeFactoid> {
    let mut dims = closed(&input.shape)?;
    let rank = dims.len();
    let pads = ints(pads)?;
    let axes = axes.map_or_else(|| Some((0..rank as i64).collect()), |axes| ints(&axes))?;
    for (i, axis) in axes.iter().enumerate() {
        let dim = dims.get_mut(index(*axis, rank)?)?;
        let added = pads.get(i)?.checked_add(*pads.get(axes.len() + i)?)?;
        *dim = dim.concretize().map_or(GenericFactoid::Any, |dim| GenericFactoid::Only(dim + added));
    }
    Some(ShapeFactoid::closed(dims))
}

/// Mean and inverse deviation of LayerNormalization: the input's shape with ones from `axis` on.
fn layer_statistics(node: &NodeProto, input: &InferenceFact) -> InferenceFact {
    let float32 = node.int("stash_type", 1) == 1;
    let datum_type = if float32 { DatumType::F32.into() } else { input.datum_type };
    let statistics = InferenceFact { datum_type, ..InferenceFact::default() };
    let Some(mut dims) = closed(&input.shape) else { return statistics };
    let axis = node.int("axis", -1);
    let axis = if axis < 0 { axis + dims.len() as i64 } else { axis };
    dims.iter_mut().skip(axis.max(0) as usize).for_each(|dim| *dim = GenericFactoid::Only(TDim::Val(1)));
    statistics.with_shape(ShapeFactoid::closed(dims))
}

/// Standard operators whose first output has the type and the shape of their first input.
const KEEP_FIRST: &str = "Abs Acos Acosh Asin Asinh Atan Atanh Ceil Celu Clip Cos Cosh CumSum Elu Erf Exp Floor Gelu \
    GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization LRN LeakyRelu Log LogSoftmax \
    LpNormalization MeanVarianceNormalization Mish Neg Not PRelu RMSNormalization Reciprocal Relu Round ScatterElements \
    ScatterND Selu Shrink Sigmoid Sign Sin Sinh Softmax Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu Trilu";

/// Operators of ONNX Runtime's own that do so.
const KEEP_FIRST_OF_MICROSOFT: &str = "BiasGelu BiasSoftmax FastGelu Gelu GroupNorm QuickGelu SimplifiedLayerNormalization \
    SkipLayerNormalization SkipSimplifiedLayerNormalization";

fn keeps_first(domain: &str, operator: &str) -> bool {
    let operators = match domain {
        "" => KEEP_FIRST,
        "com.microsoft" => KEEP_FIRST_OF_MICROSOFT,
        _ => return false,
    };
    operators.split_ascii_whitespace().any(|keeps| keeps == operator)
}
