//! Giving values other names, everywhere.

use super::Graph;
use crate::onnx::proto::GraphProto;
use foldhash::HashMap;

impl Graph {
    /// Gives each value that is a key of `names` the name that it maps to, wherever it is defined, read or declared.
    /// The new names must be free.
    pub fn rename(&mut self, names: &HashMap<String, String>) {
        if !names.is_empty() {
            for name in names.values() {
                self.names.take_value(name);
            }
            rename(&mut self.proto, names);
            self.facts.follow(names);
        }
    }
}

pub(super) fn rename(graph: &mut GraphProto, names: &HashMap<String, String>) {
    let set = |name: &mut String| {
        if let Some(new) = names.get(name) {
            new.clone_into(name);
        }
    };
    let declared = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
    declared.filter_map(|v| v.name.as_mut()).for_each(set);
    let sparse = graph.sparse_initializer.iter_mut().filter_map(|s| s.values.as_mut());
    graph.initializer.iter_mut().chain(sparse).filter_map(|t| t.name.as_mut()).for_each(set);
    for node in &mut graph.node {
        node.input.iter_mut().chain(&mut node.output).for_each(set);
        node.subgraphs_mut().for_each(|body| rename(body, names));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Fact;
    use crate::onnx::DataType;
    use crate::testing::{body, node};

    #[test]
    fn what_is_known_goes_with_the_name() {
        let nodes = [node("Neg", &["a"], &["b"]), node("Neg", &["b"], &["c"])];
        let mut graph = Graph::new(body(&["a"], &nodes, &["c"])).unwrap();
        for (name, size) in [("a", 1), ("b", 2)] {
            graph.declare(name, Fact::with_sizes(DataType::Float, &[size]));
        }
        let names = [("a", "b"), ("b", "d")].map(|(from, to)| (from.to_owned(), to.to_owned()));
        graph.rename(&names.into_iter().collect());
        let sizes = ["a", "b", "c", "d"].map(|name| graph.facts().get(name).and_then(Fact::sizes));
        assert_eq!(sizes, [None, Some(vec![1]), None, Some(vec![2])]);
    }

    #[test]
    fn a_value_is_renamed_wherever_it_stands() {
        let branch = body(&[], &[node("Neg", &["w"], &["z"])], &["z"]);
        let nodes = [node("Mul", &["x", "w"], &["loss"]), node("If", &["x"], &["c"]).with(branch)];
        let mut graph = Graph::new(body(&["x", "w"], &nodes, &["loss", "c"])).unwrap();
        let names = [("w", "v"), ("loss", "gnp/loss")].map(|(from, to)| (from.to_owned(), to.to_owned()));
        graph.rename(&names.into_iter().collect());
        let graph = Graph::new(graph.into_proto()).expect("the graph is well-formed");
        assert_eq!(graph.nodes()[0].input, ["x", "v"]);
        assert_eq!(graph.proto().output[0].name(), "gnp/loss");
        assert_eq!(graph.nodes()[1].attribute[0].g.as_ref().unwrap().node[0].input, ["v"]);
    }
}
