//! Who makes a value, and who reads it.

use super::uses::for_each_use;
use crate::onnx::proto::GraphProto;
use std::collections::HashMap;

/// Producers and consumers of the values of a graph, as indices into its nodes.
///
/// A node that captures a name in a body counts as a consumer of it.
#[derive(Debug)]
pub struct Index<'g> {
    producers: HashMap<&'g str, usize>,
    consumers: HashMap<&'g str, Vec<usize>>,
}

impl<'g> Index<'g> {
    /// The index of a graph as it stands.
    pub fn new(graph: &'g GraphProto) -> Self {
        let mut producers = HashMap::with_capacity(graph.node.len());
        let mut consumers: HashMap<&str, Vec<usize>> = HashMap::with_capacity(graph.node.len());
        for (i, node) in graph.node.iter().enumerate() {
            producers.extend(node.output.iter().filter(|o| !o.is_empty()).map(|o| (o.as_str(), i)));
            for_each_use(node, &mut |name| {
                let readers = consumers.entry(name).or_default();
                if readers.last() != Some(&i) {
                    readers.push(i);
                }
            });
        }
        Self { producers, consumers }
    }

    /// The node that makes `value`; none where it is an input or an initializer.
    pub fn producer(&self, value: &str) -> Option<usize> {
        self.producers.get(value).copied()
    }

    /// The nodes that read `value`, in order, each once.
    pub fn consumers(&self, value: &str) -> &[usize] {
        self.consumers.get(value).map_or(&[], Vec::as_slice)
    }
}
