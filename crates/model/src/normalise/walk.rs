//! One walk over the nodes of the model: calls are inlined, constants become initializers, every other node is adapted.

use super::context::{Context, Scope};
use super::{constant, converted, indices, microsoft, opset, sequence, steps_first};
use crate::graph::Facts;
use crate::onnx::proto::{GraphProto, MICROSOFT, NodeProto, standard_domain};
use crate::schema;
use gnp_base::Result;
use std::mem::{replace, take};

impl Context<'_> {
    /// Rewrites a graph whose nodes are in `version` of the standard operators.
    pub fn graph(&mut self, graph: &mut GraphProto, version: i64) -> Result<()> {
        let scope = Scope {
            facts: Facts::declared(graph),
            outputs: graph.output.iter().map(|o| o.name().to_owned()).collect(),
            nodes: Vec::with_capacity(graph.node.len()),
            initializers: take(&mut graph.initializer),
            ..Scope::default()
        };
        self.outer.push(replace(&mut self.scope, scope));
        let done = take(&mut graph.node).into_iter().try_for_each(|node| self.visit(node, version));
        let outer = self.outer.pop().unwrap_or_default();
        let scope = replace(&mut self.scope, outer);
        (graph.node, graph.initializer) = (scope.nodes, scope.initializers);
        done
    }

    /// Appends what stands for `node`, which is in `version` of the standard operators.
    pub fn visit(&mut self, node: NodeProto, version: i64) -> Result<()> {
        schema::check(&node, version)?;
        let outside = replace(&mut self.label, node.label().to_owned());
        let operator = node.operator();
        let done = match self.functions.called_by(&node) {
            Some(function) => self.inline(function, node),
            None => self.rewrite(node, version),
        };
        let label = replace(&mut self.label, outside);
        done.map_err(|e| e.at_node(&label, &operator))
    }

    fn rewrite(&mut self, mut node: NodeProto, version: i64) -> Result<()> {
        if let Some(body) = self.constant_branch(&mut node) {
            return self.inline_branch(body, &node, version);
        }
        node.subgraphs_mut().try_for_each(|body| self.graph(body, version))?;
        let rewritten = match standard_domain(node.domain()) {
            "" => match constant::move_out(self, node).and_then(|node| converted::move_out(self, node)) {
                Some(node) => {
                    let node = opset::adapt(self, node, version)?;
                    let node = indices::widen(self, node);
                    let node = sequence::lower(self, node);
                    let node = steps_first::lower(self, node);
                    Some(microsoft::lower(self, node))
                }
                None => None,
            },
            MICROSOFT => Some(microsoft::lower(self, node)),
            _ => Some(node),
        };
        let after = take(&mut self.scope.after);
        rewritten.into_iter().chain(after).for_each(|node| self.push(node));
        Ok(())
    }
}
