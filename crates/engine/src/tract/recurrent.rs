//! Recurrent layers as loops over their steps.
//!
//! tract's own leave out, in silence, `activations`, `clip`, `input_forget` and the direction `reverse`, and take no
//! lengths.

use gnp_base::{Error, Result};
use gnp_model::graph::{Builder, Graph};
use gnp_model::onnx::Model;
use gnp_model::onnx::proto::{GraphProto, NodeProto};
use gnp_model::recurrent::write_out as written_out;
use gnp_model::shapes;
use std::collections::BTreeMap;
use std::mem::take;

/// The pass, as the names of what is added say it.
const PASS: &str = "tract";

/// Writes out every recurrent layer of `model`, in bodies too.
///
/// # Errors
/// Where a layer asks for what there is no equation for.
pub(super) fn write_out(model: &mut Model) -> Result<()> {
    if !has_any(&model.graph) {
        return Ok(());
    }
    let facts = shapes::analyse(model, &BTreeMap::new())?;
    let mut graph = Graph::knowing(take(&mut model.graph), facts)?;
    let b = Builder::new(&mut graph, PASS);
    b.replace_nodes_and_inner(&mut |node: NodeProto| {
        b.set_scope(node.label());
        let at_node = |error: Error| error.at_node(node.label(), &node.operator());
        let Some(outputs) = written_out(&node, &b).map_err(at_node)? else { return Ok(Some(node)) };
        for (name, value) in node.output.iter().zip(outputs).filter(|(name, _)| !name.is_empty()) {
            b.define(name, value);
        }
        Ok(None)
    })?;
    model.graph = graph.into_proto();
    Ok(())
}

fn has_any(graph: &GraphProto) -> bool {
    let is_one = |node: &NodeProto| ["LSTM", "GRU", "RNN"].iter().any(|operator| node.is("", operator));
    graph.node.iter().any(|node| is_one(node) || node.subgraphs().any(has_any))
}
