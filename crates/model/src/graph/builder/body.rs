//! Working inside the body of a control-flow operator.

use super::Builder;
use crate::graph::{Graph, Renaming, Value};
use crate::onnx::proto::GraphProto;
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
}
