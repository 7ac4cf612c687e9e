//! Who makes a value, and who reads it.

use super::uses::for_each_use;
use crate::onnx::proto::GraphProto;
use foldhash::{HashMap, HashMapExt as _};

/// The producers of the values of a graph, and the consumers of its nodes, as indices into the nodes.
///
/// A node that captures a name in a body counts as a consumer of it.
///
/// ```
/// use gnp_model::graph::Index;
/// let model = gnp_model::onnx::read("../../models/mlp/training_model.onnx")?;
/// let index = Index::new(&model.graph);
/// let loss = index.producer("logits").unwrap();
/// assert_eq!(model.graph.node[loss].op_type(), "Gemm");
/// assert!(index.consumers(loss).all(|node| model.graph.node[node].op_type() == "SoftmaxCrossEntropyLoss"));
/// assert_eq!(index.producer("labels"), None);
/// # Ok::<(), gnp_base::Error>(())
/// ```
#[derive(Debug)]
pub struct Index<'g> {
    producers: HashMap<&'g str, usize>,
    edges: Vec<Edge>,
}

/// A node that makes a value and a node that reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub producer: usize,
    pub consumer: usize,
}

impl<'g> Index<'g> {
    /// The index of a graph as it stands.
    pub fn new(graph: &'g GraphProto) -> Self {
        let mut producers = HashMap::with_capacity(graph.node.len());
        for (i, node) in graph.node.iter().enumerate() {
            producers.extend(node.output.iter().filter(|o| !o.is_empty()).map(|o| (o.as_str(), i)));
        }
        let mut edges = Vec::with_capacity(2 * graph.node.len());
        for (consumer, node) in graph.node.iter().enumerate() {
            for_each_use(node, &mut |name| {
                edges.extend(producers.get(name).map(|&producer| Edge { producer, consumer }));
            });
        }
        edges.sort_unstable();
        edges.dedup();
        Self { producers, edges }
    }

    /// The node that makes `value`; none where it is an input or an initializer.
    pub fn producer(&self, value: &str) -> Option<usize> {
        self.producers.get(value).copied()
    }

    /// The nodes that read an output of the node at `producer`, in order, each once.
    pub fn consumers(&self, producer: usize) -> impl Iterator<Item = usize> + '_ {
        let first = self.edges.partition_point(|edge| edge.producer < producer);
        self.edges[first..].iter().take_while(move |edge| edge.producer == producer).map(|edge| edge.consumer)
    }

    /// Every pair of a producer and a consumer, in order, each once.
    pub(super) fn edges(&self) -> &[Edge] {
        &self.edges
    }
}
