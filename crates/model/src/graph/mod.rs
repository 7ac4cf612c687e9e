//! An editable graph over the decoded messages.
//!
//! A [`Graph`] is well-formed from the start ([`Graph::new`] checks it) and keeps one invariant: its nodes are in
//! topological order, and what is added is appended. Whatever is not touched stays the message that was read.

mod branch;
mod builder;
mod check;
mod duplicate;
mod fact;
mod functions;
mod fuse;
mod index;
mod inlined;
mod mark;
mod names;
mod order;
mod ranges;
mod reach;
mod rename;
mod turns;
mod uses;

pub use branch::Branch;
pub use builder::{Along, Builder, CONCAT_INPUTS, Iteration, Replacing, Signature};
pub use check::well_formed;
pub use duplicate::Renaming;
pub(crate) use fact::SMALL;
pub use fact::{Dim, Fact, Facts, Shape, known_shape};
pub use index::Index;
pub use inlined::{inline_functions, inline_functions_but};
pub use mark::{PASS_KEY, SOURCE_KEY, is_added};
pub use names::Names;
pub use ranges::ranges;
pub use reach::NodeSet;
pub use turns::{Carried, Turn};
pub use uses::{for_each_capture, for_each_use};

use crate::onnx::proto::{GraphProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, type_proto};
use foldhash::{HashMap, HashSet};
use functions::Functions;
use gnp_base::limits::Limits;
use gnp_base::naming::is_ours;
use gnp_base::{Error, Result};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The name of a value of a graph; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(Arc<str>);

impl Deref for Value {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Value {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Value {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl AsRef<Self> for Value {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A graph that is being edited, with what is known of its values.
#[derive(Debug)]
pub struct Graph {
    proto: GraphProto,
    facts: Facts,
    names: Names,
    limits: Limits,
    /// What the nodes call, where functions are made.
    functions: Option<Functions>,
}

impl Graph {
    /// Takes a graph as it was read. Nodes are brought into topological order where they are not. Of its values is
    /// known what it declares.
    ///
    /// # Errors
    /// Where a value is defined twice or not at all, two nodes have one name, or the nodes form a cycle.
    pub fn new(proto: GraphProto) -> Result<Self> {
        let facts = Facts::declared(&proto);
        Self::knowing(proto, facts)
    }

    /// The same, where more is known of the values than the graph declares.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn knowing(mut proto: GraphProto, mut facts: Facts) -> Result<Self> {
        well_formed(&proto)?;
        order::sort(&mut proto)?;
        // A gradient about doubles a graph, and so does a second pass; growing step by step would copy it over and
        // over.
        proto.node.reserve(3 * proto.node.len());
        facts.reserve(3 * proto.node.len());
        Ok(Self { names: Names::of(&proto), proto, facts, limits: Limits::default(), functions: None })
    }

    /// The same with other limits than the default ones.
    #[must_use]
    pub fn within(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Asks for room before nodes are added whose number the file says.
    ///
    /// # Errors
    /// Where the graph would have more nodes than are allowed.
    pub fn afford(&self, more: usize) -> Result<()> {
        self.limits.check_nodes(self.proto.node.len().saturating_add(more))
    }

    /// What is known of the values.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Tells what is known of a value, in place of what was known: of an input that is to be declared, say.
    pub fn declare(&mut self, value: &str, fact: impl Into<Arc<Fact>>) {
        self.facts.insert(value.into(), fact);
    }

    /// Takes back the numbers of `values` and of all that is made of their elements: what trains is no constant.
    pub fn vary(&mut self, values: &[Value]) {
        self.facts.vary(&self.proto.node, values);
    }

    /// The graph as a message.
    pub fn proto(&self) -> &GraphProto {
        &self.proto
    }

    /// The graph as a message, its nodes in topological order.
    pub fn into_proto(self) -> GraphProto {
        debug_assert!(order::is_sorted(&self.proto), "an edit has made a node read a value that comes after it");
        self.proto
    }

    /// The nodes, in topological order.
    pub fn nodes(&self) -> &[NodeProto] {
        &self.proto.node
    }

    /// Lets go of what the graph declares of types within it.
    pub fn clear_types(&mut self) {
        self.proto.value_info.clear();
    }

    /// Declares inputs behind those that there are; who does so answers for their names.
    pub fn declare_inputs(&mut self, inputs: impl IntoIterator<Item = ValueInfoProto>) {
        self.proto.input.extend(inputs);
    }

    /// Drops the inputs that are known to have no elements, as far as no node reads them.
    pub fn drop_empty_inputs(&mut self) {
        let is_empty = |name: &str| self.facts.get(name).is_some_and(Fact::is_empty);
        let inputs = self.proto.input.iter().map(|input| input.name()).filter(|name| is_empty(name));
        let mut unread: HashSet<String> = inputs.map(str::to_owned).collect();
        if !unread.is_empty() {
            self.proto.node.iter().for_each(|node| for_each_use(node, &mut |name| _ = unread.remove(name)));
            self.proto.input.retain(|input| !unread.contains(input.name()));
        }
    }

    /// Declares the outputs anew; values of the graph have their names.
    pub fn declare_outputs(&mut self, outputs: impl IntoIterator<Item = ValueInfoProto>) {
        self.proto.output = outputs.into_iter().collect();
    }

    /// Adds an initializer; who does so answers for its name.
    pub fn add_initializer(&mut self, tensor: TensorProto) {
        self.proto.initializer.push(tensor);
    }

    /// Takes the initializers out whose names `which` holds for, in their order.
    pub fn take_initializers(&mut self, which: impl Fn(&str) -> bool) -> Vec<TensorProto> {
        self.proto.initializer.extract_if(.., |tensor| which(tensor.name())).collect()
    }

    /// Gives `value` a second name, for an output; who does so answers for the name.
    pub fn append_alias(&mut self, value: &Value, name: &str) {
        self.facts.equate(value, name);
        self.proto.node.push(NodeProto {
            name: Some(self.names.node("output", name)),
            op_type: Some("Identity".into()),
            input: vec![value.to_string()],
            output: vec![name.to_owned()],
            ..Default::default()
        });
    }

    /// Has all nodes read `value`, an input that is yet to be declared, through `node`, which reads it before them all.
    /// The name of the node and that of its output are given here.
    pub fn read_through(&mut self, value: &str, mut node: NodeProto, pass: &str) {
        let copy = self.names.value(pass, value);
        let fact = self.facts.get(value).cloned();
        self.rename(&std::iter::once((value.to_owned(), copy.clone())).collect());
        if let Some(fact) = fact {
            self.facts.insert(value.into(), fact);
        }
        node.name = Some(self.names.node(pass, value));
        node.output = vec![copy];
        mark::tag(&mut node, &[(PASS_KEY, pass)]);
        self.proto.node.insert(0, node);
    }

    /// Lets the nodes from `begin` on read other values in place of those that are keys of `instead`, which none of
    /// them makes.
    pub fn read_instead(&mut self, begin: usize, instead: &HashMap<String, String>) {
        let mut nodes = GraphProto { node: self.proto.node.split_off(begin), ..Default::default() };
        rename::rename(&mut nodes, instead);
        self.proto.node.append(&mut nodes.node);
    }

    /// Moves the nodes from `begin` on before the node at `place`; no node between them makes what they read.
    pub fn move_newest(&mut self, begin: usize, place: usize) {
        let count = self.proto.node.len() - begin;
        self.proto.node[place..].rotate_right(count);
    }

    /// Moves the nodes for which `last` holds, and those that depend on them, behind all others, and lets each of the
    /// former read, at `position`, the value that `reads` names for it, which may have been added. No such value
    /// depends on a node that is moved.
    pub fn read_last<'v>(
        &mut self,
        last: impl Fn(&NodeProto) -> bool,
        position: usize,
        reads: impl Fn(&NodeProto) -> Option<&'v Value>,
    ) {
        let begin = self.move_to_end(&last);
        for node in self.proto.node[begin..].iter_mut().filter(|node| last(node)) {
            if let Some(value) = reads(node) {
                (**value).clone_into(&mut node.input[position]);
            }
        }
    }

    /// Moves the nodes for which `last` holds, and those that depend on them, behind all others. Returns where they
    /// begin.
    fn move_to_end(&mut self, last: impl Fn(&NodeProto) -> bool) -> usize {
        let made = self.nodes().iter().filter(|node| last(node)).flat_map(|node| &node.output);
        let dependents = self.dependents(made.map(String::as_str).filter(|output| !output.is_empty()), |_| false);
        let mut index = 0..;
        let moves = |node: &mut NodeProto| index.next().is_some_and(|i| dependents.contains(i)) || last(node);
        let moved: Vec<_> = self.proto.node.extract_if(.., moves).collect();
        let begin = self.proto.node.len();
        self.proto.node.extend(moved);
        begin
    }

    /// The nodes that were added, by their mark.
    pub fn added_nodes(&self) -> impl Iterator<Item = &NodeProto> {
        self.nodes().iter().filter(|node| is_added(node))
    }

    /// The name of output `position` of a node, given to it now if it has none.
    pub fn ensure_output(&mut self, index: usize, position: usize, name: &str) -> Value {
        let node = &mut self.proto.node[index];
        if node.output.len() <= position {
            node.output.resize(position + 1, String::new());
        }
        let output = &mut node.output[position];
        if output.is_empty() {
            *output = self.names.value("output", name);
        }
        output.as_str().into()
    }

    /// Marks the newest node as the stand-in, in another pass, of the node at `index`.
    pub fn mark_newest_as_copy_of(&mut self, index: usize) {
        let source = self.proto.node[index].label().to_owned();
        if let Some(node) = self.proto.node.last_mut() {
            mark::tag(node, &[(SOURCE_KEY, &source)]);
        }
    }

    /// Declares an input, at `position` among the inputs.
    ///
    /// # Errors
    /// Where a value of this name is there already.
    pub fn insert_input(&mut self, position: usize, input: ValueInfoProto) -> Result<()> {
        self.take_name(input.name())?;
        self.proto.input.insert(position, input);
        Ok(())
    }

    /// Declares an output, at `position` among the outputs; a value of the graph has its name.
    pub fn insert_output(&mut self, position: usize, output: ValueInfoProto) {
        self.proto.output.insert(position, output);
    }

    /// Takes a given name for a new value.
    fn take_name(&mut self, name: &str) -> Result<()> {
        if self.names.take_value(name) {
            return Ok(());
        }
        Err(Error::input(format!("the graph has a value `{name}` already, and needs the name for a new one"))
            .help("rename that value"))
    }

    /// Removes every node that no output depends on, and the constants, types and declared values that are then read by
    /// nobody.
    pub fn retain_needed(&mut self) {
        self.retain_needed_and(&[]);
    }

    /// The same, and keeps what `kept` depends on: of nodes that have an effect.
    pub fn retain_needed_and(&mut self, kept: &[Value]) {
        let GraphProto { node: nodes, initializer, sparse_initializer, value_info, output, .. } = &mut self.proto;
        let outputs = output.iter().map(|output| output.name());
        let (needed, mut used) = reach::ancestors(nodes, outputs.chain(kept.iter().map(|value| &**value)));
        initializer.retain(|t| used.contains(t.name()));
        sparse_initializer.retain(|s| s.values.as_ref().is_some_and(|t| used.contains(t.name())));
        if !value_info.is_empty() {
            used.extend(needed.iter().flat_map(|index| &nodes[index].output).map(String::as_str));
            value_info.retain(|v| used.contains(v.name()));
        }
        let mut index = 0..;
        nodes.retain(|_| index.next().is_some_and(|i| needed.contains(i)));
    }

    /// Removes added nodes none of whose outputs is used, and added constants and types that nobody reads.
    pub fn remove_unused(&mut self) {
        self.remove_unused_but(&[]);
    }

    /// The same, but for what makes `kept`: of nodes that have an effect.
    pub fn remove_unused_but(&mut self, kept: &[Value]) {
        let GraphProto { node: nodes, output, initializer, value_info, .. } = &mut self.proto;
        let mut used: HashSet<&str> =
            output.iter().map(|o| o.name()).chain(kept.iter().map(|value| &**value)).collect();
        // From the last node to the first, each comes after those that read it.
        let mut kept = vec![true; nodes.len()];
        for (node, kept) in nodes.iter().zip(&mut kept).rev() {
            *kept = !is_added(node) || node.output.iter().any(|o| used.contains(o.as_str()));
            if *kept {
                for_each_use(node, &mut |name| {
                    if is_ours(name) {
                        used.insert(name);
                    }
                });
            }
        }
        initializer.retain(|t| !is_ours(t.name()) || used.contains(t.name()));
        value_info.retain(|v| !is_ours(v.name()) || used.contains(v.name()));
        let mut kept = kept.into_iter();
        nodes.retain(|_| kept.next().unwrap_or(true));
    }
}

/// The dense tensor type of a declared value, if it is one.
pub fn tensor_type(value: &ValueInfoProto) -> Option<&type_proto::Tensor> {
    match value.r#type.as_ref()?.value.as_ref()? {
        type_proto::Value::TensorType(tensor) => Some(tensor),
        _ => None,
    }
}

/// The declaration of a tensor of rank 0.
pub fn scalar_info(name: &str, element: crate::onnx::DataType) -> ValueInfoProto {
    let tensor = type_proto::Tensor { elem_type: Some(element as i32), shape: Some(Default::default()) };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(name.into()), r#type: Some(r#type), ..Default::default() }
}
