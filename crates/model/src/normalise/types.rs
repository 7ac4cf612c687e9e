//! Element types of values that the file does not declare, so that constants beside them can have the same.

use crate::onnx::DataType;
use crate::onnx::proto::{MICROSOFT, NodeProto, standard_domain};

/// Operators whose first output has the element type of their first input, sorted.
const KEEP: &[&str] = &[
    "Abs",
    "Add",
    "AveragePool",
    "BatchNormalization",
    "BiasGelu",
    "Ceil",
    "Clip",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Cos",
    "CumSum",
    "DepthToSpace",
    "Div",
    "Dropout",
    "Einsum",
    "Elu",
    "Erf",
    "Exp",
    "Expand",
    "FastGelu",
    "Flatten",
    "Floor",
    "FusedConv",
    "FusedGemm",
    "FusedMatMul",
    "GRU",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LRN",
    "LSTM",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "LpPool",
    "MatMul",
    "Max",
    "MaxPool",
    "Mean",
    "MeanVarianceNormalization",
    "Min",
    "Mish",
    "Mod",
    "Mul",
    "Neg",
    "PRelu",
    "Pad",
    "Pow",
    "QuickGelu",
    "RNN",
    "Range",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Relu",
    "Reshape",
    "Resize",
    "Round",
    "ScatterElements",
    "ScatterND",
    "Selu",
    "Sigmoid",
    "Sign",
    "Sin",
    "SkipLayerNormalization",
    "Slice",
    "Softmax",
    "Softplus",
    "Softsign",
    "SpaceToDepth",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "ThresholdedRelu",
    "Tile",
    "TopK",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Upsample",
];

/// The element type of a node's first output, from those of its inputs.
pub(super) fn of_output(node: &NodeProto, known: impl Fn(&str) -> Option<DataType>) -> Option<DataType> {
    if !matches!(standard_domain(node.domain()), "" | MICROSOFT) {
        return None;
    }
    match node.op_type() {
        "Cast" => DataType::try_from(i32::try_from(node.int("to", 0)).ok()?).ok(),
        "CastLike" | "Where" => known(node.input(1)?),
        "Shape" | "Size" | "ArgMax" | "ArgMin" | "NonZero" => Some(DataType::Int64),
        operator => KEEP.binary_search(&operator).ok().and_then(|_| known(node.input(0)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_can_be_looked_up() {
        assert!(KEEP.is_sorted());
    }
}
