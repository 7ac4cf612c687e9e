//! Frequencies of rotary embeddings (Su et al., [arXiv:2104.09864](https://arxiv.org/abs/2104.09864)) and of Fourier
//! features: the sine and the cosine are taken of their products with positions.

use super::operators::{moves, says_how};
use super::walk::State;
use foldhash::{HashMap, HashSet};
use gnp_model::graph::{Graph, Index};
use gnp_model::onnx::proto::NodeProto;

/// The nodes whose products are angles: of each, or of what only moves its elements, both the sine and the cosine are
/// taken, and no weight has touched what is multiplied. `states` are those of the graph's values.
pub(super) fn products(graph: &Graph, states: &HashMap<&str, State<'_>>) -> HashSet<usize> {
    let nodes = graph.nodes();
    let read_by = |operator: &'static str| nodes.iter().filter(move |node| node.is("", operator));
    let cosines: HashSet<&str> = read_by("Cos").filter_map(|node| node.input(0)).collect();
    let both = read_by("Sin").filter_map(|node| node.input(0)).filter(|angle| cosines.contains(angle));
    let mut angles: Vec<&str> = both.collect();
    let mut products = HashSet::default();
    if angles.is_empty() {
        return products;
    }
    let index = Index::new(graph.proto());
    let is_learned = |name: &String| matches!(states.get(name.as_str()), Some(State::Data { learned: true, .. }));
    let is_product = |node: &NodeProto| matches!(node.op_type(), "MatMul" | "Mul" | "Einsum" | "Gemm");
    let mut seen = HashSet::default();
    while let Some(angle) = angles.pop() {
        let Some(at) = index.producer(angle).filter(|at| seen.insert(*at)) else { continue };
        let node = &nodes[at];
        if moves(node) {
            angles.extend((0..node.input.len()).filter(|i| !says_how(node, *i)).filter_map(|i| node.input(i)));
        } else if is_product(node) && !node.input.iter().any(is_learned) {
            products.insert(at);
        }
    }
    products
}
