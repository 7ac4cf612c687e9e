//! Model-local functions (`FunctionProto`): which a node calls, and how large a model is once they are inlined.

use crate::onnx::proto::{FunctionProto, NodeProto};
use foldhash::HashMap;
use gnp_base::Result;
use gnp_base::limits::Limits;

/// The functions of a model by domain, name and overload.
pub(super) struct Functions<'m>(HashMap<(&'m str, &'m str, &'m str), &'m FunctionProto>);

impl<'m> Functions<'m> {
    pub fn new(functions: &'m [FunctionProto]) -> Self {
        Self(functions.iter().map(|f| ((f.domain(), f.name(), f.overload()), f)).collect())
    }

    /// The function that a node calls, if it calls one.
    pub fn called_by(&self, node: &NodeProto) -> Option<&'m FunctionProto> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&(node.domain(), node.op_type(), node.overload())).copied()
    }
}

/// How large graphs are once all calls in them are inlined.
pub(super) struct Expansion<'f, 'm> {
    functions: &'f Functions<'m>,
    limits: Limits,
    /// Those of functions; none of those that are being measured.
    measured: HashMap<*const FunctionProto, Option<Extent>>,
}

/// How large a graph is: nodes, and how deep functions and bodies stand in each other.
#[derive(Clone, Copy, Default)]
struct Extent {
    nodes: usize,
    depth: usize,
}

impl<'f, 'm> Expansion<'f, 'm> {
    pub fn new(functions: &'f Functions<'m>, limits: Limits) -> Self {
        Self { functions, limits, measured: HashMap::default() }
    }

    /// Checks the nodes of a model, with what they call and what stands in their bodies.
    ///
    /// # Errors
    /// Where there are more nodes than are allowed, or functions and bodies stand in each other deeper.
    pub fn check(&mut self, nodes: &[NodeProto]) -> Result<()> {
        let functions: usize = self.functions.0.values().map(|function| function.node.len()).sum();
        let limits = self.limits.of_calls(nodes.len() + functions);
        limits.check_nodes(self.measure(nodes, 1)?.nodes)
    }

    /// Measures nodes that stand `depth` deep.
    fn measure(&mut self, nodes: &[NodeProto], depth: usize) -> Result<Extent> {
        self.limits.check_depth(depth)?;
        let mut whole = Extent { nodes: nodes.len(), depth: 1 };
        for node in nodes {
            let mut add = |inner: Extent| {
                whole.nodes = whole.nodes.saturating_add(inner.nodes);
                whole.depth = whole.depth.max(inner.depth + 1);
            };
            let called = self.functions.called_by(node).map(|function| self.function(function, depth));
            called
                .transpose()
                .map_err(|error| error.at_node(node.label(), &node.operator()))?
                .into_iter()
                .for_each(&mut add);
            for body in node.subgraphs() {
                add(self.measure(&body.node, depth + 1)?);
            }
        }
        Ok(whole)
    }

    /// Measures a function that a node calls which stands `depth` deep.
    fn function(&mut self, function: &'m FunctionProto, depth: usize) -> Result<Extent> {
        let measured = match self.measured.get(&std::ptr::from_ref(function)) {
            // That it calls itself is told where it is inlined.
            Some(measured) => measured.unwrap_or_default(),
            None => {
                self.measured.insert(function, None);
                let measured = self.measure(&function.node, depth + 1)?;
                self.measured.insert(function, Some(measured));
                measured
            }
        };
        self.limits.check_depth(depth + measured.depth)?;
        Ok(measured)
    }
}
