//! What a node reads: its inputs, and the outer names that its subgraphs capture.

use crate::onnx::proto::{GraphProto, NodeProto};
use foldhash::{HashSet, HashSetExt as _};

/// Calls `f` on every name that `node` reads: its inputs, then what the bodies of If, Loop, Scan and their like capture
/// from around them. Inputs left out are skipped; a name may come more than once.
pub fn for_each_use<'n>(node: &'n NodeProto, f: &mut impl FnMut(&'n str)) {
    node.input.iter().filter(|i| !i.is_empty()).for_each(|i| f(i));
    for_each_capture(node, f);
}

/// Calls `f` on every name that the bodies of `node` capture from around them; a name may come more than once.
pub fn for_each_capture<'n>(node: &'n NodeProto, f: &mut impl FnMut(&'n str)) {
    node.subgraphs().for_each(|body| captures(body).into_iter().for_each(&mut *f));
}

/// The names that `body` reads and does not define, in order of first use.
fn captures(body: &GraphProto) -> Vec<&str> {
    let mut known: HashSet<&str> = HashSet::with_capacity(2 * body.node.len());
    for_each_definition(body, &mut |name| _ = known.insert(name));
    let mut captured = Vec::new();
    let mut read = |name| {
        if known.insert(name) {
            captured.push(name);
        }
    };
    body.node.iter().for_each(|n| for_each_use(n, &mut read));
    body.output.iter().for_each(|o| read(o.name()));
    captured
}

/// Calls `f` on every name that `graph` itself defines: inputs, initializers, outputs of nodes.
pub(super) fn for_each_definition<'g>(graph: &'g GraphProto, f: &mut impl FnMut(&'g str)) {
    graph.input.iter().for_each(|i| f(i.name()));
    for_each_initializer(graph, f);
    graph.node.iter().flat_map(|n| &n.output).filter(|o| !o.is_empty()).for_each(|o| f(o));
}

/// Calls `f` on the name of every initializer, dense and sparse.
pub(super) fn for_each_initializer<'g>(graph: &'g GraphProto, f: &mut impl FnMut(&'g str)) {
    graph.initializer.iter().for_each(|t| f(t.name()));
    graph.sparse_initializer.iter().filter_map(|s| s.values.as_ref()).for_each(|t| f(t.name()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{body, node};

    #[test]
    fn captures_pass_through_nested_bodies() {
        let inner = body(&[], &[node("Add", &["a", "x"], &["y"])], &["y"]);
        let outer = body(&["x"], &[node("If", &["b"], &["y"]).with(inner)], &["y"]);
        let node = node("Loop", &["n", ""], &["z"]).with(outer).into();
        let mut uses = Vec::new();
        for_each_use(&node, &mut |name| uses.push(name));
        assert_eq!(uses, ["n", "b", "a"]);
    }
}
