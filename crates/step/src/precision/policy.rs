//! Which operators compute in half precision.

use gnp_gradient::whole::{BATCH_NORM, DOMAIN};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::NodeProto;

/// How an operator takes part in mixed precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// In half precision: sums of products, which processors have units for.
    Half,
    /// In the precision of its operands: what moves elements, or computes one by one and keeps them in range.
    Follows,
    /// In single precision, with a result in the precision of its data: normalisations, whose sums need the bits, between
    /// operators that do not.
    Through,
    /// In single precision: all others.
    Single,
}

/// Half precision, as a model of an operator set has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Half {
    pub element: DataType,
    pub opset: i64,
}

impl Half {
    /// The policy for a node. `divides_by_constant` tells whether its second operand is one that no data change.
    pub fn policy(self, node: &NodeProto, divides_by_constant: bool) -> Policy {
        let policy = wanted(node, divides_by_constant);
        if policy == Policy::Through || self.has(node.op_type()) { policy } else { Policy::Single }
    }

    /// Whether a node would compute in half precision in an operator set that has that: from which one on.
    pub fn in_later_set(self, node: &NodeProto) -> Option<i64> {
        let since = since(node.op_type()).filter(|since| *since > self.opset && self.element == DataType::Bfloat16);
        since.filter(|_| wanted(node, false) == Policy::Half)
    }

    /// Whether the operator and its gradient take these elements, in the standard and in ONNX Runtime on cards.
    fn has(self, operator: &str) -> bool {
        self.element == DataType::Float16 || since(operator).is_some_and(|since| since <= self.opset)
    }
}

fn wanted(node: &NodeProto, divides_by_constant: bool) -> Policy {
    match (node.domain(), node.op_type()) {
        ("", "MatMul" | "Gemm" | "Conv" | "ConvTranspose" | "Einsum") => Policy::Half,
        // Moved elements.
        (
            "",
            "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" | "Concat" | "Split" | "Slice"
            | "Gather" | "GatherElements" | "GatherND" | "Expand" | "Tile" | "Pad" | "DepthToSpace" | "SpaceToDepth"
            | "Trilu" | "Where",
        ) => Policy::Follows,
        // Activations.
        (
            "",
            "Relu" | "LeakyRelu" | "PRelu" | "Clip" | "Sigmoid" | "Tanh" | "Erf" | "Gelu" | "HardSigmoid" | "HardSwish"
            | "Softmax" | "Dropout",
        ) => Policy::Follows,
        // Sums and products of two, which are residual connections, biases, gates and scales.
        ("", "Add" | "Sub" | "Mul" | "Neg" | "Abs" | "Max" | "Min" | "Sum") => Policy::Follows,
        ("", "MaxPool" | "AveragePool" | "GlobalAveragePool" | "GlobalMaxPool") => Policy::Follows,
        // The derivative by a divisor has its square.
        ("", "Div") if divides_by_constant => Policy::Follows,
        (DOMAIN, BATCH_NORM)
        | (
            "",
            "BatchNormalization"
            | "InstanceNormalization"
            | "GroupNormalization"
            | "LayerNormalization"
            | "RMSNormalization",
        ) => Policy::Through,
        _ => Policy::Single,
    }
}

/// The operator set from which on an operator takes bfloat16, and so do the operators of its gradient, on cards too: of
/// the others the standard has no such form, or ONNX Runtime no kernel.
fn since(operator: &str) -> Option<i64> {
    match operator {
        "MatMul" | "Gemm" => Some(13),
        "Conv" | "HardSwish" => Some(22),
        "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" | "Concat" | "Split" | "Expand"
        | "Where" | "Trilu" => Some(13),
        "Relu" | "Sigmoid" | "Tanh" | "Erf" | "Softmax" | "Dropout" => Some(13),
        "Gelu" => Some(20),
        "Add" | "Sub" | "Mul" | "Div" | "Neg" | "Max" | "Min" | "Sum" => Some(13),
        _ => None,
    }
}
