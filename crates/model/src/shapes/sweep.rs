//! The pass over the nodes.

use super::bindings;
use super::declared::declared;
use super::known::{Elements, Known, dim};
use super::rules::{Operation, infer};
use super::size::Size;
use crate::graph::{Dim, Fact, Facts, Value};
use crate::onnx::Model;
use crate::onnx::proto::{GraphProto, NodeProto, TensorProto};
use crate::schema;
use foldhash::{HashMap, HashSet};
use gnp_base::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is known of the values of a model whose `bindings` were checked.
pub(super) fn facts(model: &Model, bindings: &BTreeMap<String, i64>) -> Result<Facts> {
    let mut sweep = Sweep::new(model, bindings);
    sweep.graph(&model.graph, &[], false)?;
    Ok(sweep.facts)
}

/// The analysis of a graph node by node, for who changes nodes on the way by what is known of the values before them.
/// What the graph declares is known from the start.
pub(crate) struct Analysis<'g> {
    sweep: Sweep<'g>,
    declared: HashMap<&'g str, Fact>,
}

impl<'g> Analysis<'g> {
    /// Before the first node of `model`.
    pub(crate) fn begin(model: &'g Model) -> Result<Self> {
        static UNBOUND: BTreeMap<String, i64> = BTreeMap::new();
        let mut sweep = Sweep::new(model, &UNBOUND);
        let declared = sweep.begin(&model.graph, &[], false)?;
        Ok(Self { sweep, declared })
    }

    /// Goes over a node: its outputs are known from now on.
    pub(crate) fn node(&mut self, node: &NodeProto) -> Result<()> {
        self.sweep.step(node, &self.declared, false)
    }

    /// Learns a constant that the graph does not have.
    pub(crate) fn constant(&mut self, tensor: &TensorProto) {
        let fact = Known::constant(tensor).unwrap_or_default();
        // It fits its own dims, which is all that could be wrong with it.
        let _ = self.sweep.settle(tensor.name(), fact, None, false);
    }

    /// What is known so far.
    pub(crate) fn facts(&self) -> &Facts {
        &self.sweep.facts
    }

    /// The elements of a vector of whole numbers, as far as they are known: a shape that is computed, say. −1, which is
    /// what is left, is a number.
    pub(crate) fn entries(&self, vector: &str) -> Option<Vec<Dim>> {
        let entry = |size: &Size| size.known().map_or_else(|| dim(&Some(size.clone())), Dim::Known);
        Some(self.sweep.known.get(vector)?.whole()?.iter().map(entry).collect())
    }
}

pub(super) struct Sweep<'b> {
    pub(super) opset: i64,
    /// The symbols of the file.
    symbols: HashSet<Arc<str>>,
    /// The symbols that stand for sizes that are not known, which are others.
    made: HashSet<Arc<str>>,
    bindings: &'b BTreeMap<String, i64>,
    inputs_are_constants: bool,
    /// What the rules are told of values.
    pub(super) known: HashMap<Value, Known>,
    facts: Facts,
    /// Whether a body is gone over to see what it makes of its inputs, and nothing is noted.
    pub(super) tries: bool,
    /// The names of values in branches, by which two of one name are told.
    in_branches: HashSet<Value>,
}

impl<'b> Sweep<'b> {
    fn new(model: &Model, bindings: &'b BTreeMap<String, i64>) -> Self {
        Self {
            opset: model.opset("").unwrap_or(1),
            symbols: bindings::symbols(model).into_iter().map(Arc::from).collect(),
            made: HashSet::default(),
            bindings,
            // From IR version 4 on, an input with an initializer is one that a caller may set.
            inputs_are_constants: model.header.ir_version() < 4,
            known: HashMap::default(),
            facts: Facts::default(),
            tries: false,
            in_branches: HashSet::default(),
        }
    }

    /// Goes over a graph. Of its inputs, what is known in `inputs` is known, and what it declares.
    pub(super) fn graph(&mut self, graph: &GraphProto, inputs: &[Known], is_branch: bool) -> Result<()> {
        let declared = self.begin(graph, inputs, is_branch)?;
        graph.node.iter().try_for_each(|node| self.step(node, &declared, is_branch))
    }

    /// Settles what a graph has before its first node. Returns what it declares.
    fn begin<'g>(
        &mut self,
        graph: &'g GraphProto,
        inputs: &[Known],
        is_branch: bool,
    ) -> Result<HashMap<&'g str, Fact>> {
        let declared = declared(graph, self.bindings)?;
        for (index, input) in graph.input.iter().enumerate() {
            let known = inputs.get(index).cloned().unwrap_or_default();
            self.settle(input.name(), known, declared.get(input.name()), is_branch)?;
        }
        let inputs: HashSet<&str> = graph.input.iter().map(|input| input.name()).collect();
        for tensor in &graph.initializer {
            let is_constant = self.inputs_are_constants || !inputs.contains(tensor.name());
            let fact = if is_constant { Known::constant(tensor) } else { None }.unwrap_or_default();
            self.settle(tensor.name(), fact, declared.get(tensor.name()), is_branch)?;
        }
        for tensor in graph.sparse_initializer.iter().filter_map(|sparse| sparse.values.as_ref()) {
            self.settle(tensor.name(), Known::default(), declared.get(tensor.name()), is_branch)?;
        }
        Ok(declared)
    }

    fn step(&mut self, node: &NodeProto, declared: &HashMap<&str, Fact>, is_branch: bool) -> Result<()> {
        let inferred = self.node(node)?;
        for (output, fact) in node.output.iter().zip(inferred).filter(|(output, _)| !output.is_empty()) {
            let settled = self.settle(output, fact, declared.get(output.as_str()), is_branch);
            settled.map_err(|error| error.at_node(node.label(), &node.operator()))?;
        }
        Ok(())
    }

    /// What a node makes of its inputs, for each of its outputs.
    fn node(&mut self, node: &NodeProto) -> Result<Vec<Known>> {
        let mut outputs = if node.is("", "If") {
            self.branches(node)?
        } else if let Some(outputs) = self.iterations(node)? {
            outputs
        } else if node.subgraphs().next().is_some() {
            Vec::new()
        } else {
            let inputs = (0..node.input.len()).map(|i| node.input(i).and_then(|name| self.known.get(name)));
            let operation = Operation::new(node, inputs, self.opset);
            schema::check_numbers(node, &operation)?;
            infer(&operation)
        };
        outputs.resize(node.output.len(), Known::default());
        Ok(outputs)
    }

    /// What both branches of an If agree on.
    fn branches(&mut self, node: &NodeProto) -> Result<Vec<Known>> {
        let mut merged: Option<Vec<Known>> = None;
        for branch in node.subgraphs() {
            self.graph(branch, &[], true)?;
            let outputs = branch.output.iter().map(|o| self.known.get(o.name()).cloned().unwrap_or_default());
            merged = Some(match merged {
                None => outputs.map(|output| output.without_elements()).collect(),
                Some(others) => others.iter().zip(outputs).map(|(a, b)| common(a, &b)).collect(),
            });
        }
        Ok(merged.unwrap_or_default())
    }

    /// Notes what is known of a value: what the operators say, and where they leave something open, what the file
    /// declares.
    ///
    /// # Errors
    /// Where it has sizes that no tensor has.
    fn settle(&mut self, name: &str, inferred: Known, declared: Option<&Fact>, is_branch: bool) -> Result<()> {
        let known = self.fill(name, inferred, declared);
        let value = Value::from(name);
        if self.tries {
            self.known.insert(value, known);
            return Ok(());
        }
        if is_branch && !self.in_branches.insert(value.clone()) {
            self.facts.forget(name);
        } else if let Some(fact) = to_fact(&known, declared) {
            if let Some(what) = fact.impossible() {
                return Err(Error::format(format!("the value `{name}` has {what}, which no engine computes"))
                    .help("the model is damaged; export it again"));
            }
            match known.elements() {
                Some(Elements::Whole(_)) => _ = known.ints().map(|ints| self.facts.insert_ints(value.clone(), ints)),
                Some(Elements::Real(floats)) => self.facts.insert_floats(value.clone(), floats.clone()),
                None => {}
            }
            self.facts.insert(value.clone(), fact);
        }
        self.known.insert(value, known);
        Ok(())
    }

    fn fill(&mut self, name: &str, inferred: Known, declared: Option<&Fact>) -> Known {
        if inferred.elements().is_some() {
            return inferred;
        }
        let declared = declared.map(Known::declared).unwrap_or_default();
        let element = inferred.element.or(declared.element);
        let Some(mut sizes) = inferred.sizes.or_else(|| declared.sizes.clone()) else { return Known::of(element) };
        let declared = declared.sizes.filter(|declared| declared.len() == sizes.len());
        for (axis, size) in sizes.iter_mut().enumerate() {
            let is_own = |size: &Size| size.all_symbols(&|symbol| self.symbols.contains(symbol));
            if !size.as_ref().is_some_and(is_own)
                && let Some(declared) = declared.as_ref().and_then(|declared| declared[axis].clone())
            {
                *size = Some(declared);
            }
            if size.is_none() && !self.tries {
                *size = Some(self.symbol(format!("{name}[{axis}]")));
            }
        }
        Known::of(element).with(sizes)
    }

    /// A symbol that there is not yet, of this name if it can be.
    fn symbol(&mut self, name: String) -> Size {
        let is_taken = |name: &str| self.symbols.contains(name) || self.made.contains(name);
        let others = (0..).map(|i| format!("{name}_{i}"));
        let name = std::iter::once(name.clone()).chain(others).find(|name| !is_taken(name)).unwrap_or(name);
        let name: Arc<str> = name.into();
        self.made.insert(name.clone());
        Size::symbol(name)
    }
}

/// What we say of a value: what the rules are told, except where a declaration contradicts them.
fn to_fact(known: &Known, declared: Option<&Fact>) -> Option<Fact> {
    let element = declared.map(|declared| declared.element).or(known.element)?;
    let mut shape: Option<Vec<_>> = known.sizes.as_ref().map(|sizes| sizes.iter().map(dim).collect());
    if let (Some(dims), Some(declared)) = (&mut shape, declared.and_then(|declared| declared.shape.as_ref())) {
        if dims.len() != declared.len() {
            dims.fill(Dim::Unknown);
        }
        for (dim, declared) in dims.iter_mut().zip(declared) {
            if let (Some(a), Some(b)) = (dim.known(), declared.known())
                && a != b
            {
                *dim = Dim::Unknown;
            }
        }
    }
    Some(Fact { element, shape })
}

/// What holds of both.
pub(super) fn common(a: &Known, b: &Known) -> Known {
    let made = Known::of(a.element.filter(|element| b.element == Some(*element)));
    match (&a.sizes, &b.sizes) {
        (Some(a), Some(b)) if a.len() == b.len() => {
            made.with(a.iter().zip(b).map(|(a, b)| a.clone().filter(|_| a == b)).collect::<Vec<_>>())
        }
        _ => made,
    }
}
