//! What depends on a value, and what a value depends on.

use super::Graph;
use super::uses::for_each_use;
use crate::onnx::proto::NodeProto;
use foldhash::{HashSet, HashSetExt as _};

/// A set of nodes of one graph, by index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSet(Vec<bool>);

impl NodeSet {
    /// Whether the node at `index` is in the set.
    pub fn contains(&self, index: usize) -> bool {
        self.0.get(index).copied().unwrap_or(false)
    }

    /// The indices in the set, in the graph's order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().filter_map(|(i, &inside)| inside.then_some(i))
    }

    /// The nodes that are in the set, and those from `begin` to `end`.
    #[must_use]
    pub fn and_from(mut self, begin: usize, end: usize) -> Self {
        self.0.resize(begin, false);
        self.0.resize(end, true);
        self
    }

    /// The nodes that are in both sets.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| *a && *b).collect())
    }
}

impl Graph {
    /// The nodes whose outputs depend on one of `values`, through inputs or through names that bodies capture. The way
    /// through a node for which `cuts` holds ends before it.
    pub fn dependents<'a>(
        &'a self,
        values: impl IntoIterator<Item = &'a str>,
        cuts: impl Fn(&NodeProto) -> bool,
    ) -> NodeSet {
        let mut reached: HashSet<&str> = HashSet::with_capacity(2 * self.nodes().len());
        reached.extend(values);
        let inside = self.nodes().iter().map(|node| {
            let mut depends = false;
            for_each_use(node, &mut |name| depends |= reached.contains(name));
            depends &= !cuts(node);
            if depends {
                reached.extend(node.output.iter().filter(|o| !o.is_empty()).map(String::as_str));
            }
            depends
        });
        NodeSet(inside.collect())
    }

    /// The nodes that one of `values` depends on.
    pub fn ancestors<'a>(&'a self, values: impl IntoIterator<Item = &'a str>) -> NodeSet {
        ancestors(self.nodes(), values).0
    }
}

/// Those of `nodes` that one of `values` depends on, and all values that it depends on, itself among them.
pub(super) fn ancestors<'a>(
    nodes: &'a [NodeProto],
    values: impl IntoIterator<Item = &'a str>,
) -> (NodeSet, HashSet<&'a str>) {
    let mut needed: HashSet<&str> = HashSet::with_capacity(2 * nodes.len());
    needed.extend(values);
    let mut inside = vec![false; nodes.len()];
    for (i, node) in nodes.iter().enumerate().rev() {
        if node.output.iter().any(|o| needed.contains(o.as_str())) {
            inside[i] = true;
            for_each_use(node, &mut |name| _ = needed.insert(name));
        }
    }
    (NodeSet(inside), needed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{body, node};

    fn graph() -> Graph {
        let branch = body(&[], &[node("Neg", &["b"], &["z"])], &["z"]);
        let nodes = [
            node("Neg", &["x"], &["a"]),
            node("Mul", &["a", "w"], &["b"]),
            node("If", &["x"], &["c"]).with(branch),
            node("Neg", &["x"], &["d"]),
        ];
        Graph::new(body(&["x", "w"], &nodes, &["c", "d"])).unwrap()
    }

    #[test]
    fn dependents_see_captures_and_stop_at_cuts() {
        let graph = graph();
        assert_eq!(graph.dependents(["w"], |_| false).iter().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(graph.dependents(["w"], |n| n.op_type() == "If").iter().collect::<Vec<_>>(), [1]);
        assert_eq!(graph.dependents(["x"], |_| false).iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn ancestors_see_captures() {
        let graph = graph();
        assert_eq!(graph.ancestors(["c"]).iter().collect::<Vec<_>>(), [0, 1, 2]);
        let both = graph.ancestors(["c"]).and(&graph.dependents(["w"], |_| false));
        assert_eq!(both.iter().collect::<Vec<_>>(), [1, 2]);
        assert!(both.contains(1) && !both.contains(0) && !both.contains(99));
    }

    #[test]
    fn what_is_moved_to_the_end_takes_its_dependents_along() {
        let mut graph = graph();
        assert_eq!(graph.move_to_end(|node| node.output[0] == "b"), 2);
        let order: Vec<_> = graph.nodes().iter().map(|node| node.output[0].as_str()).collect();
        assert_eq!(order, ["a", "d", "b", "c"]);
    }
}
