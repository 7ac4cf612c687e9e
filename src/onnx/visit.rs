//! Every tensor of a model, wherever it stands.

use super::Model;
use super::proto::{AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto};

/// Calls `f` on every tensor of the model: initializers and attributes of the main graph, of its subgraphs, of functions
/// and of training information.
pub(super) fn for_each_tensor<'m>(model: &'m Model, f: &mut impl FnMut(&'m TensorProto)) {
    graph(&model.graph, f);
    for info in &model.header.training_info {
        info.initialization.iter().chain(&info.algorithm).for_each(|g| graph(g, f));
    }
    for function in &model.header.functions {
        function.attribute_proto.iter().for_each(|a| attribute(a, f));
        function.node.iter().for_each(|n| node(n, f));
    }
}

fn graph<'m>(g: &'m GraphProto, f: &mut impl FnMut(&'m TensorProto)) {
    g.initializer.iter().for_each(&mut *f);
    g.sparse_initializer.iter().for_each(|t| sparse(t, f));
    g.node.iter().for_each(|n| node(n, f));
}

fn node<'m>(n: &'m NodeProto, f: &mut impl FnMut(&'m TensorProto)) {
    n.attribute.iter().for_each(|a| attribute(a, f));
}

fn attribute<'m>(a: &'m AttributeProto, f: &mut impl FnMut(&'m TensorProto)) {
    a.t.as_deref().into_iter().chain(&a.tensors).for_each(&mut *f);
    a.sparse_tensor.as_deref().into_iter().chain(&a.sparse_tensors).for_each(|t| sparse(t, f));
    a.g.as_deref().into_iter().chain(&a.graphs).for_each(|g| graph(g, f));
}

fn sparse<'m>(t: &'m SparseTensorProto, f: &mut impl FnMut(&'m TensorProto)) {
    t.values.iter().chain(&t.indices).for_each(f);
}
