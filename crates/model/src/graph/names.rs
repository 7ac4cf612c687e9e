//! The one authority for new names.
//!
//! Every name that is added begins with `gnp/` (inputs and outputs that a caller sees: `gnp.`) and none ends in `_grad`
//! or another suffix by which ONNX Runtime's training API sorts the inputs and outputs of a training model.

use super::uses::for_each_definition;
use crate::onnx::proto::GraphProto;
use foldhash::fast::FixedState;
use foldhash::{HashMap, HashSet};
use gnp_base::naming::PREFIX;
use std::fmt::Write as _;
use std::hash::BuildHasher as _;

/// What every name of ours begins with, those that callers see too.
const PROJECT: &str = "gnp";

/// The names in use, by their hashes alone: were two to clash, a fresh name would get a number that it did not need.
#[derive(Debug, Default)]
struct Namespace {
    taken: HashSet<u64>,
    next: HashMap<u64, usize>,
}

impl Namespace {
    /// False where the name is taken already, and could be one of ours.
    fn take(&mut self, name: &str) -> bool {
        !name.starts_with(PROJECT) || self.taken.insert(hash(name))
    }

    fn fresh(&mut self, pass: &str, name: &str) -> String {
        let (stem, ending) = without_reserved_suffix(name);
        let mut fresh = String::with_capacity(PREFIX.len() + pass.len() + 1 + stem.len() + ending.len());
        for part in [PREFIX, pass, "/", stem, ending] {
            fresh.push_str(part);
        }
        let length = fresh.len();
        let base = hash(&fresh);
        while !self.taken.insert(hash(&fresh)) {
            let next = self.next.entry(base).or_default();
            *next += 1;
            fresh.truncate(length);
            // Writing to a string cannot fail.
            let _ = write!(fresh, ".{next}");
        }
        fresh
    }
}

/// The same for the same name in every run, since the names that are given depend on it.
fn hash(name: &str) -> u64 {
    FixedState::default().hash_one(name)
}

/// Values and nodes are named apart: a value and a node may share a name, two values may not. Only names that begin as
/// new ones do can clash with them, so no others are held.
#[derive(Debug, Default)]
pub struct Names {
    values: Namespace,
    nodes: Namespace,
}

impl Names {
    /// The names that `graph` and its bodies use.
    pub fn of(graph: &GraphProto) -> Self {
        let mut names = Self::default();
        names.collect(graph);
        names
    }

    fn collect(&mut self, graph: &GraphProto) {
        for_each_definition(graph, &mut |name| _ = self.take_value(name));
        for node in &graph.node {
            self.nodes.take(node.name());
            node.subgraphs().for_each(|body| self.collect(body));
        }
    }

    /// Takes a given name for a value; false where it is taken already.
    pub(crate) fn take_value(&mut self, name: &str) -> bool {
        self.values.take(name)
    }

    /// A new name for a value, `gnp/<pass>/<name>` where that is free.
    pub fn value(&mut self, pass: &str, name: &str) -> String {
        self.values.fresh(pass, name)
    }

    /// A new name for a node, `gnp/<pass>/<name>` where that is free.
    pub fn node(&mut self, pass: &str, name: &str) -> String {
        self.nodes.fresh(pass, name)
    }
}

/// `fc.weight_grad` → (`fc.weight`, `.grad`), `w_grad.accumulation.out` → (`w`, `.grad-accumulation-out`).
fn without_reserved_suffix(name: &str) -> (&str, &'static str) {
    let suffixes = [
        ("_grad", ".grad"),
        ("_grad.accumulation.buffer", ".grad-accumulation-buffer"),
        ("_grad.accumulation.out", ".grad-accumulation-out"),
    ];
    let found = suffixes.into_iter().find_map(|(suffix, instead)| Some((name.strip_suffix(suffix)?, instead)));
    found.unwrap_or((name, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fresh_and_keep_clear_of_reserved_suffixes() {
        let mut names = Names::default();
        names.take_value("gnp/p/a.1");
        assert_eq!(names.value("p", "a"), "gnp/p/a");
        assert_eq!(names.value("p", "a"), "gnp/p/a.2");
        assert_eq!(names.value("p", "a"), "gnp/p/a.3");
        assert_eq!(names.node("p", "a"), "gnp/p/a");
        assert_eq!(names.value("p", "w_grad"), "gnp/p/w.grad");
        assert_eq!(names.value("p", "w_grad"), "gnp/p/w.grad.1");
        assert_eq!(names.value("p", "w_grad.accumulation.out"), "gnp/p/w.grad-accumulation-out");
    }
}
