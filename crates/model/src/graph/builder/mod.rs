//! Appending nodes whose types and shapes are known as they are appended.
//!
//! A [`Builder`] has a method for each operator that gradients, losses and updates are made of. Each gives its result a
//! [`Fact`], so that what is built on it can be lean: an axis that surely needs no sum gets none. Where a shape is not
//! known, nodes that ask for it at run time are appended in its place.
//!
//! Calls nest, so that a rule reads like its formula: `g.mul(dy, g.transpose_last(b))`. Nodes are appended as Rust
//! evaluates the calls, arguments before the call and from left to right.

mod body;
mod call;
mod constant;
mod elementwise;
mod layout;
mod loops;
mod product;
mod reduce;
mod replace;
mod shape;

pub use call::Signature;
pub(super) use call::as_function;
pub use layout::CONCAT_INPUTS;
pub use loops::{Along, Iteration};
pub use replace::Replacing;

use super::mark::{PASS_KEY, tag};
use super::{Fact, Graph, Value};
use crate::onnx::proto::{AttributeProto, NodeProto};
use foldhash::HashMap;
use gnp_base::Result;
use std::cell::{Ref, RefCell};
use std::sync::Arc;

/// Appends nodes to a graph, all for one pass: they are named `gnp/<pass>/<scope>/<operator>` and say the pass in their
/// metadata.
///
/// An operand may be given as it is or by reference.
///
/// ```
/// use gnp_model::graph::{scalar_info, Builder, Graph, Value};
/// use gnp_model::onnx::DataType;
/// use gnp_model::onnx::proto::GraphProto;
/// let input = vec![scalar_info("x", DataType::Float)];
/// let mut graph = Graph::new(GraphProto { input, ..Default::default() })?;
/// let g = Builder::new(&mut graph, "gradient");
/// let x = Value::from("x");
/// let cube = g.mul(&x, g.mul(&x, &x));
/// assert_eq!(g.fact(&cube).sizes(), Some(vec![]));
/// # Ok::<(), gnp_base::Error>(())
/// ```
#[derive(Debug)]
pub struct Builder<'g> {
    /// Borrowed for the length of one call at most, so that calls nest.
    graph: RefCell<&'g mut Graph>,
    pass: &'static str,
    scope: RefCell<String>,
    made: RefCell<Constants>,
}

/// The constants that a builder has made, by their numbers.
#[derive(Debug, Default)]
struct Constants {
    numbers: HashMap<(i32, u64), Value>,
    vectors: HashMap<(bool, Vec<i64>), Value>,
}

impl<'g> Builder<'g> {
    /// A builder of nodes for `pass`. The graph learns what is known of them.
    pub fn new(graph: &'g mut Graph, pass: &'static str) -> Self {
        Self { graph: RefCell::new(graph), pass, scope: RefCell::default(), made: RefCell::default() }
    }

    /// Lets the names of what follows begin with `scope`: the node that a gradient is of, say.
    pub fn set_scope(&self, scope: &str) {
        scope.clone_into(&mut self.scope.borrow_mut());
    }

    /// The graph, to be read; to be let go of before the next node is appended.
    pub fn graph(&self) -> Ref<'_, Graph> {
        Ref::map(self.graph.borrow(), |graph| &**graph)
    }

    /// The graph, for what is done to it as a whole.
    pub fn graph_mut(&mut self) -> &mut Graph {
        self.graph.get_mut()
    }

    /// What is known of `value`; of an undeclared one, that it is a float tensor.
    pub fn fact(&self, value: &Value) -> Arc<Fact> {
        self.graph.borrow().facts.of(value)
    }

    /// The elements of `value`, where it is a small constant of whole numbers.
    pub fn ints(&self, value: &Value) -> Option<Arc<[i64]>> {
        self.graph.borrow().facts.shared_ints(value)
    }

    /// The elements of `value`, where it is a small constant of floating-point numbers.
    pub fn floats(&self, value: &Value) -> Option<Arc<[f64]>> {
        self.graph.borrow().facts.shared_floats(value)
    }

    /// The number that `value` is, where it is a constant with one element.
    pub fn known_number(&self, value: &Value) -> Option<f64> {
        self.graph.borrow().facts.number(value)
    }

    /// Tells what is known of a value that is not made here: an input that is to be declared, say.
    pub fn declare(&self, value: &str, fact: impl Into<Arc<Fact>>) {
        self.graph.borrow_mut().facts.insert(value.into(), fact);
    }

    /// A standard operator with one output of which `fact` is known. The methods for single operators find the fact
    /// themselves.
    pub fn node(
        &self,
        operator: &str,
        inputs: &[&Value],
        attributes: Vec<AttributeProto>,
        fact: impl Into<Arc<Fact>>,
    ) -> Value {
        self.node_in("", operator, inputs, attributes, fact)
    }

    /// The same in another domain. An empty input is one left out.
    pub fn node_in(
        &self,
        domain: &str,
        operator: &str,
        inputs: &[&Value],
        attributes: Vec<AttributeProto>,
        fact: impl Into<Arc<Fact>>,
    ) -> Value {
        self.append(&self.name(operator), domain, operator, inputs, attributes, fact.into())
    }

    /// A standard operator without attributes whose node and output have a name of their own, in place of the scope's.
    pub fn named(&self, name: &str, operator: &str, inputs: &[&Value], fact: impl Into<Arc<Fact>>) -> Value {
        self.append(name, "", operator, inputs, vec![], fact.into())
    }

    /// The same in any domain and with attributes.
    pub fn named_in(
        &self,
        name: &str,
        (domain, operator): (&str, &str),
        inputs: &[&Value],
        attributes: Vec<AttributeProto>,
        fact: impl Into<Arc<Fact>>,
    ) -> Value {
        self.append(name, domain, operator, inputs, attributes, fact.into())
    }

    /// A standard operator with an output for each of `facts`.
    pub fn nodes(
        &self,
        operator: &str,
        inputs: &[&Value],
        attributes: Vec<AttributeProto>,
        facts: Vec<Arc<Fact>>,
    ) -> Vec<Value> {
        let outputs = self.nodes_in("", operator, inputs, attributes, facts.into_iter().map(Some).collect());
        outputs.into_iter().flatten().collect()
    }

    /// The same in another domain; an output without a fact is left out.
    pub fn nodes_in(
        &self,
        domain: &str,
        operator: &str,
        inputs: &[&Value],
        attributes: Vec<AttributeProto>,
        facts: Vec<Option<Arc<Fact>>>,
    ) -> Vec<Option<Value>> {
        let name = self.name(operator);
        let graph = &mut **self.graph.borrow_mut();
        let mut values = Vec::with_capacity(facts.len());
        for fact in facts {
            values.push(fact.map(|fact| {
                let value = Value::from(graph.names.value(self.pass, &name).as_str());
                graph.facts.insert(value.clone(), fact);
                value
            }));
        }
        let outputs = values.iter().map(|value| value.as_deref().unwrap_or_default().to_owned()).collect();
        graph.push(self.pass, &name, (domain, operator), inputs, attributes, outputs);
        values
    }

    /// Output `position` of the node at `index`, of which `fact` is known: named so far, or from now on.
    pub fn ensure_output(&self, index: usize, position: usize, name: &str, fact: impl Into<Arc<Fact>>) -> Value {
        let graph = &mut **self.graph.borrow_mut();
        let value = graph.ensure_output(index, position, name);
        graph.facts.insert(value.clone(), fact);
        value
    }

    /// Gives `value` a second, given name, for an output of the graph.
    ///
    /// # Errors
    /// Where a value of this name is there already.
    pub fn alias(&self, value: impl AsRef<Value>, name: &str) -> Result<()> {
        let graph = &mut **self.graph.borrow_mut();
        graph.take_name(name)?;
        graph.identity(self.pass, value.as_ref(), name);
        graph.facts.equate(value.as_ref(), name);
        Ok(())
    }

    fn append(
        &self,
        name: &str,
        domain: &str,
        operator: &str,
        inputs: &[&Value],
        attributes: Vec<AttributeProto>,
        fact: Arc<Fact>,
    ) -> Value {
        let [output] = self.append_all(name, (domain, operator), inputs, attributes, [fact]);
        output
    }

    fn append_all<const N: usize>(
        &self,
        name: &str,
        operator: (&str, &str),
        inputs: &[&Value],
        attributes: Vec<AttributeProto>,
        facts: [Arc<Fact>; N],
    ) -> [Value; N] {
        let graph = &mut **self.graph.borrow_mut();
        let outputs = facts.each_ref().map(|_| graph.names.value(self.pass, name));
        let values = outputs.each_ref().map(|output| Value::from(output.as_str()));
        graph.push(self.pass, name, operator, inputs, attributes, outputs.into());
        for (value, fact) in values.iter().zip(facts) {
            graph.facts.insert(value.clone(), fact);
        }
        values
    }

    fn name(&self, operator: &str) -> String {
        let scope = self.scope.borrow();
        if scope.is_empty() { operator.to_owned() } else { format!("{scope}/{operator}") }
    }
}

impl Graph {
    /// Appends a node for a pass.
    fn push(
        &mut self,
        pass: &str,
        name: &str,
        (domain, operator): (&str, &str),
        inputs: &[&Value],
        attribute: Vec<AttributeProto>,
        output: Vec<String>,
    ) {
        let mut node = NodeProto {
            name: Some(self.names.node(pass, name)),
            op_type: Some(operator.into()),
            domain: (!domain.is_empty()).then(|| domain.into()),
            input: inputs.iter().map(|value| String::from(&***value)).collect(),
            output,
            attribute,
            ..Default::default()
        };
        tag(&mut node, &[(PASS_KEY, pass)]);
        self.proto.node.push(node);
    }

    /// Appends an `Identity` that makes `name`; who does so answers for the name.
    fn identity(&mut self, pass: &str, value: &Value, name: &str) {
        self.push(pass, name, ("", "Identity"), &[value], vec![], vec![name.to_owned()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::DataType;
    use crate::testing::{body, node};

    #[test]
    fn added_nodes_are_named_and_tagged() {
        let mut graph = Graph::new(body(&["x"], &[node("Neg", &["x"], &["y"])], &["y"])).unwrap();
        let b = Builder::new(&mut graph, "mix");
        let half = b.scalar(0.5, "half");
        let product = b.named("product", "Mul", &[&"y".into(), &half], Fact::of(DataType::Float));
        assert_eq!(&*product, "gnp/mix/product");
        let added = graph.added_nodes().next().unwrap();
        assert_eq!(added.name(), "gnp/mix/product");
        assert_eq!(added.metadata_props[0].value(), "mix");
    }

    #[test]
    fn what_nothing_uses_is_removed() {
        let mut graph = Graph::new(body(&["x"], &[node("Neg", &["x"], &["y"])], &["y"])).unwrap();
        let b = Builder::new(&mut graph, "mix");
        let (one, two) = (b.scalar(1.0, "one"), b.scalar(2.0, "two"));
        let used = b.mul(Value::from("y"), one);
        b.neg(b.mul(&used, two));
        graph.insert_output(1, crate::graph::scalar_info(&used, DataType::Float));
        graph.remove_unused();
        assert_eq!(graph.added_nodes().count(), 1);
        assert_eq!(graph.proto().initializer.len(), 1);
    }

    #[test]
    fn arguments_are_appended_before_their_call_and_from_left_to_right() {
        let mut graph = Graph::new(body(&["x"], &[], &["x"])).unwrap();
        let (b, x) = (Builder::new(&mut graph, "mix"), Value::from("x"));
        b.sub(b.unary("Exp", b.neg(&x)), b.unary("Log", &x));
        let operators: Vec<_> = graph.nodes().iter().map(|node| node.op_type()).collect();
        assert_eq!(operators, ["Neg", "Exp", "Log", "Sub"]);
    }
}
