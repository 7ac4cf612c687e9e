//! Attributes that name a type of tensors.

use crate::onnx::proto::{FunctionProto, MICROSOFT, NodeProto, standard_domain};
use foldhash::{HashMap, HashSet};

/// Those of the standard's operators and of ONNX Runtime's.
const NAMES: &[&str] =
    &["dtype", "output_datatype", "output_dtype", "precision", "softmax_precision", "stash_type", "to"];

/// What is called: domain, name, overload.
type Callee = (String, String, String);

/// Those of a model's functions, too, which give them on to what they call.
pub(super) struct TypeAttributes {
    functions: HashSet<Callee>,
    given_on: HashSet<(Callee, String)>,
}

impl TypeAttributes {
    pub fn of(functions: &[FunctionProto]) -> Self {
        let key = |f: &FunctionProto| (f.domain().to_owned(), f.name().to_owned(), f.overload().to_owned());
        let mut found = Self { functions: functions.iter().map(key).collect(), given_on: HashSet::default() };
        // By the attribute of a function that is called, those that are given on to it.
        let mut givers: HashMap<(Callee, String), Vec<(Callee, String)>> = HashMap::default();
        let mut open = Vec::new();
        for function in functions {
            for_each_reference(&function.node, &mut |node, attribute, reference| {
                let giver = (key(function), reference.to_owned());
                if found.functions.contains(&callee(node)) {
                    givers.entry((callee(node), attribute.to_owned())).or_default().push(giver);
                } else if is_known(node, attribute) {
                    open.push(giver);
                }
            });
        }
        while let Some(attribute) = open.pop() {
            open.extend(givers.remove(&attribute).into_iter().flatten());
            found.given_on.insert(attribute);
        }
        found
    }

    /// Whether an attribute of this name names a type for `node`.
    pub fn names_a_type(&self, node: &NodeProto, attribute: &str) -> bool {
        if !self.functions.is_empty() && self.functions.contains(&callee(node)) {
            return self.given_on.contains(&(callee(node), attribute.to_owned()));
        }
        is_known(node, attribute)
    }
}

fn callee(node: &NodeProto) -> Callee {
    (node.domain().to_owned(), node.op_type().to_owned(), node.overload().to_owned())
}

fn is_known(node: &NodeProto, attribute: &str) -> bool {
    matches!(standard_domain(node.domain()), "" | MICROSOFT) && NAMES.contains(&attribute)
}

/// Calls `f` with each node that takes an attribute from the function around it, its name, and the function's.
fn for_each_reference<'f>(nodes: &'f [NodeProto], f: &mut impl FnMut(&'f NodeProto, &'f str, &'f str)) {
    for node in nodes {
        let references = node.attribute.iter().filter(|attribute| !attribute.ref_attr_name().is_empty());
        references.for_each(|attribute| f(node, attribute.name(), attribute.ref_attr_name()));
        node.subgraphs().for_each(|body| for_each_reference(&body.node, f));
    }
}
