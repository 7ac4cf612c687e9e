//! What an adapter sees and can do: what is known of values, fresh names, new nodes and constants.

use super::functions::Functions;
use super::imports::Versions;
use super::origin::{Moved, Origin};
use super::split::Split;
use super::types;
use crate::graph::{Fact, Facts, Names, Renaming, for_each_use};
use crate::onnx::DataType;
use crate::onnx::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto};
use foldhash::{HashMap, HashSet};
use gnp_base::limits::Limits;

/// The pass, as the names of added values say it.
const PASS: &str = "normalise";
/// What names that the pass has given begin with.
const OURS: &str = "gnp/normalise/";

/// The state of the walk through a model.
pub(super) struct Context<'m> {
    pub versions: Versions,
    pub functions: Functions<'m>,
    /// The functions that are being inlined, the innermost last.
    pub calls: Vec<&'m FunctionProto>,
    /// How many functions and branches are being inlined.
    pub inlined: usize,
    pub limits: Limits,
    /// The bytes of constants that were computed from numbers alone.
    pub computed_bytes: usize,
    /// The graph that is being rewritten.
    pub scope: Scope,
    /// The graphs around it, the outermost first; the first is empty.
    pub outer: Vec<Scope>,
    pub names: Names,
    /// The node that is being rewritten; names of what is added for it begin with this.
    pub label: String,
    pub warnings: Vec<String>,
    pub moved: Vec<Moved>,
    /// The constants that were made of numbers in attributes, or of none in the file.
    pub made: HashSet<String>,
    /// Which quantised weights become floats, by their names.
    pub converts: &'m dyn Fn(&str) -> bool,
    /// How many weights were quantised.
    pub converted: usize,
    /// Every name that is read in the model, functions aside.
    used: HashSet<String>,
}

/// A graph that is being rewritten.
#[derive(Default)]
pub(super) struct Scope {
    pub facts: Facts,
    /// The names that the graph returns.
    pub outputs: HashSet<String>,
    pub nodes: Vec<NodeProto>,
    /// Nodes that come after the one that is being rewritten.
    pub after: Vec<NodeProto>,
    pub initializers: Vec<TensorProto>,
    /// The sequences that a tensor was split into, by name.
    pub splits: HashMap<String, Split>,
}

impl<'m> Context<'m> {
    pub fn new(
        graph: &GraphProto,
        functions: &'m [FunctionProto],
        versions: Versions,
        limits: Limits,
        converts: &'m dyn Fn(&str) -> bool,
    ) -> Self {
        let mut used = HashSet::default();
        collect_uses(graph, &mut used);
        Self {
            versions,
            functions: Functions::new(functions),
            calls: vec![],
            inlined: 0,
            limits,
            computed_bytes: 0,
            scope: Scope::default(),
            outer: vec![],
            names: Names::of(graph),
            label: String::new(),
            warnings: vec![],
            moved: vec![],
            made: HashSet::default(),
            converts,
            converted: 0,
            used,
        }
    }

    /// The graph at hand and those around it, from the inside out.
    fn scopes(&self) -> impl Iterator<Item = &Scope> {
        std::iter::once(&self.scope).chain(self.outer.iter().rev())
    }

    /// The element type of a value, as far as it is known.
    pub fn element(&self, value: &str) -> Option<DataType> {
        self.scopes().find_map(|scope| scope.facts.get(value)).map(|fact| fact.element)
    }

    /// How many axes a value has, where the file declares it.
    pub fn rank(&self, value: &str) -> Option<usize> {
        self.scopes().find_map(|scope| scope.facts.get(value))?.rank()
    }

    /// The sizes of all axes of a value, where the file declares them.
    pub fn sizes(&self, value: &str) -> Option<Vec<i64>> {
        self.scopes().find_map(|scope| scope.facts.get(value))?.sizes()
    }

    /// The elements of a small constant of whole numbers.
    pub fn ints(&self, value: &str) -> Option<&[i64]> {
        self.scopes().find_map(|scope| scope.facts.ints(value))
    }

    /// How a sequence was split off a tensor, if it was.
    pub fn split(&self, sequence: &str) -> Option<&Split> {
        self.scopes().find_map(|scope| scope.splits.get(sequence))
    }

    /// A constant.
    pub fn initializer(&self, value: &str) -> Option<&TensorProto> {
        self.scopes().find_map(|scope| scope.initializers.iter().find(|t| t.name() == value))
    }

    /// The elements of a constant of floats.
    pub fn floats(&self, value: &str) -> Option<Vec<f64>> {
        self.initializer(value)?.floats()
    }

    /// Whether something reads a value.
    pub fn is_used(&self, value: &str) -> bool {
        !value.is_empty() && (value.starts_with(OURS) || self.used.contains(value))
    }

    /// A fresh name for a value that is made for the node at hand.
    pub fn value(&mut self, part: &str) -> String {
        self.names.value(PASS, &self.part(part))
    }

    /// A fresh name for a node that is made for the node at hand.
    pub fn node_name(&mut self, part: &str) -> String {
        self.names.node(PASS, &self.part(part))
    }

    fn part(&self, part: &str) -> String {
        format!("{}/{}", without_prefix(&self.label), without_prefix(part))
    }

    /// Gives fresh names to what the bodies among `attributes` define.
    pub fn rename_bodies(&mut self, attributes: &mut [AttributeProto], renaming: &mut Renaming) {
        self.names.rename_bodies(attributes, renaming, PASS);
    }

    /// Appends a node to the graph at hand.
    pub fn push(&mut self, node: NodeProto) {
        if let Some(output) = node.output(0)
            && self.scope.facts.get(output).is_none()
            && let Some(element) = types::of_output(&node, |value| self.element(value))
        {
            self.scope.facts.insert(output.into(), Fact::of(element));
        }
        self.scope.nodes.push(node);
    }

    /// A standard operator with one output, in the version that the model is brought to.
    pub fn op(&mut self, operator: &str, inputs: &[&str], attributes: Vec<AttributeProto>, part: &str) -> String {
        let output = self.value(part);
        let node = self.node(operator, inputs, &[&output], attributes, part);
        self.push(node);
        output
    }

    /// A node of a standard operator that makes `outputs`, not yet in the graph.
    pub fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
        attribute: Vec<AttributeProto>,
        part: &str,
    ) -> NodeProto {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        NodeProto {
            name: Some(self.node_name(part)),
            op_type: Some(operator.into()),
            input: owned(inputs),
            output: owned(outputs),
            attribute,
            ..Default::default()
        }
    }

    /// Adds an initializer that was something else before.
    pub fn move_in(&mut self, tensor: TensorProto, origin: Origin) {
        let is_main = self.outer.len() == 1;
        if is_main {
            let origin = if self.inlined > 0 { Origin::Inlined } else { origin };
            self.moved.push(Moved { initializer: tensor.name().to_owned(), origin });
        }
        self.push_initializer(tensor);
    }

    /// Adds an initializer under the name that it has.
    pub fn push_initializer(&mut self, tensor: TensorProto) {
        self.scope.facts.insert_tensor(&tensor);
        self.scope.initializers.push(tensor);
    }

    /// A constant under a fresh name.
    pub fn constant(&mut self, mut tensor: TensorProto, part: &str) -> String {
        let name = self.value(part);
        tensor.name = Some(name.clone());
        self.made.insert(name.clone());
        self.push_initializer(tensor);
        name
    }

    /// A constant of int64 of rank 1.
    pub fn int64s(&mut self, values: &[i64], part: &str) -> String {
        self.constant(TensorProto::int64s("", values), part)
    }

    /// A float32 constant of rank 0.
    pub fn float(&mut self, value: f32, part: &str) -> String {
        self.constant(TensorProto::raw("", DataType::Float, &[], value.to_le_bytes().to_vec().into()), part)
    }

    /// A constant of rank 0 of the element type of `like`.
    pub fn scalar(&mut self, value: f64, like: &str, part: &str) -> String {
        match self.element(like) {
            Some(DataType::Float) => self.float(value as f32, part),
            element => {
                let bytes = value.to_le_bytes().to_vec();
                let double = self.constant(TensorProto::raw("", DataType::Double, &[], bytes.into()), part);
                if element == Some(DataType::Double) {
                    return double;
                }
                self.op("CastLike", &[&double, like], vec![], part)
            }
        }
    }
}

/// A name as it was before the pass gave it its prefix.
fn without_prefix(name: &str) -> &str {
    name.strip_prefix(OURS).unwrap_or(name)
}

fn collect_uses(graph: &GraphProto, used: &mut HashSet<String>) {
    used.extend(graph.output.iter().map(|o| o.name().to_owned()));
    for node in &graph.node {
        for_each_use(node, &mut |name| _ = used.insert(name.to_owned()));
        // What a body reads of itself is not captured.
        node.subgraphs().for_each(|body| collect_uses(body, used));
    }
}

impl NodeProto {
    /// Takes an attribute off the node.
    pub(super) fn take_attribute(&mut self, name: &str) -> Option<AttributeProto> {
        let at = self.attribute.iter().position(|a| a.name() == name)?;
        Some(self.attribute.remove(at))
    }

    /// Lets the node read `value` as input `index`; inputs before it that it does not have are left out.
    pub(super) fn set_input(&mut self, index: usize, value: String) {
        if self.input.len() <= index {
            self.input.resize(index + 1, String::new());
        }
        self.input[index] = value;
    }

    /// The name of output `index`, unless it is left out.
    pub(super) fn output(&self, index: usize) -> Option<&str> {
        self.output.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }
}
