//! What operators do with what stands at their inputs.

use super::Role;
use super::walk::Root;
use foldhash::HashSet;
use gnp_model::graph::{Facts, Graph};
use gnp_model::onnx::proto::NodeProto;

/// Whether a node's results are random: they depend on no input.
pub(super) fn is_draw(node: &NodeProto) -> bool {
    node.op_type().starts_with("Random") || matches!(node.op_type(), "Bernoulli" | "Multinomial")
}

/// Whether a node gives elements other places and changes none.
pub(super) fn moves(node: &NodeProto) -> bool {
    matches!(
        node.op_type(),
        "Identity"
            | "Cast"
            | "CastLike"
            | "Reshape"
            | "Flatten"
            | "Squeeze"
            | "Unsqueeze"
            | "Transpose"
            | "Expand"
            | "Tile"
            | "Slice"
            | "Split"
            | "Concat"
            | "Gather"
            | "GatherElements"
            | "GatherND"
            | "Pad"
            | "DepthToSpace"
            | "SpaceToDepth"
            | "ReverseSequence"
            | "CenterCropPad"
            | "Trilu"
            | "Compress"
    )
}

/// Whether an input tells a node that moves elements where to.
pub(super) fn says_how(node: &NodeProto, input: usize) -> bool {
    moves(node) && input > 0 && !matches!(node.op_type(), "Concat")
}

/// Whether a Scan takes a slice of an input in each of its iterations.
pub(super) fn is_slice(node: &NodeProto, input: usize) -> bool {
    let slices = usize::try_from(node.int("num_scan_inputs", 0)).unwrap_or(0);
    node.is("", "Scan") && input + slices >= node.input.len()
}

/// What a constant at an input is to a node that meets data; none where it says how the operator works.
pub(super) fn role(node: &NodeProto, input: usize) -> Option<Role> {
    let role = match (node.op_type(), input) {
        ("Conv" | "ConvTranspose" | "DeformConv", 1) => Role::Weight,
        ("Conv" | "ConvTranspose", 2) | ("DeformConv", 3) | ("Gemm", 2) => Role::Bias,
        ("Gemm", 0 | 1) | ("MatMul" | "Einsum", _) => Role::Weight,
        ("PRelu", 1) | ("LSTM" | "GRU" | "RNN", 1..=3) | ("LSTM", 7) => Role::Weight,
        ("LSTM" | "GRU" | "RNN", 5) | ("LSTM", 6) | ("Loop", 2..) => Role::Input,
        ("Scan", _) if !is_slice(node, input) => Role::Input,
        ("BatchNormalization", 3 | 4) => Role::Statistic,
        (
            "BatchNormalization"
            | "InstanceNormalization"
            | "GroupNormalization"
            | "LayerNormalization"
            | "RMSNormalization",
            1,
        ) => Role::NormScale,
        ("BatchNormalization" | "InstanceNormalization" | "GroupNormalization" | "LayerNormalization", 2) => {
            Role::NormShift
        }
        ("Gather", 0) => Role::Table,
        ("Conv" | "ConvTranspose", 0) => Role::Input,
        ("Where", 1 | 2) | ("Concat", _) | ("ScatterElements" | "ScatterND", 0 | 2) => Role::Operand,
        ("Add" | "Sub" | "Mul" | "Div" | "Pow" | "Sum" | "Mean" | "Max" | "Min", _) | ("Clip", 1 | 2) => Role::Operand,
        _ => return None,
    };
    Some(role)
}

/// Whether an input of the graph is the weight of an operator.
pub(in super::super) fn has_weights_as_inputs(graph: &Graph) -> bool {
    let inputs: HashSet<&str> = graph.proto().input.iter().map(|input| input.name()).collect();
    let is_weight = |node: &NodeProto, i: usize| {
        role(node, i) == Some(Role::Weight) && node.input(i).is_some_and(|name| inputs.contains(name))
    };
    graph.nodes().iter().any(|node| (1..node.input.len()).any(|i| is_weight(node, i)))
}

/// Whether a constant that is added is the bias of the linear map right before it: it has a number for each feature.
pub(super) fn is_bias(node: &NodeProto, roots: &[Root], features: Option<i64>, facts: &Facts) -> bool {
    let [root] = roots else { return false };
    let sizes = facts.get(root.name).and_then(|fact| fact.sizes());
    node.op_type() == "Add" && features.is_some() && sizes.map(|sizes| sizes.iter().product::<i64>()) == features
}

/// How many features a linear map with constant weights returns.
pub(super) fn features(node: &NodeProto, facts: &Facts) -> Option<i64> {
    let size = |input: usize, axis: i64| facts.get(node.input(input)?)?.dim(axis)?.known();
    match node.op_type() {
        "MatMul" => size(1, -1),
        "Gemm" => size(1, 1 - node.int("transB", 0)),
        "Conv" => size(1, 0),
        "ConvTranspose" => Some(size(1, 1)? * node.int("group", 1)),
        _ => None,
    }
}
