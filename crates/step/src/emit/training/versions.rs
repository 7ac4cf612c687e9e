//! Versions that the training runtime reads: it is that of 2024, and stays so.

use gnp_base::Result;
use gnp_model::onnx::Model;
use gnp_model::onnx::proto::{GraphProto, NodeProto, standard_domain};
use gnp_model::schema;

/// The newest version of the file format that ONNX Runtime 1.19.2 reads.
const NEWEST_IR: i64 = 10;

/// The newest version of the standard operators that ONNX Runtime 1.19.2 has.
const NEWEST_OPSET: i64 = 21;

/// Brings the versions of `model` down to those that ONNX Runtime 1.19.2 reads, where they are above. Returns what was
/// lowered, in words.
///
/// # Errors
/// Where a node is of an operator, or in a form, that is newer; the message names it.
pub fn lower(model: &mut Model) -> Result<Vec<String>> {
    let mut lowered = Vec::new();
    if model.header.ir_version() > NEWEST_IR {
        lowered.push(format!("file format {} to {NEWEST_IR}", model.header.ir_version()));
        model.header.ir_version = Some(NEWEST_IR);
    }
    let Some(version) = model.opset("").filter(|&version| version > NEWEST_OPSET) else { return Ok(lowered) };
    check_nodes(&model.graph, version).map_err(|e| e.in_file(model.path()))?;
    lowered.push(format!("operator set {version} to {NEWEST_OPSET}"));
    for import in &mut model.header.opset_import {
        if standard_domain(import.domain()).is_empty() {
            import.version = Some(NEWEST_OPSET);
        }
    }
    Ok(lowered)
}

fn check_nodes(graph: &GraphProto, version: i64) -> Result<()> {
    graph.node.iter().try_for_each(|node| {
        schema::check_as_of(node, NEWEST_OPSET).map_err(|error| {
            error.help(format!(
                "ONNX Runtime's training API ends with operator set {NEWEST_OPSET}, and the model is of {version}: export \
                 it for {NEWEST_OPSET} or an older one, or train a step model (without --emit ort-training)"
            ))
        })?;
        node.subgraphs().try_for_each(|body| check_nodes(body, version))
    })
}

/// The domains of `nodes` that are not the standard's, in bodies too, in order.
pub(super) fn other_domains(graph: &GraphProto) -> Vec<String> {
    fn walk<'g>(node: &'g NodeProto, found: &mut std::collections::BTreeSet<&'g str>) {
        found.insert(node.domain());
        node.subgraphs().flat_map(|body| &body.node).for_each(|node| walk(node, found));
    }
    let mut found = std::collections::BTreeSet::new();
    graph.node.iter().for_each(|node| walk(node, &mut found));
    found.into_iter().filter(|domain| !standard_domain(domain).is_empty()).map(str::to_owned).collect()
}
