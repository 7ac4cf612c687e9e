//! Working inside the body of a control-flow operator.

use super::TypedBuilder;
use crate::graph::uses::{for_each_definition, for_each_subgraph};
use crate::graph::{Facts, Graph, Renaming, Value};
use crate::onnx::proto::GraphProto;
use gnp_base::Result;

impl TypedBuilder<'_> {
    /// A copy of `body`, its values under fresh names, after `edit` has worked on it as a graph of its own: one that
    /// may read all that this graph defines, and whose new names are new here too. It returns the values that `edit`
    /// returns; what these do not depend on is removed.
    ///
    /// # Errors
    /// Those of `edit`.
    pub fn edit_copy_of_body(
        &mut self,
        body: &GraphProto,
        edit: impl FnOnce(&mut Graph, &mut Facts, &'static str) -> Result<Vec<Value>>,
    ) -> Result<GraphProto> {
        let mut proto = body.clone();
        let mut names = std::mem::take(&mut self.graph.names);
        names.rename_body(&mut proto, &mut Renaming::default(), self.pass);
        copy_facts(self.facts, body, &proto);
        let mut copy = Graph { proto, names, limits: self.graph.limits };
        let outputs = edit(&mut copy, self.facts, self.pass).map(|outputs| {
            copy.proto.output = outputs.iter().map(|value| self.fact(value).info(value)).collect();
            copy.retain_needed();
        });
        self.graph.names = copy.names;
        outputs.map(|()| copy.proto)
    }
}

/// Lets what is known of the values in a body, and in those inside it, be known of those in its copy.
fn copy_facts(facts: &mut Facts, body: &GraphProto, copy: &GraphProto) {
    facts.learn(copy);
    let (mut from, mut to) = (Vec::new(), Vec::new());
    for_each_definition(body, &mut |name| from.push(name));
    for_each_definition(copy, &mut |name| to.push(name));
    from.into_iter().zip(to).for_each(|(from, to)| facts.equate(from, to));
    for (node, copy) in body.node.iter().zip(&copy.node) {
        let (mut from, mut to) = (Vec::new(), Vec::new());
        for_each_subgraph(node, &mut |body| from.push(body));
        for_each_subgraph(copy, &mut |body| to.push(body));
        from.into_iter().zip(to).for_each(|(from, to)| copy_facts(facts, from, to));
    }
}
