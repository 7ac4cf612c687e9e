//! The one authority for new names.
//!
//! Every name that is added begins with `gnp/` (inputs and outputs that a caller sees: `gnp.`) and none ends in `_grad` or
//! another suffix by which ONNX Runtime's training API sorts the inputs and outputs of a training model.

use super::uses::{for_each_definition, for_each_subgraph};
use crate::onnx::proto::GraphProto;
use foldhash::fast::FixedState;
use foldhash::{HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::BuildHasher as _;

const PREFIX: &str = "gnp/";
/// The pass whose nodes are copies of others.
const PERTURBED: &str = "perturbed";
/// What every name of ours begins with, those that callers see too.
const PROJECT: &str = "gnp";

/// Whether a name was given by [`Names`].
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX)
}

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

/// Values and nodes are named apart: a value and a node may share a name, two values may not. Only names that begin as new
/// ones do can clash with them, so no others are held.
#[derive(Debug, Default)]
pub(crate) struct Names {
    values: Namespace,
    nodes: Namespace,
}

impl Names {
    /// The names that `graph` and its bodies use.
    pub(crate) fn of(graph: &GraphProto) -> Self {
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
    pub(crate) fn take_value(&mut self, name: &str) -> bool {
        self.values.take(name)
    }

    /// A new name for a value, `gnp/<pass>/<name>` where that is free.
    pub(crate) fn value(&mut self, pass: &str, name: &str) -> String {
        self.values.fresh(pass, name)
    }

    /// A new name for a node, `gnp/<pass>/<name>` where that is free.
    pub(crate) fn node(&mut self, pass: &str, name: &str) -> String {
        self.nodes.fresh(pass, name)
    }
}

/// What a node with this name is in the user's model: the node that it comes from, and what it is there, from its
/// operator on.
///
/// `gnp/perturbed/gnp/gradient/conv/Pad.1`, a Pad, is `conv`: `Pad of its gradient, in the second pass`.
pub(crate) fn in_words(name: &str, operator: &str) -> (String, String) {
    let (rest, passes) = without_passes(name);
    // What is added for a node is named after it, its operator last; a copy as it is.
    let is_for_another = passes.last().is_some_and(|pass| *pass != PERTURBED);
    let of_node = match rest.rsplit_once('/') {
        Some((node, own)) if is_for_another && is_numbered(own, operator) => node,
        _ => rest,
    };
    (of_node.to_owned(), format!("{operator}{}", role(&passes)))
}

/// `text` with what the names of ours in it mean.
pub(crate) fn text_in_words(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(PREFIX) {
        let (before, name) = rest.split_at(begin);
        let end = name.find(|c: char| c.is_whitespace() || "'\"`,;:(){}[]".contains(c)).unwrap_or(name.len());
        let (of, passes) = without_passes(&name[..end]);
        words.extend([before, of, &role(&passes)]);
        rest = &name[end..];
    }
    words + rest
}

/// A name without the passes that it was made in, and those, the last first.
fn without_passes(mut name: &str) -> (&str, Vec<&str>) {
    let mut passes = Vec::new();
    while let Some((pass, rest)) = name.strip_prefix(PREFIX).and_then(|name| name.split_once('/')) {
        passes.push(pass);
        name = rest;
    }
    (name, passes)
}

/// Whether a part of a name is `operator`, or `operator.1` where that was taken.
fn is_numbered(part: &str, operator: &str) -> bool {
    let number = part.strip_prefix(operator).map(|rest| rest.strip_prefix('.').unwrap_or(rest));
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What was made in these passes is of its node.
fn role(passes: &[&str]) -> String {
    let of = passes.iter().filter_map(|pass| match *pass {
        // What a node was put as before all else is the node.
        PERTURBED | "normalise" | "lowering" | "define" | "output" | "tract" => None,
        "gradient" => Some(" of its gradient".to_owned()),
        other => Some(format!(" of the {other}")),
    });
    let second = if passes.contains(&PERTURBED) { ", in the second pass" } else { "" };
    of.collect::<String>() + second
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

    #[test]
    fn names_of_ours_are_told_in_words() {
        let words = |name, operator| {
            let (node, what) = in_words(name, operator);
            format!("{node}: {what}")
        };
        assert_eq!(words("/net/Pad", "Pad"), "/net/Pad: Pad");
        assert_eq!(words("gnp/perturbed//net/Pad", "Pad"), "/net/Pad: Pad, in the second pass");
        assert_eq!(words("gnp/gradient//net/Pad/Slice", "Slice"), "/net/Pad: Slice of its gradient");
        let both = "gnp/perturbed/gnp/gradient/gnp/lowering/conv/Pad/Slice.12";
        assert_eq!(words(both, "Slice"), "conv/Pad: Slice of its gradient, in the second pass");
        assert_eq!(words("gnp/loss/loss/Mul", "Mul"), "loss: Mul of the loss");
        assert_eq!(words("gnp/mix/If", "If"), "If: If of the mix");
        assert_eq!(
            text_in_words("Node (gnp/perturbed/a) reads 'gnp/update/w/Mul', \"gnp/gradient/b/Add\" and c"),
            "Node (a, in the second pass) reads 'w/Mul of the update', \"b/Add of its gradient\" and c"
        );
    }
}
