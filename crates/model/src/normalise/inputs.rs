//! Files from before format version 4 list every initializer as an input too.

use crate::onnx::Model;
use foldhash::HashSet;

/// The first version of the format in which an initializer need not be an input, and one that is gives a default.
const INITIALIZERS_ALONE: i64 = 4;

/// Takes initializers off the list of inputs, where the file had no choice but to list them.
pub(super) fn drop_initializers(model: &mut Model) {
    if model.header.ir_version() >= INITIALIZERS_ALONE {
        return;
    }
    let graph = &mut model.graph;
    let initializers: HashSet<&str> = graph.initializer.iter().map(|t| t.name()).collect();
    graph.input.retain(|input| !initializers.contains(input.name()));
}
