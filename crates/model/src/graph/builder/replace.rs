//! Putting other nodes in place of nodes.

use super::Builder;
use crate::graph::Value;
use crate::graph::mark::{is_added, untag};
use crate::onnx::proto::NodeProto;
use gnp_base::Result;
use gnp_base::naming::is_ours;

/// What becomes of the nodes of a graph, and of the bodies in it.
pub trait Replacing {
    /// A body begins: what is appended until it ends is in it.
    fn enter(&mut self) {}

    /// The body that was entered last ends, and returns these values.
    ///
    /// # Errors
    /// End the walk.
    fn leave(&mut self, outputs: &[Value]) -> Result<()> {
        let _ = outputs;
        Ok(())
    }

    /// What is in the place of a node: what is returned; or, where nothing is, what was appended by the builder
    /// meanwhile. The names of the node's outputs are then given to values by [`Builder::define`].
    ///
    /// # Errors
    /// End the walk.
    fn node(&mut self, node: NodeProto) -> Result<Option<NodeProto>>;
}

impl<F: FnMut(NodeProto) -> Result<Option<NodeProto>>> Replacing for F {
    fn node(&mut self, node: NodeProto) -> Result<Option<NodeProto>> {
        self(node)
    }
}

impl Builder<'_> {
    /// Goes through the nodes in topological order and lets `each` say what becomes of one. Nodes in the bodies of
    /// control-flow operators stay.
    ///
    /// # Errors
    /// Those of `each`.
    pub fn replace_nodes(&self, mut each: impl FnMut(NodeProto) -> Result<Option<NodeProto>>) -> Result<()> {
        let nodes = self.take_nodes();
        self.put_back(nodes, false, &mut each)
    }

    /// The same, for the nodes in the bodies of control-flow operators too, inner ones first.
    ///
    /// # Errors
    /// Those of `each`.
    pub fn replace_nodes_and_inner(&self, each: &mut impl Replacing) -> Result<()> {
        let nodes = self.take_nodes();
        self.put_back(nodes, true, each)
    }

    /// The nodes, in whose place others will be, about as many.
    fn take_nodes(&self) -> Vec<NodeProto> {
        let nodes = &mut self.graph.borrow_mut().proto.node;
        let room = Vec::with_capacity(nodes.len());
        std::mem::replace(nodes, room)
    }

    fn put_back(&self, nodes: Vec<NodeProto>, and_inner: bool, each: &mut impl Replacing) -> Result<()> {
        for mut node in nodes {
            for body in node.subgraphs_mut().filter(|_| and_inner) {
                let begin = self.graph.borrow().proto.node.len();
                each.enter();
                self.put_back(std::mem::take(&mut body.node), and_inner, each)?;
                each.leave(&body.output.iter().map(|output| output.name().into()).collect::<Vec<_>>())?;
                body.node = self.graph.borrow_mut().proto.node.split_off(begin);
            }
            let kept = each.node(node)?;
            self.graph.borrow_mut().proto.node.extend(kept);
        }
        Ok(())
    }

    /// Lets `value` have `name`, the name of an output of a node that is replaced, and returns it under that name. The
    /// newest node, if it makes `value`, makes `name` from now on, and nothing `value`; else it is one more name. What
    /// is known of the name stays known.
    pub fn define(&self, name: &str, value: impl AsRef<Value>) -> Value {
        self.define_all([(name, value.as_ref())]);
        name.into()
    }

    /// The same for several names, of values that the newest node may make.
    pub fn define_all<'n>(&self, named: impl IntoIterator<Item = (&'n str, &'n Value)>) {
        let graph = &mut **self.graph.borrow_mut();
        let newest = graph.proto.node.len().checked_sub(1).filter(|&newest| is_added(&graph.proto.node[newest]));
        for (name, value) in named {
            if graph.facts.get(name).is_none_or(|fact| fact.shape.is_none()) {
                let fact = graph.facts.of(value);
                graph.facts.insert(name.into(), fact);
            }
            let place = |newest: usize| graph.proto.node[newest].output.iter().position(|output| **output == **value);
            let made = match newest.and_then(|newest| Some((newest, place(newest)?))) {
                Some((newest, output)) => {
                    name.clone_into(&mut graph.proto.node[newest].output[output]);
                    newest
                }
                None => {
                    graph.identity("define", value, name);
                    graph.proto.node.len() - 1
                }
            };
            // What makes a value of the model is a node of the model.
            if !is_ours(name) {
                untag(&mut graph.proto.node[made]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, Value};
    use crate::testing::{body, node};

    #[test]
    fn what_is_appended_meanwhile_is_in_the_place_of_a_node() {
        let branch = body(&[], &[node("Swish", &["b"], &["z"])], &["z"]);
        let nodes =
            [node("Swish", &["x"], &["a"]), node("Neg", &["a"], &["b"]), node("If", &["c"], &["y"]).with(branch)];
        let replaced = |inner: bool| {
            let mut graph = Graph::new(body(&["x", "c"], &nodes, &["y"])).unwrap();
            let b = Builder::new(&mut graph, "test");
            let each = |node: NodeProto| {
                if !node.is("", "Swish") {
                    return Ok(Some(node));
                }
                let x = Value::from(node.input(0).unwrap());
                b.define(&node.output[0], b.mul(&x, b.unary("Sigmoid", &x)));
                Ok(None)
            };
            if inner { b.replace_nodes_and_inner(&mut { each }) } else { b.replace_nodes(each) }.unwrap();
            Graph::new(graph.into_proto()).expect("the graph is well-formed")
        };
        let operators = |nodes: &[NodeProto]| nodes.iter().map(|n| n.op_type().to_owned()).collect::<Vec<_>>();
        for (inner, in_branch) in [(false, &["Swish"][..]), (true, &["Sigmoid", "Mul"])] {
            let graph = replaced(inner);
            assert_eq!(operators(graph.nodes()), ["Sigmoid", "Mul", "Neg", "If"]);
            let body = graph.nodes()[3].subgraphs().next().unwrap();
            assert_eq!(operators(&body.node), in_branch);
            assert_eq!(body.node.last().unwrap().output, ["z"]);
        }
    }
}
