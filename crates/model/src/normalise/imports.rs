//! The versions that a model is written in: which they are, and which they become.

use crate::onnx::Model;
use crate::onnx::proto::{FunctionProto, GraphProto, NodeProto, OperatorSetIdProto, standard_domain};
use foldhash::HashSet;
use gnp_base::{Error, Result};

/// The version of the standard operators that models are brought to, at least.
pub const OPSET: i64 = 18;

/// The oldest operator set that is understood; the one before it broadcast in another way.
const OLDEST: i64 = 7;

/// The first version of the file format that may hold operator set 18.
const IR_VERSION: i64 = 8;

/// Versions of the standard operators.
#[derive(Clone, Copy, Debug)]
pub(super) struct Versions {
    /// What the nodes of the model are written in.
    pub model: i64,
    /// What they are brought to: nothing of the model is newer.
    pub target: i64,
}

/// What the model is written in, and what it is brought to.
pub(super) fn versions(model: &Model) -> Result<Versions> {
    let help =
        "export the model again, or convert it first: onnx.version_converter.convert_version(model, 18) in Python";
    let Some(version) = model.opset("") else {
        return Err(Error::format("the model does not import the standard operators").help(help));
    };
    let functions = model.header.functions.iter().filter_map(|f| standard_version(&f.opset_import));
    if let Some(old) = functions.clone().chain([version]).find(|&v| v < OLDEST) {
        let message = format!("the model is written in operator set {old}; {OLDEST} and newer are understood");
        return Err(Error::input(message).help(help));
    }
    Ok(Versions { model: version, target: functions.chain([version, OPSET]).max().unwrap_or(OPSET) })
}

/// The version of the standard operators among `imports`.
pub(super) fn standard_version(imports: &[OperatorSetIdProto]) -> Option<i64> {
    imports.iter().find(|o| standard_domain(o.domain()).is_empty()).map(|o| o.version())
}

/// Imports the standard operators in the new version, and of other domains those that nodes are left of: as the model
/// did, or the functions whose nodes they are now.
pub(super) fn update(model: &mut Model, functions: &[FunctionProto], versions: Versions) {
    let mut used = HashSet::default();
    domains(&model.graph, &mut used);
    let imports = &mut model.header.opset_import;
    imports.retain(|o| standard_domain(o.domain()).is_empty() || used.remove(o.domain()));
    for import in imports.iter_mut().filter(|o| standard_domain(o.domain()).is_empty()) {
        import.version = Some(versions.target);
    }
    let inner = functions.iter().flat_map(|f| &f.opset_import);
    imports.extend(inner.filter(|o| used.remove(o.domain())).cloned());
    model.header.ir_version = Some(model.header.ir_version().max(IR_VERSION));
}

fn domains<'g>(graph: &'g GraphProto, used: &mut HashSet<&'g str>) {
    for node in graph.node.iter().filter(|node| !standard_domain(node.domain()).is_empty()) {
        used.insert(node.domain());
    }
    graph.node.iter().flat_map(NodeProto::subgraphs).for_each(|body| domains(body, used));
}
