//! Rules that tract does not have, or not for training; and those that are too simple to ask for.

use super::convert::{closed, ints};
use crate::onnx::proto::NodeProto;
use crate::onnx::proto::standard_domain;
use tract_onnx::tract_hir::internal::{
    DatumType, Factoid as _, GenericFactoid, InferenceFact, ShapeFactoid, TDim, TVec,
};

/// What `node` makes of its inputs, of which `input` tells: one fact for each output, named or not; none where there is no
/// rule here.
pub(super) fn infer(node: &NodeProto, input: impl Fn(usize) -> Option<InferenceFact>) -> Option<Vec<InferenceFact>> {
    if node.output.is_empty() {
        return None;
    }
    let first = input(0)?;
    let constant = first.value.is_concrete();
    let like = |fact: &InferenceFact| fact.clone().without_value();
    let mut outputs = vec![InferenceFact::default(); node.output.len()];
    match (standard_domain(node.domain()), node.op_type()) {
        ("", "SoftmaxCrossEntropyLoss" | "NegativeLogLikelihoodLoss") => {
            outputs[0] = match node.string("reduction", "mean") {
                "none" => InferenceFact { datum_type: first.datum_type, ..like(&input(1)?) },
                _ => InferenceFact { shape: ShapeFactoid::closed(TVec::new()), ..like(&first) },
            };
            outputs[1..].fill(like(&first));
            return Some(outputs);
        }
        ("", "Pad") if !constant && node.input.len() > 1 => {
            outputs[0] = like(&first).with_shape(padded(&first, &input(1)?, input(3))?);
            return Some(outputs);
        }
        // Arithmetic on shapes is left to tract, which knows the numbers.
        (domain, operator) if !constant && keeps_first(domain, operator) => outputs[0] = like(&first),
        _ => return None,
    }
    match node.op_type() {
        "Dropout" => outputs[1..].fill(like(&first).with_datum_type(DatumType::Bool)),
        "BatchNormalization" => {
            for (i, output) in outputs.iter_mut().enumerate().skip(1) {
                *output = input(if i % 2 == 1 { 3 } else { 4 }).map(|f| like(&f)).unwrap_or_default();
            }
        }
        "LayerNormalization" => outputs[1..].fill(layer_statistics(node, &first)),
        _ => {}
    }
    Some(outputs)
}

/// The shape of an input with `pads` at both ends of `axes`, which are all of them where there is no such input.
fn padded(input: &InferenceFact, pads: &InferenceFact, axes: Option<InferenceFact>) -> Option<ShapeFactoid> {
    let mut dims = closed(&input.shape)?;
    let rank = dims.len();
    let pads = ints(pads)?;
    let axes = axes.map_or_else(|| Some((0..rank as i64).collect()), |axes| ints(&axes))?;
    for (i, axis) in axes.iter().enumerate() {
        let dim = dims.get_mut(usize::try_from(if *axis < 0 { axis + rank as i64 } else { *axis }).ok()?)?;
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

/// Whether the first output has the type and the shape of the first input.
fn keeps_first(domain: &str, operator: &str) -> bool {
    match domain {
        "" => matches!(
            operator,
            "Abs"
                | "Acos"
                | "Acosh"
                | "Asin"
                | "Asinh"
                | "Atan"
                | "Atanh"
                | "BatchNormalization"
                | "Ceil"
                | "Celu"
                | "Clip"
                | "Cos"
                | "Cosh"
                | "CumSum"
                | "Dropout"
                | "Elu"
                | "Erf"
                | "Exp"
                | "Floor"
                | "Gelu"
                | "GroupNormalization"
                | "HardSigmoid"
                | "HardSwish"
                | "Hardmax"
                | "Identity"
                | "InstanceNormalization"
                | "LRN"
                | "LayerNormalization"
                | "LeakyRelu"
                | "Log"
                | "LogSoftmax"
                | "LpNormalization"
                | "MeanVarianceNormalization"
                | "Mish"
                | "Neg"
                | "Not"
                | "PRelu"
                | "RMSNormalization"
                | "Reciprocal"
                | "Relu"
                | "Round"
                | "ScatterElements"
                | "ScatterND"
                | "Selu"
                | "Shrink"
                | "Sigmoid"
                | "Sign"
                | "Sin"
                | "Sinh"
                | "Softmax"
                | "Softplus"
                | "Softsign"
                | "Sqrt"
                | "Swish"
                | "Tan"
                | "Tanh"
                | "ThresholdedRelu"
                | "Trilu"
        ),
        "com.microsoft" => matches!(
            operator,
            "BiasGelu"
                | "BiasSoftmax"
                | "FastGelu"
                | "Gelu"
                | "GroupNorm"
                | "QuickGelu"
                | "SimplifiedLayerNormalization"
                | "SkipLayerNormalization"
                | "SkipSimplifiedLayerNormalization"
        ),
        _ => false,
    }
}
