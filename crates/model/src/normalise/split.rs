//! Sequences that were split off a tensor.

use crate::onnx::proto::NodeProto;

/// How a sequence was split off a tensor.
#[derive(Clone, Debug)]
pub(super) struct Split {
    pub tensor: String,
    /// The sizes of all pieces, or one number for all but the last; pieces of 1 where there is none.
    pub sizes: Option<String>,
    pub axis: i64,
    /// Whether pieces of 1 keep the axis.
    pub keeps_axis: bool,
}

impl Split {
    /// What a `SplitToSequence` does.
    pub fn of(node: &NodeProto) -> Option<Self> {
        if !node.is("", "SplitToSequence") {
            return None;
        }
        Some(Self {
            tensor: node.input(0)?.to_owned(),
            sizes: node.input(1).map(str::to_owned),
            axis: node.int("axis", 0),
            keeps_axis: node.int("keepdims", 1) != 0,
        })
    }
}
