//! Putting appended nodes into the branches of an `If`.

use super::mark::{PASS_KEY, tag};
use super::{Graph, Value};
use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto, ValueInfoProto};
use foldhash::HashSet;

/// What is computed in one branch: the nodes from `begin` on, up to where the next branch begins, and what it returns.
#[derive(Clone, Debug)]
pub struct Branch {
    /// The index of its first node.
    pub begin: usize,
    /// What it returns; values from outside of it may be among them.
    pub outputs: Vec<Value>,
}

impl Graph {
    /// Moves the newest nodes into the branches of an `If` on the boolean scalar `condition`: those of `then` first,
    /// those of `otherwise` behind them up to the end. Nothing else may read what they make. Both return as many
    /// values; the result stands for them, one by one, under names in `pass`.
    ///
    /// A branch is not evaluated where the other one is chosen.
    pub fn branch(&mut self, condition: &Value, then: Branch, otherwise: Branch, pass: &'static str) -> Vec<Value> {
        let else_nodes = self.proto.node.split_off(otherwise.begin);
        let then_nodes = self.proto.node.split_off(then.begin);
        let outputs: Vec<_> = then.outputs.iter().map(|value| self.names.value(pass, last_part(value))).collect();
        for (value, name) in then.outputs.iter().zip(&outputs) {
            self.facts.equate_fact(value, name);
        }
        let values = outputs.iter().map(|name| name.as_str().into()).collect();
        let bodies = [("then_branch", then_nodes, then.outputs), ("else_branch", else_nodes, otherwise.outputs)];
        let attribute = bodies
            .into_iter()
            .map(|(name, nodes, outputs)| AttributeProto::graph(name, self.body(name, nodes, &outputs, pass)))
            .collect();
        let mut node = NodeProto {
            name: Some(self.names.node(pass, "If")),
            op_type: Some("If".into()),
            input: vec![condition.to_string()],
            output: outputs,
            attribute,
            ..Default::default()
        };
        tag(&mut node, &[(PASS_KEY, pass)]);
        self.proto.node.push(node);
        values
    }

    /// A body returns what it makes itself: what comes from outside gets a name inside.
    pub(super) fn body(
        &mut self,
        name: &str,
        mut node: Vec<NodeProto>,
        outputs: &[Value],
        pass: &'static str,
    ) -> GraphProto {
        let made: HashSet<String> = node.iter().flat_map(|n| n.output.iter().cloned()).collect();
        let mut returned = HashSet::default();
        let mut output = Vec::with_capacity(outputs.len());
        for value in outputs {
            let mut own = value.to_string();
            if !made.contains(&**value) || !returned.insert(value) {
                own = self.names.value(pass, last_part(value));
                let mut identity = NodeProto {
                    name: Some(self.names.node(pass, last_part(value))),
                    op_type: Some("Identity".into()),
                    input: vec![value.to_string()],
                    output: vec![own.clone()],
                    ..Default::default()
                };
                tag(&mut identity, &[(PASS_KEY, pass)]);
                node.push(identity);
            }
            output.push(ValueInfoProto { name: Some(own), ..Default::default() });
        }
        GraphProto { name: Some(name.into()), node, output, ..Default::default() }
    }
}

/// `gnp/<pass>/<name>` → `<name>`.
pub(super) fn last_part(name: &str) -> &str {
    name.strip_prefix("gnp/").and_then(|rest| rest.split_once('/')).map_or(name, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Builder, Fact, scalar_info};
    use crate::onnx::DataType;
    use crate::testing::{body, node};

    #[test]
    fn branches_return_what_is_theirs() {
        let mut graph = Graph::new(body(&["x", "c"], &[node("Neg", &["x"], &["y"])], &["y"])).unwrap();
        let y = Value::from("y");
        let b = Builder::new(&mut graph, "mix");
        let a = b.unary("Exp", &y);
        let then = Branch { begin: 1, outputs: vec![b.named("b", "Neg", &[&a], Fact::of(DataType::Float)), y.clone()] };
        let otherwise = Branch { begin: 3, outputs: vec![y.clone(), y] };
        let outputs = graph.branch(&"c".into(), then, otherwise, "mix");
        graph.insert_output(0, scalar_info(&outputs[0], DataType::Float));
        graph.remove_unused();
        let [_, choice] = graph.nodes() else { panic!("{:?}", graph.nodes()) };
        let bodies: Vec<_> = choice.attribute.iter().filter_map(|a| a.g.as_deref()).collect();
        let operators = |i: usize| bodies[i].node.iter().map(|n| n.op_type().to_owned()).collect::<Vec<_>>();
        assert_eq!(operators(0), ["Exp", "Neg", "Identity"]);
        assert_eq!(operators(1), ["Identity", "Identity"]);
        assert_eq!(bodies[0].output[0].name(), "gnp/mix/b");
        Graph::new(graph.into_proto()).expect("the graph is well-formed");
    }
}
