//! Names that ONNX Runtime's training API gives a meaning to, and those that are needed.

use crate::objective::artifact::RESERVED_SUFFIXES;
use foldhash::HashSet;
use gnp_base::contract::artifacts::RESET;
use gnp_model::graph::Graph;
use gnp_model::onnx::proto::NodeProto;

/// Whether the runtime takes an input or output of this name for one of a gradient, and keeps it from the application.
pub fn is_of_a_gradient(name: &str) -> bool {
    name == RESET || RESERVED_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// The first of `names` that a value of the graph has, or one in a body of it.
pub fn first_taken<'n>(graph: &Graph, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let proto = graph.proto();
    let inputs = proto.input.iter().map(|input| input.name());
    let mut taken: HashSet<&str> = inputs.chain(proto.initializer.iter().map(|tensor| tensor.name())).collect();
    made(graph.nodes(), &mut taken);
    names.into_iter().find(|name| taken.contains(name))
}

fn made<'g>(nodes: &'g [NodeProto], names: &mut HashSet<&'g str>) {
    for node in nodes {
        names.extend(node.output.iter().map(String::as_str));
        node.subgraphs().for_each(|body| made(&body.node, names));
    }
}
