//! What a rule sees of the node that it differentiates, and what it returns.

use foldhash::HashSet;
use gnp_base::Error;
use gnp_base::Result;
use gnp_model::graph::{Value, for_each_capture};
use gnp_model::onnx::proto::{AttributeProto, GraphProto, NodeProto};
use std::ops::Deref;

/// A node on the way of a gradient; its attributes are those of [`NodeProto`].
#[derive(Debug)]
pub struct Op {
    index: usize,
    node: NodeProto,
    inputs: Vec<Option<Value>>,
    outputs: Vec<Option<Value>>,
    wanted: Vec<bool>,
    captured: Vec<Value>,
}

impl Deref for Op {
    type Target = NodeProto;

    fn deref(&self) -> &NodeProto {
        &self.node
    }
}

impl Op {
    /// The node at `index`; `active` says of each value that it reads whether its cotangent will be used.
    pub(super) fn new(index: usize, node: NodeProto, active: impl Fn(&str) -> bool) -> Self {
        let values = |names: &[String]| {
            names.iter().map(|name| (!name.is_empty()).then(|| Value::from(name.as_str()))).collect()
        };
        let wanted = node.input.iter().map(|input| active(input)).collect();
        let (mut captured, mut seen) = (Vec::new(), HashSet::default());
        for_each_capture(&node, &mut |name| {
            if active(name) && seen.insert(name) {
                captured.push(name.into());
            }
        });
        Self { index, inputs: values(&node.input), outputs: values(&node.output), wanted, captured, node }
    }

    /// Where the node is among those of the graph.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Input `index`.
    ///
    /// # Errors
    /// Where the node lacks it.
    pub fn input(&self, index: usize) -> Result<&Value> {
        self.optional(index).ok_or_else(|| self.error(format!("it has no input {index}")))
    }

    /// Input `index`, unless it is left out.
    pub fn optional(&self, index: usize) -> Option<&Value> {
        self.inputs.get(index)?.as_ref()
    }

    /// All inputs, those left out too.
    pub fn inputs(&self) -> &[Option<Value>] {
        &self.inputs
    }

    /// Output `index`.
    ///
    /// # Errors
    /// Where the node lacks it.
    pub fn output(&self, index: usize) -> Result<&Value> {
        self.outputs.get(index).and_then(Option::as_ref).ok_or_else(|| self.error(format!("it has no output {index}")))
    }

    /// How many outputs the node has, those left out too.
    pub fn output_count(&self) -> usize {
        self.outputs.len()
    }

    /// Whether the cotangent of input `index` will be used. A rule need not ask: what is not used is removed. It asks
    /// where the other cotangents would fail or cost much to write down.
    pub fn wants(&self, index: usize) -> bool {
        self.wanted.get(index).copied().unwrap_or(false)
    }

    /// What the bodies of a control-flow operator capture from around them and the cotangent of which will be used.
    /// Among the [`Cotangents`] they come behind the inputs.
    pub fn captured(&self) -> &[Value] {
        &self.captured
    }

    /// What the cotangent at `position` is of: an input, or a captured value.
    pub(super) fn operand(&self, position: usize) -> Option<&Value> {
        match position.checked_sub(self.inputs.len()) {
            None => self.optional(position),
            Some(position) => self.captured.get(position),
        }
    }

    /// The body of a control-flow operator.
    pub fn body(&self, attribute: &str) -> Option<&GraphProto> {
        self.attribute(attribute).and_then(|a: &AttributeProto| a.g.as_deref())
    }

    /// An error about what is not known of this node before it runs, and its gradient needs.
    pub fn unknown(&self, what: &str) -> Error {
        self.error(format!("{what} is not known, and its gradient needs it")).help(
            "export the model with the shapes of this node's inputs declared, or freeze the parameters before it (--freeze)",
        )
    }

    /// An error about a form of this node's operator that has no gradient.
    pub fn refused(&self, why: &str) -> Error {
        self.error(why).help("freeze the parameters before this node (--freeze)")
    }

    /// An error about this node.
    pub fn error(&self, message: impl Into<String>) -> Error {
        Error::unsupported(message).at_node(self.label(), &self.operator())
    }
}

/// What a rule returns: for each input of the node, and then for each of [`Op::captured`], ∂L/∂input, in the input's
/// shape and element type, or nothing where there is none. Trailing ones may be left out.
#[derive(Clone, Debug, Default)]
pub struct Cotangents(Vec<Option<Value>>);

impl Cotangents {
    /// Some of them.
    pub fn of(cotangents: impl IntoIterator<Item = Option<Value>>) -> Self {
        Self(cotangents.into_iter().collect())
    }

    /// Whether there is one at this position.
    pub(super) fn has(&self, position: usize) -> bool {
        self.0.get(position).is_some_and(Option::is_some)
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = (usize, Value)> {
        self.0.into_iter().enumerate().filter_map(|(i, cotangent)| Some((i, cotangent?)))
    }
}

/// One for each of the first N inputs.
impl<const N: usize> From<[Value; N]> for Cotangents {
    fn from(cotangents: [Value; N]) -> Self {
        Self::of(cotangents.map(Some))
    }
}
