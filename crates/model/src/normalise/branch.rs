//! An `If` whose condition is constant is the branch that it takes.

use super::context::Context;
use super::origin::Origin;
use crate::graph::{Facts, Renaming};
use crate::onnx::proto::{GraphProto, NodeProto};
use gnp_base::Result;
use std::slice::from_mut;

impl Context<'_> {
    /// The branch that an `If` always takes, taken out of the node, with fresh names for what it defines.
    pub fn constant_branch(&mut self, node: &mut NodeProto) -> Option<GraphProto> {
        if !node.is("", "If") {
            return None;
        }
        let &[condition] = self.ints(node.input(0)?)? else { return None };
        let name = if condition != 0 { "then_branch" } else { "else_branch" };
        if !node.attribute(name)?.g.as_ref()?.sparse_initializer.is_empty() {
            return None;
        }
        let mut branch = node.take_attribute(name)?;
        self.rename_bodies(from_mut(&mut branch), &mut Renaming::default());
        branch.g.take().map(|body| *body)
    }

    /// Appends the nodes of a branch, and gives its results the names that `node`, the `If`, gave them.
    pub fn inline_branch(&mut self, body: GraphProto, node: &NodeProto, version: i64) -> Result<()> {
        self.inlined += 1;
        self.scope.facts.extend(Facts::declared(&body));
        body.initializer.into_iter().for_each(|tensor| self.move_in(tensor, Origin::Inlined));
        for mut node in body.node {
            node.name = Some(self.node_name(node.label()));
            self.visit(node, version)?;
        }
        for (result, name) in body.output.iter().zip(&node.output).filter(|(_, name)| !name.is_empty()) {
            let copy = self.node("Identity", &[result.name()], &[name], vec![], "result");
            self.push(copy);
        }
        self.inlined -= 1;
        Ok(())
    }
}
