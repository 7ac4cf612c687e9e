//! Whether a graph is well-formed: every value defined once and before nobody else, every name that is read defined.

use super::uses::for_each_initializer;
use crate::onnx::proto::GraphProto;
use foldhash::{HashSet, HashSetExt as _};
use gnp_base::{Error, Result};

/// Checks names, in the main graph and in every body.
///
/// # Errors
/// Where a value is defined twice, a node reads or the graph returns a value that nothing defines, or two nodes have
/// one name. Cycles are found by `super::order::sort`.
pub fn well_formed(graph: &GraphProto) -> Result<()> {
    let mut seen = HashSet::with_capacity(graph.node.len());
    for node in graph.node.iter().filter(|n| !n.name().is_empty()) {
        if !seen.insert(node.name()) {
            return Err(Error::format("another node has the same name; names of nodes must differ")
                .at_node(node.label(), &node.operator())
                .help("rename one of them; ONNX Runtime refuses such a graph too"));
        }
    }
    scope(graph, &mut vec![HashSet::with_capacity(graph.node.len())])
}

/// Checks one graph inside the names of those around it, which are `scopes`; the last is the graph's own, still empty.
fn scope<'g>(graph: &'g GraphProto, scopes: &mut Vec<HashSet<&'g str>>) -> Result<()> {
    define_scope(graph, scopes)?;
    for node in &graph.node {
        for name in node.input.iter().filter(|i| !i.is_empty()) {
            if !is_known(scopes, name) {
                return Err(Error::format(format!("its input `{name}` is defined nowhere in the graph"))
                    .at_node(node.label(), &node.operator())
                    .help("the model is damaged; export it again"));
            }
        }
        for body in node.subgraphs() {
            scopes.push(HashSet::new());
            scope(body, scopes).map_err(|e| e.at_node(node.label(), &node.operator()))?;
            scopes.pop();
        }
    }
    match graph.output.iter().find(|o| !is_known(scopes, o.name())) {
        Some(output) => {
            Err(Error::format(format!("the graph's output `{}` is defined nowhere in the graph", output.name()))
                .help("the model is damaged; export it again"))
        }
        None => Ok(()),
    }
}

fn define_scope<'g>(graph: &'g GraphProto, scopes: &mut [HashSet<&'g str>]) -> Result<()> {
    let Some((own, outer)) = scopes.split_last_mut() else { return Ok(()) };
    let twice = |name: &str| Error::format(format!("the value `{name}` is defined twice; names of values must differ"));
    for input in &graph.input {
        if !own.insert(input.name()) {
            return Err(twice(input.name()).help("two inputs of the graph have this name"));
        }
    }
    // An initializer may give an input its default.
    let mut initializers = HashSet::new();
    let mut clash = None;
    for_each_initializer(graph, &mut |name| {
        if !initializers.insert(name) {
            clash.get_or_insert(name);
        }
        own.insert(name);
    });
    if let Some(name) = clash {
        return Err(twice(name).help("two initializers have this name"));
    }
    for node in &graph.node {
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            if !own.insert(output) || is_known(outer, output) {
                return Err(twice(output)
                    .at_node(node.label(), &node.operator())
                    .help("rename the output of this node; a graph is in single static assignment form"));
            }
        }
    }
    Ok(())
}

fn is_known(scopes: &[HashSet<&str>], name: &str) -> bool {
    scopes.iter().rev().any(|s| s.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::testing::{body, node};

    #[track_caller]
    fn refused(graph: GraphProto, says: &str) {
        let error = Graph::new(graph).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }

    #[test]
    fn what_is_not_well_formed_is_named() {
        refused(body(&["x"], &[node("Relu", &["w"], &["y"])], &["y"]), "node `y` (Relu): its input `w`");
        refused(body(&["x", "x"], &[], &["x"]), "`x` is defined twice");
        refused(body(&["x"], &[node("Relu", &["x"], &["x"])], &["x"]), "`x` is defined twice");
        refused(body(&["x"], &[], &["y"]), "output `y`");
        let twins = [node("Relu", &["x"], &["y"]).named("n"), node("Relu", &["x"], &["z"]).named("n")];
        refused(body(&["x"], &twins, &["y"]), "another node has the same name");
        let inner = body(&[], &[node("Neg", &["nowhere"], &["z"])], &["z"]);
        refused(body(&["x"], &[node("If", &["x"], &["y"]).with(inner)], &["y"]), "`nowhere`");
    }

    #[test]
    fn branches_may_use_one_name_each() {
        let branch = || body(&[], &[node("Neg", &["x"], &["z"])], &["z"]);
        let both = node("If", &["x"], &["y"]).with(branch()).with(branch());
        Graph::new(body(&["x"], &[both], &["y"])).unwrap();
    }

    #[test]
    fn a_body_must_not_hide_an_outer_name() {
        let inner = body(&[], &[node("Neg", &["x"], &["x"])], &["x"]);
        refused(body(&["x"], &[node("If", &["x"], &["y"]).with(inner)], &["y"]), "`x` is defined twice");
    }
}
