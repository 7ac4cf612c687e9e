//! Composite operators, which others define: attention, and what stands around it in a transformer. They are written
//! out in what defines them.
//!
//! So a gradient is that of the parts, weights are weights of a MatMul and tables those of a Gather, and every engine
//! has kernels. It comes after the analysis of shapes, which the forms of these operators depend on.

mod attention;
mod causal_conv;
mod embedding;
mod gated;
mod heads;
mod linear_attention;
mod mask;
mod multi_head;
mod rotary;

use crate::graph::{Builder, Graph, Value};
use crate::onnx::proto::{MICROSOFT, NodeProto, standard_domain};
use gnp_base::Result;
use gnp_base::naming::PREFIX;

/// The pass, as the names of added values say it.
const PASS: &str = "composite";

/// Appends what defines a node, and gives the names of its outputs to it; or returns None, where the node is in a form
/// that is not covered.
type Definition = fn(&NodeProto, &Builder<'_>) -> Option<()>;

const DEFINITIONS: &[(&str, &str, Definition)] = &[
    ("", "Attention", attention::standard),
    ("", "CausalConvWithState", causal_conv::causal_conv),
    ("", "LinearAttention", linear_attention::linear_attention),
    ("", "RotaryEmbedding", rotary::standard),
    ("", "SwiGLU", gated::swiglu),
    (MICROSOFT, "Attention", multi_head::attention),
    (MICROSOFT, "EmbedLayerNormalization", embedding::embedding),
    (MICROSOFT, "MultiHeadAttention", multi_head::multi_head_attention),
    (MICROSOFT, "RotaryEmbedding", rotary::microsoft),
];

/// Writes out the composite operators of `graph`, and of the bodies in it. One in a form that is not covered stays as
/// it is.
///
/// # Errors
/// None: what a node lacks lets it stay.
pub fn write_out(graph: &mut Graph) -> Result<()> {
    let is_there = |node: &NodeProto| definition(node).is_some();
    if !graph.nodes().iter().any(|node| is_there(node) || node.subgraphs().next().is_some()) {
        return Ok(());
    }
    let b = Builder::new(graph, PASS);
    b.replace_nodes_and_inner(&mut |node: NodeProto| {
        let Some(write) = definition(&node) else { return Ok(Some(node)) };
        b.set_scope(node.label());
        Ok(write(&node, &b).is_none().then_some(node))
    })
}

/// Whether a value has been made here, by its name: a constant of this kind is a part of an operator's definition.
pub fn made(name: &str) -> bool {
    name.strip_prefix(PREFIX).and_then(|name| name.strip_prefix(PASS)).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether there is a definition of an operator, which may cover some forms of it alone.
pub fn is_composite(domain: &str, operator: &str) -> bool {
    let domain = standard_domain(domain);
    DEFINITIONS.iter().any(|(its, name, _)| (*its, *name) == (domain, operator))
}

fn definition(node: &NodeProto) -> Option<Definition> {
    let domain = standard_domain(node.domain());
    let found = DEFINITIONS.iter().find(|(its, name, _)| (*its, *name) == (domain, node.op_type()));
    found.map(|(.., definition)| *definition)
}

/// Input `index` of a node, unless it is left out.
fn input(node: &NodeProto, index: usize) -> Option<Value> {
    node.input(index).map(Value::from)
}

/// Lets a value be output `index` of a node, where the node has that output. Returns it under the name that it has now.
fn define(node: &NodeProto, index: usize, value: Value, b: &Builder<'_>) -> Value {
    match output(node, index) {
        Some(name) => b.define(name, value),
        None => value,
    }
}

/// The name of output `index`, unless it is left out.
fn output(node: &NodeProto, index: usize) -> Option<&str> {
    node.output.get(index).map(String::as_str).filter(|name| !name.is_empty())
}
