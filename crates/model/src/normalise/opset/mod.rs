//! From older versions of the standard operators to newer ones: an adapter for every change of meaning.

mod axes;
mod bounds;
mod history;
mod norm;
mod resize;
mod rest;
mod slice;
mod softmax;

pub(super) use softmax::simplify;

pub use history::{Change, change};

use super::context::Context;
use crate::onnx::proto::NodeProto;
use gnp_base::{Error, Result};

/// Makes of a node as it was written before some version what stands for it from that version on. Nodes that come
/// before or after the one returned are added to the context's graph, in the version that the model is brought to.
type Adapter = fn(&mut Context<'_>, NodeProto) -> Result<NodeProto>;

/// Operator, the version that changed it, and how to get there from below; in order of versions.
///
/// An operator that an adapter renames is looked for under its new name from there on.
const ADAPTERS: &[(&str, i64, Adapter)] = &[
    ("BatchNormalization", 9, norm::spatial),
    ("Upsample", 9, resize::scales_to_input),
    ("Dropout", 10, rest::dropout_mask),
    ("Slice", 10, slice::to_inputs),
    ("TopK", 10, rest::top_k),
    ("Upsample", 10, resize::upsample),
    ("Clip", 11, bounds::clip),
    ("Pad", 11, bounds::pad),
    ("Resize", 11, resize::asymmetric),
    ("Scatter", 11, rest::scatter),
    ("Dropout", 12, rest::dropout_ratio),
    ("Hardmax", 13, softmax::coerced),
    ("LogSoftmax", 13, softmax::coerced),
    ("ReduceSum", 13, axes::to_input),
    ("Resize", 13, resize::optional_inputs),
    ("Softmax", 13, softmax::coerced),
    ("Split", 13, slice::split_to_input),
    ("Squeeze", 13, axes::to_input),
    ("Unsqueeze", 13, axes::to_input),
    ("BatchNormalization", 14, norm::training_mode),
    ("RoiAlign", 16, rest::roi_align),
    ("ReduceL1", 18, axes::to_input),
    ("ReduceL2", 18, axes::to_input),
    ("ReduceLogSum", 18, axes::to_input),
    ("ReduceLogSumExp", 18, axes::to_input),
    ("ReduceMax", 18, axes::to_input),
    ("ReduceMean", 18, axes::to_input),
    ("ReduceMin", 18, axes::to_input),
    ("ReduceProd", 18, axes::to_input),
    ("ReduceSumSquare", 18, axes::to_input),
    ("Split", 18, slice::split_evenly),
    // Its result is in operators of version 18, so that it serves models that stay there too.
    ("GroupNormalization", 21, norm::group),
];

/// Makes of a node in `version` what stands for it in the version that the model is brought to.
pub(super) fn adapt(context: &mut Context<'_>, mut node: NodeProto, version: i64) -> Result<NodeProto> {
    history::refuse(&node, version, context.versions.target)?;
    let mut rest = ADAPTERS;
    while let Some(at) = rest.iter().position(|&(operator, to, _)| to > version && node.op_type() == operator) {
        node = rest[at].2(context, node)?;
        rest = &rest[at + 1..];
    }
    Ok(node)
}

/// The error for a form that has no counterpart.
fn unsupported(what: impl Into<String>) -> Error {
    Error::input(what).help("export the model again in operator set 18 or newer")
}
