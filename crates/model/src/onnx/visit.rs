//! Every tensor of a model, wherever it stands.

/// The visitor, for reading or for changing: `iter` and `as_deref`, or their mutable kin.
macro_rules! visitor {
    ($iter:ident, $as_deref:ident $(, $mut:tt)?) => {
        use crate::onnx::Model;
        use crate::onnx::proto::{GraphProto, AttributeProto, SparseTensorProto, TensorProto, NodeProto};

        pub(in crate::onnx) fn for_each_tensor<'m>(model: &'m $($mut)? Model, f: &mut impl FnMut(&'m $($mut)? TensorProto)) {
            graph(& $($mut)? model.graph, f);
            for info in model.header.training_info.$iter() {
                info.initialization.$iter().chain(& $($mut)? info.algorithm).for_each(|g| graph(g, f));
            }
            for function in model.header.functions.$iter() {
                function.attribute_proto.$iter().for_each(|a| attribute(a, f));
                function.node.$iter().for_each(|n| node(n, f));
            }
        }

        fn graph<'m>(g: &'m $($mut)? GraphProto, f: &mut impl FnMut(&'m $($mut)? TensorProto)) {
            g.initializer.$iter().for_each(&mut *f);
            g.sparse_initializer.$iter().for_each(|t| sparse(t, f));
            g.node.$iter().for_each(|n| node(n, f));
        }

        fn node<'m>(n: &'m $($mut)? NodeProto, f: &mut impl FnMut(&'m $($mut)? TensorProto)) {
            n.attribute.$iter().for_each(|a| attribute(a, f));
        }

        fn attribute<'m>(a: &'m $($mut)? AttributeProto, f: &mut impl FnMut(&'m $($mut)? TensorProto)) {
            a.t.$as_deref().into_iter().chain(& $($mut)? a.tensors).for_each(&mut *f);
            let sparse_tensors = a.sparse_tensor.$as_deref().into_iter().chain(& $($mut)? a.sparse_tensors);
            sparse_tensors.for_each(|t| sparse(t, f));
            a.g.$as_deref().into_iter().chain(& $($mut)? a.graphs).for_each(|g| graph(g, f));
        }

        fn sparse<'m>(t: &'m $($mut)? SparseTensorProto, f: &mut impl FnMut(&'m $($mut)? TensorProto)) {
            t.values.$iter().chain(& $($mut)? t.indices).for_each(f);
        }
    };
}

mod read {
    visitor!(iter, as_deref);
}

mod change {
    visitor!(iter_mut, as_deref_mut, mut);
}

/// Calls a function on every tensor of a model: initializers and attributes of the main graph, of its subgraphs, of
/// functions and of training information; or on every one, to change it.
pub(super) use {change::for_each_tensor as for_each_tensor_mut, read::for_each_tensor};
