//! Which nodes are the loss that a graph computes itself.

use super::Role;
use foldhash::HashSet;
use gnp_model::graph::{Graph, NodeSet};

/// Which nodes of a graph with a loss of its own are that loss.
pub(super) struct Zones<'g> {
    pub(super) labels: Vec<&'g str>,
    pub(super) sure: NodeSet,
    pub(super) unsure: NodeSet,
}

impl<'g> Zones<'g> {
    /// Labels are inputs that reach no weight. The loss is what reads them, or what is made of them; and what comes
    /// after a value that the graph returns, where no weight comes after it.
    pub(super) fn of(graph: &'g Graph, weighing: &[(usize, Role)], loss: &str) -> Self {
        let weighs = |table: bool| {
            let set: HashSet<usize> =
                weighing.iter().filter(|(_, role)| table || *role == Role::Weight).map(|(node, _)| *node).collect();
            set
        };
        let (weights, all) = (weighs(false), weighs(true));
        let fed = |nodes: &HashSet<usize>| {
            let read = nodes.iter().flat_map(|&i| &graph.nodes()[i].input).filter(|input| !input.is_empty());
            let read: Vec<&str> = read.map(String::as_str).collect();
            let above = graph.ancestors(read.iter().copied());
            let mut names: HashSet<&str> = read.into_iter().collect();
            names.extend(above.iter().flat_map(|i| &graph.nodes()[i].input).map(String::as_str));
            names
        };
        let (by_weights, by_all) = (fed(&weights), fed(&all));
        let initializers: HashSet<&str> = graph.proto().initializer.iter().map(|t| t.name()).collect();
        let inputs: Vec<&str> =
            graph.proto().input.iter().map(|i| i.name()).filter(|name| !initializers.contains(name)).collect();
        let (fed_inputs, labels): (Vec<&str>, Vec<&str>) = inputs.iter().partition(|input| by_all.contains(*input));
        let looked_up: Vec<&str> = fed_inputs.iter().copied().filter(|input| !by_weights.contains(input)).collect();
        let labels = if fed_inputs.is_empty() { vec![] } else { labels };
        let looked_up = if looked_up.len() == fed_inputs.len() { vec![] } else { looked_up };

        let above_loss = graph.ancestors([loss]);
        let made = |name: &str| {
            graph.nodes().iter().enumerate().any(|(i, n)| above_loss.contains(i) && n.output.iter().any(|o| o == name))
        };
        let is_end = |name: &str| {
            let after = graph.dependents([name], |_| false);
            name != loss && made(name) && after.iter().all(|i| !all.contains(&i))
        };
        let ends: Vec<&str> = graph.proto().output.iter().map(|o| o.name()).filter(|name| is_end(name)).collect();
        let sure = graph.dependents(labels.iter().chain(&ends).copied(), |_| false);
        let unsure = graph.dependents(looked_up, |_| false);
        Self { labels, sure, unsure }
    }
}
