//! What became of every standard operator between the oldest version that is understood and the newest that models are
//! brought to, as the schemas of the `onnx` package tell it: a test compares.

use super::{ADAPTERS, unsupported};
use crate::onnx::proto::NodeProto;
use gnp_base::Result;

/// What a new version of an operator means for a node that was written in an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing: it allows more types, or has new attributes and inputs whose default is the old meaning.
    Compatible,
    /// The node is changed.
    Adapted,
    /// There is no adapter.
    Refused,
}

/// Versions in which an operator was given more types, negative axes, or optional attributes, inputs and outputs.
const COMPATIBLE: &[(&str, &[i64])] = &[
    ("Abs", &[13]),
    ("Add", &[13, 14]),
    ("ArgMax", &[11, 12, 13]),
    ("ArgMin", &[11, 12, 13]),
    ("AveragePool", &[10, 11]),
    ("BatchNormalization", &[15]),
    ("Cast", &[9, 13]),
    ("Ceil", &[13]),
    ("Clip", &[12, 13]),
    ("Compress", &[11]),
    ("Concat", &[11, 13]),
    ("Constant", &[9, 11, 12, 13]),
    ("Conv", &[11]),
    ("ConvTranspose", &[11]),
    ("CumSum", &[14]),
    ("DepthToSpace", &[11, 13]),
    ("DequantizeLinear", &[13]),
    ("Div", &[13, 14]),
    ("Dropout", &[13]),
    ("Equal", &[11, 13]),
    ("Erf", &[13]),
    ("Exp", &[13]),
    ("Expand", &[13]),
    ("Flatten", &[9, 11, 13]),
    ("Floor", &[13]),
    ("GRU", &[14]),
    ("Gather", &[11, 13]),
    ("GatherElements", &[13]),
    ("GatherND", &[12, 13]),
    ("Gemm", &[9, 11, 13]),
    ("Greater", &[9, 13]),
    ("GreaterOrEqual", &[16]),
    ("Hardmax", &[11]),
    ("Identity", &[13, 14, 16]),
    ("If", &[11, 13, 16]),
    ("IsNaN", &[13]),
    ("LRN", &[13]),
    ("LSTM", &[14]),
    ("LeakyRelu", &[16]),
    ("Less", &[9, 13]),
    ("LessOrEqual", &[16]),
    ("Log", &[13]),
    ("LogSoftmax", &[11]),
    ("Loop", &[11, 13, 16]),
    ("LpPool", &[11, 18]),
    ("MatMul", &[9, 13]),
    ("Max", &[8, 12, 13]),
    ("MaxPool", &[8, 10, 11, 12]),
    ("MaxUnpool", &[11]),
    ("Mean", &[8, 13]),
    ("MeanVarianceNormalization", &[13]),
    ("Min", &[8, 12, 13]),
    ("Mod", &[13]),
    ("Mul", &[13, 14]),
    ("Neg", &[13]),
    ("NegativeLogLikelihoodLoss", &[13]),
    ("NonMaxSuppression", &[11]),
    ("NonZero", &[13]),
    // Negative indices were out of range, and count from the end since.
    ("OneHot", &[11]),
    ("OptionalGetElement", &[18]),
    ("OptionalHasElement", &[18]),
    ("PRelu", &[9, 16]),
    ("Pad", &[13, 18]),
    ("Pow", &[12, 13, 15]),
    ("QuantizeLinear", &[13]),
    ("RNN", &[14]),
    ("Reciprocal", &[13]),
    ("ReduceL1", &[11, 13]),
    ("ReduceL2", &[11, 13]),
    ("ReduceLogSum", &[11, 13]),
    ("ReduceLogSumExp", &[11, 13]),
    ("ReduceMax", &[11, 12, 13]),
    ("ReduceMean", &[11, 13]),
    ("ReduceMin", &[11, 12, 13]),
    ("ReduceProd", &[11, 13]),
    ("ReduceSum", &[11]),
    ("ReduceSumSquare", &[11, 13]),
    ("Relu", &[13, 14]),
    ("Reshape", &[13, 14]),
    ("Resize", &[18]),
    ("Scan", &[11, 16]),
    ("ScatterElements", &[13, 16, 18]),
    ("ScatterND", &[13, 16, 18]),
    ("Shape", &[13, 15]),
    ("Sigmoid", &[13]),
    ("Sign", &[13]),
    ("Size", &[13]),
    ("Slice", &[11, 13]),
    ("Softmax", &[11]),
    ("SoftmaxCrossEntropyLoss", &[13]),
    ("SpaceToDepth", &[13]),
    ("Split", &[11]),
    ("Sqrt", &[13]),
    ("Squeeze", &[11]),
    ("Sub", &[13, 14]),
    ("Sum", &[8, 13]),
    ("Tanh", &[13]),
    ("Tile", &[13]),
    ("TopK", &[11]),
    ("Transpose", &[13]),
    ("Unsqueeze", &[11]),
    ("Where", &[16]),
];

/// Versions in which an operator changed its meaning in a way that has no adapter. Those above 18 matter where a
/// function of the model is older than the model.
const REFUSED: &[(&str, i64)] = &[("Scan", 9), ("DFT", 20), ("GridSample", 20)];

/// What version `version` of a standard operator changed; none where it changed nothing that is known of.
pub fn change(operator: &str, version: i64) -> Option<Change> {
    if ADAPTERS.iter().any(|(name, to, _)| (*name, *to) == (operator, version)) {
        Some(Change::Adapted)
    } else if REFUSED.contains(&(operator, version)) {
        Some(Change::Refused)
    } else {
        let compatible = COMPATIBLE.iter().any(|(name, to)| *name == operator && to.contains(&version));
        compatible.then_some(Change::Compatible)
    }
}

/// Refuses a node of an operator that changed its meaning between `version` and `target` and has no adapter.
pub(super) fn refuse(node: &NodeProto, version: i64, target: i64) -> Result<()> {
    let found = REFUSED.iter().find(|(operator, to)| *operator == node.op_type() && version < *to && *to <= target);
    let Some((operator, to)) = found else { return Ok(()) };
    Err(unsupported(format!(
        "{operator} changed its meaning in operator set {to}; as it is written here, in {version}, it cannot be brought to \
         {target}"
    )))
}
