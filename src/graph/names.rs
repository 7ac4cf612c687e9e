//! The one authority for new names.
//!
//! Every name that is added begins with `gnp/` (inputs and outputs that a caller sees: `gnp.`) and none ends in `_grad` or
//! another suffix by which ONNX Runtime's training API sorts the inputs and outputs of a training model.

use super::uses::{for_each_definition, for_each_subgraph};
use crate::onnx::proto::GraphProto;
use foldhash::{HashMap, HashSet};

const PREFIX: &str = "gnp/";
/// What every name of ours begins with, those that callers see too.
const PROJECT: &str = "gnp";

/// Whether a name was given by [`Names`].
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX)
}

#[derive(Debug, Default)]
struct Namespace {
    taken: HashSet<String>,
    next: HashMap<String, usize>,
}

impl Namespace {
    /// False where the name is taken already, and could be one of ours.
    fn take(&mut self, name: &str) -> bool {
        !name.starts_with(PROJECT) || self.taken.insert(name.to_owned())
    }

    fn fresh(&mut self, path: &str) -> String {
        let base = format!("{PREFIX}{}", without_reserved_suffix(path));
        if self.taken.insert(base.clone()) {
            return base;
        }
        let next = self.next.entry(base.clone()).or_default();
        loop {
            *next += 1;
            let name = format!("{base}.{next}");
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

/// Values and nodes are named apart: a value and a node may share a name, two values may not. Only names that begin as new
/// ones do can clash with them, so no others are held.
#[derive(Debug, Default)]
pub(super) struct Names {
    values: Namespace,
    nodes: Namespace,
}

impl Names {
    /// The names that `graph` and its bodies use.
    pub(super) fn of(graph: &GraphProto) -> Self {
        let mut names = Self::default();
        names.collect(graph);
        names
    }

    fn collect(&mut self, graph: &GraphProto) {
        for_each_definition(graph, &mut |name| _ = self.take_value(name));
        for node in &graph.node {
            self.nodes.take(node.name());
            for_each_subgraph(node, &mut |body| self.collect(body));
        }
    }

    /// Takes a given name for a value; false where it is taken already.
    pub(super) fn take_value(&mut self, name: &str) -> bool {
        self.values.take(name)
    }

    /// A new name for a value, `gnp/<path>` where that is free.
    pub(super) fn value(&mut self, path: &str) -> String {
        self.values.fresh(path)
    }

    /// A new name for a node, `gnp/<path>` where that is free.
    pub(super) fn node(&mut self, path: &str) -> String {
        self.nodes.fresh(path)
    }
}

/// `fc.weight_grad` → `fc.weight.grad`, `w_grad.accumulation.out` → `w.grad-accumulation-out`.
fn without_reserved_suffix(path: &str) -> String {
    for (suffix, instead) in [
        ("_grad", ".grad"),
        ("_grad.accumulation.buffer", ".grad-accumulation-buffer"),
        ("_grad.accumulation.out", ".grad-accumulation-out"),
    ] {
        if let Some(stem) = path.strip_suffix(suffix) {
            return format!("{stem}{instead}");
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fresh_and_keep_clear_of_reserved_suffixes() {
        let mut names = Names::default();
        names.take_value("gnp/a.1");
        assert_eq!(names.value("a"), "gnp/a");
        assert_eq!(names.value("a"), "gnp/a.2");
        assert_eq!(names.value("a"), "gnp/a.3");
        assert_eq!(names.node("a"), "gnp/a");
        assert_eq!(names.value("w_grad"), "gnp/w.grad");
        assert_eq!(names.value("w_grad"), "gnp/w.grad.1");
        assert_eq!(names.value("w_grad.accumulation.out"), "gnp/w.grad-accumulation-out");
    }
}
