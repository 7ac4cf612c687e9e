//! Working inside the body of a control-flow operator.

use super::Builder;
use crate::graph::mark::{PASS_KEY, tag};
use crate::graph::{Dim, Fact, Graph, Renaming, Value};
use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto};
use gnp_base::Result;

impl Builder<'_> {
    /// A copy of `body`, its values under fresh names, after `edit` has worked on it as a graph of its own: one that
    /// may read all that this graph defines, and whose new names are new here too. It returns the values that `edit`
    /// returns; what these do not depend on is removed.
    ///
    /// # Errors
    /// Those of `edit`.
    pub fn edit_copy_of_body(
        &self,
        body: &GraphProto,
        edit: impl FnOnce(&mut Graph, &'static str) -> Result<Vec<Value>>,
    ) -> Result<GraphProto> {
        let graph = &mut **self.graph.borrow_mut();
        let mut proto = body.clone();
        graph.names.rename_body(&mut proto, &mut Renaming::default(), self.pass);
        graph.facts.learn_copy(body, &proto);
        let (names, facts) = (std::mem::take(&mut graph.names), std::mem::take(&mut graph.facts));
        let functions = graph.functions.take();
        let mut copy = Graph { proto, names, facts, limits: graph.limits, functions };
        let outputs = edit(&mut copy, self.pass).map(|outputs| {
            copy.proto.output = outputs.iter().map(|value| copy.facts.of(value).info(value)).collect();
            copy.retain_needed();
        });
        (graph.names, graph.facts, graph.functions) = (copy.names, copy.facts, copy.functions);
        outputs.map(|()| copy.proto)
    }

    /// A name that no value has, for one in a body that is yet to be made.
    pub fn fresh_name(&self, what: &str) -> String {
        let name = self.name(what);
        self.graph.borrow_mut().names.value(self.pass, &name)
    }

    /// Has the Loop or Scan at `index` return values of its body, of each of its `count` iterations one behind the
    /// other along a new first axis. Of each is given what is known of it in one iteration.
    pub fn return_each(&self, index: usize, values: &[(&str, Fact)], count: &Dim) -> Vec<Value> {
        let graph = &mut **self.graph.borrow_mut();
        let Graph { proto, names, facts, .. } = graph;
        let node = &mut proto.node[index];
        let before = usize::from(node.is("", "Loop"));
        let label = node.label().to_owned();
        let mut made = Vec::with_capacity(values.len());
        let Some(body) = node.subgraphs_mut().next() else { return made };
        // ONNX Runtime wants to know the ranks, and infers less where weights are no constants of the body.
        for output in &mut body.output {
            let is_open = Fact::declared(output).is_none_or(|fact| fact.shape.is_none());
            if let Some(fact) = facts.get(output.name()).filter(|fact| is_open && fact.shape.is_some()) {
                *output = fact.info(output.name());
            }
        }
        let outputs = body.output.len() - before;
        for (name, fact) in values {
            let inner = names.value(self.pass, name);
            let mut copy = NodeProto {
                name: Some(names.node(self.pass, name)),
                op_type: Some("Identity".into()),
                input: vec![(*name).to_owned()],
                output: vec![inner.clone()],
                ..Default::default()
            };
            tag(&mut copy, &[(PASS_KEY, self.pass)]);
            body.node.push(copy);
            body.output.push(fact.info(&inner));
            facts.insert(inner.as_str().into(), fact.clone());
            let mut all = fact.clone();
            if let Some(shape) = &mut all.shape {
                shape.insert(0, count.clone());
            }
            let outer = Value::from(names.value(self.pass, &format!("{label}/{name}")).as_str());
            facts.insert(outer.clone(), all);
            made.push(outer);
        }
        // ONNX Runtime fails at a Loop without names for all of its outputs.
        node.output.resize(outputs, String::new());
        for output in node.output.iter_mut().filter(|output| output.is_empty()) {
            *output = names.value(self.pass, &format!("{label}/output"));
        }
        node.output.extend(made.iter().map(Value::to_string));
        // Where the lists are given, they are as long as there are outputs.
        for list in ["scan_output_axes", "scan_output_directions"] {
            if let Some(list) =
                node.attribute.iter_mut().find(|attribute: &&mut AttributeProto| attribute.name() == list)
            {
                list.ints.extend(vec![0; made.len()]);
            }
        }
        made
    }
}
