//! The operators that stand in a graph between [`crate::lowering`] and the gradients: nodes that have a gradient as a
//! whole, and are written in standard operators once it is there ([`crate::lowering::expand`]).

use gnp_model::onnx::proto::NodeProto;

/// Their domain, which they share with functions of models that are written: these have none of them.
pub const DOMAIN: &str = "gnp";

/// The operator, in [`DOMAIN`], for y = (x − μ) · s · γ + β with the statistics of the batch. Inputs: x; γ and β, an
/// element a channel; x − μ; s = (σ² + ε)^−½, which broadcasts with x. Its gradient is that of y as a function of x, γ
/// and β, in which μ and s are functions of x.
pub const BATCH_NORM: &str = "BatchNorm";

/// The operator of ONNX Runtime's training build for y = (x − μ) · s · γ + β with the statistics of the batch. Inputs: x,
/// γ, β, and the running mean and variance, which it overwrites. Outputs: y; these; μ and s = (σ² + ε)^−½, an element a
/// channel.
pub(crate) const BATCH_NORM_INTERNAL: &str = "BatchNormInternal";

/// The operator of ONNX Runtime's training build for cross-entropy, reduced by its attribute `reduction`. Inputs:
/// logits with the classes on axis 1; class numbers; the weights of the classes, which may be left out; the class
/// number that does not count. Outputs: L; ln p.
pub(crate) const CROSS_ENTROPY_INTERNAL: &str = "SoftmaxCrossEntropyLossInternal";

/// The operator, in [`DOMAIN`], for y = q with the gradient of x: inputs x and q, of one shape.
pub const STRAIGHT_THROUGH: &str = "StraightThrough";

/// Whether a node makes steps of its input: it has the derivative zero, and a slope that one may want in place of it.
pub(crate) fn is_step(node: &NodeProto) -> bool {
    ["Round", "Floor", "Ceil", "Sign"].iter().any(|op| node.is("", op))
}
