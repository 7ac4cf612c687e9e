//! Operators of ONNX Runtime's own domain, as exporters and its optimizer write them, in standard ones.
//!
//! See [their documentation](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md). Those that
//! are not here, or in a form that is not, stay as they are.

mod fused;
mod gelu;
mod matmul;
mod norm;

use super::context::Context;
use crate::onnx::proto::{MICROSOFT, NodeProto};

/// Adds to the graph what comes before the node that makes the outputs, and returns that node; or adds nothing and
/// returns None, where there is no standard form.
type Lowering = fn(&mut Context<'_>, &NodeProto) -> Option<NodeProto>;

const LOWERINGS: &[(&str, Lowering)] = &[
    ("BiasGelu", gelu::bias_gelu),
    ("FastGelu", gelu::fast_gelu),
    ("FusedConv", fused::conv),
    ("FusedGemm", fused::gemm),
    ("FusedMatMul", matmul::fused),
    ("Gelu", gelu::gelu),
    ("LayerNormalization", norm::layer),
    ("QuickGelu", gelu::quick_gelu),
    ("SimplifiedLayerNormalization", norm::simplified),
    ("SkipLayerNormalization", norm::skip_layer),
    ("SkipSimplifiedLayerNormalization", norm::skip_simplified),
];

/// Lowerings of operators that ONNX Runtime has put into the standard domain, where they are not standard.
const INTRUDERS: &[(&str, Lowering)] = &[("SimplifiedLayerNormalization", norm::simplified)];

/// The last of the standard nodes that stand for `node`, the others added to the graph; or the node itself.
pub(super) fn lower(context: &mut Context<'_>, node: NodeProto) -> NodeProto {
    let lowerings = if node.domain() == MICROSOFT { LOWERINGS } else { INTRUDERS };
    let lowering = lowerings.iter().find(|(operator, _)| *operator == node.op_type());
    lowering.and_then(|(_, lower)| lower(context, &node)).unwrap_or(node)
}

/// The standard node that makes the output of `node`, under its name.
fn last(node: &NodeProto, operator: &str, inputs: &[&str]) -> NodeProto {
    NodeProto {
        name: node.name.clone(),
        op_type: Some(operator.into()),
        input: inputs.iter().map(|&i| i.to_owned()).collect(),
        output: node.output.first().cloned().into_iter().collect(),
        doc_string: node.doc_string.clone(),
        metadata_props: node.metadata_props.clone(),
        ..Default::default()
    }
}
