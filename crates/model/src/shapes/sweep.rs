//! The pass over the nodes.

use super::convert::{
    all_symbols, closed, entries, floats, from_datum_type, from_tract_dim, ints, is_short, small_tensor, to_tract,
};
use super::declared::{declared, of_tensor};
use super::operators::Operators;
use super::{bindings, local, whole};
use crate::graph::{Dim, Fact, Facts, Value};
use crate::onnx::Model;
use crate::onnx::proto::{GraphProto, NodeProto, TensorProto, standard_domain};
use crate::schema;
use foldhash::{HashMap, HashSet};
use gnp_base::quietly::quietly;
use gnp_base::{Error, Result};
use std::collections::BTreeMap;
use tract_onnx::prelude::Symbol;
use tract_onnx::tract_hir::internal::{
    Factoid as _, GenericFactoid, InferenceFact, ShapeFactoid, SymbolScope, TVec, tensor0, tensor1,
};

/// What is known of the values of a model whose `bindings` were checked.
pub(super) fn facts(model: &Model, bindings: &BTreeMap<String, i64>) -> Result<Facts> {
    let mut sweep = Sweep::new(model, bindings);
    sweep.graph(&model.graph, false)?;
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
        let declared = sweep.begin(&model.graph, false)?;
        Ok(Self { sweep, declared })
    }

    /// Goes over a node: its outputs are known from now on.
    pub(crate) fn node(&mut self, node: &NodeProto) -> Result<()> {
        self.sweep.step(node, &self.declared, false)
    }

    /// Learns a constant that the graph does not have.
    pub(crate) fn constant(&mut self, tensor: &TensorProto) {
        let fact = of_constant(tensor).unwrap_or_default();
        // It fits its own dims, which is all that could be wrong with it.
        let _ = self.sweep.settle(tensor.name(), fact, None, false);
    }

    /// What is known so far.
    pub(crate) fn facts(&self) -> &Facts {
        &self.sweep.facts
    }

    /// The elements of a vector of whole numbers, as far as they are known: a shape that is computed, say.
    pub(crate) fn entries(&self, vector: &str) -> Option<Vec<Dim>> {
        entries(self.sweep.known.get(vector)?)
    }
}

struct Sweep<'b> {
    operators: Operators,
    /// The symbols of the file.
    symbols: HashSet<Symbol>,
    bindings: &'b BTreeMap<String, i64>,
    inputs_are_constants: bool,
    /// What the rules are told of values.
    known: HashMap<Value, InferenceFact>,
    facts: Facts,
    /// The names of values in branches, by which two of one name are told.
    in_branches: HashSet<Value>,
}

impl<'b> Sweep<'b> {
    fn new(model: &Model, bindings: &'b BTreeMap<String, i64>) -> Self {
        let operators = Operators::new(model.opset("").unwrap_or(1));
        // All symbols of the file come before those that are made for unknown sizes, so that the latter get other
        // names.
        let symbols = bindings::symbols(model).into_iter().map(|symbol| operators.scope().sym(symbol)).collect();
        Self {
            operators,
            symbols,
            bindings,
            // From IR version 4 on, an input with an initializer is one that a caller may set.
            inputs_are_constants: model.header.ir_version() < 4,
            known: HashMap::default(),
            facts: Facts::default(),
            in_branches: HashSet::default(),
        }
    }

    fn graph(&mut self, graph: &GraphProto, is_branch: bool) -> Result<()> {
        let declared = self.begin(graph, is_branch)?;
        graph.node.iter().try_for_each(|node| self.step(node, &declared, is_branch))
    }

    /// Settles what a graph has before its first node. Returns what it declares.
    fn begin<'g>(&mut self, graph: &'g GraphProto, is_branch: bool) -> Result<HashMap<&'g str, Fact>> {
        let declared = declared(graph, self.bindings)?;
        let open = InferenceFact::default();
        for input in &graph.input {
            self.settle(input.name(), open.clone(), declared.get(input.name()), is_branch)?;
        }
        let inputs: HashSet<&str> = graph.input.iter().map(|input| input.name()).collect();
        for tensor in &graph.initializer {
            let fact = match small_tensor(tensor) {
                Some(value) if self.inputs_are_constants || !inputs.contains(tensor.name()) => value.into(),
                _ => open.clone(),
            };
            self.settle(tensor.name(), fact, declared.get(tensor.name()), is_branch)?;
        }
        for tensor in graph.sparse_initializer.iter().filter_map(|sparse| sparse.values.as_ref()) {
            self.settle(tensor.name(), open.clone(), declared.get(tensor.name()), is_branch)?;
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
    fn node(&mut self, node: &NodeProto) -> Result<Vec<InferenceFact>> {
        let unknown = || vec![InferenceFact::default(); node.output.len()];
        let domain = standard_domain(node.domain());
        if node.is("", "Constant") {
            return Ok(constant(node).map_or_else(unknown, |fact| vec![fact]));
        }
        if node.is("", "If") {
            return self.branches(node);
        }
        if node.subgraphs().next().is_some() {
            return Ok(unknown());
        }
        let input = |i: usize| self.known.get(node.input(i)?).cloned();
        schema::check_numbers(node, &Inputs { node, known: &self.known })?;
        if let Ok(Some(fact)) = quietly(|| whole::infer(node, input)) {
            return Ok(vec![fact]);
        }
        if let Ok(Some(facts)) = quietly(|| local::infer(node, input)) {
            return Ok(facts);
        }
        // tract tells operators by their bare names, whatever their domain.
        if !matches!(domain, "" | "com.microsoft") {
            return Ok(unknown());
        }
        let inputs = node.input.iter().filter(|input| !input.is_empty());
        let inputs = inputs.map(|input| self.known.get(input.as_str()).cloned().unwrap_or_default());
        let inputs = inputs.map(whole::without_large).collect();
        Ok(self.operators.infer(node, inputs).map_or_else(unknown, TVec::into_vec))
    }

    /// What both branches of an If agree on.
    fn branches(&mut self, node: &NodeProto) -> Result<Vec<InferenceFact>> {
        let mut merged: Option<Vec<InferenceFact>> = None;
        for branch in node.subgraphs() {
            self.graph(branch, true)?;
            let outputs = branch.output.iter().map(|o| self.known.get(o.name()).cloned().unwrap_or_default());
            merged = Some(match merged {
                None => outputs.map(InferenceFact::without_value).collect(),
                Some(others) => others.iter().zip(outputs).map(|(a, b)| common(a, &b)).collect(),
            });
        }
        let mut merged = merged.unwrap_or_default();
        merged.resize(node.output.len(), InferenceFact::default());
        Ok(merged)
    }

    /// Notes what is known of a value: what the operators say, and where they leave something open, what the file
    /// declares.
    ///
    /// # Errors
    /// Where it has sizes that no tensor has.
    fn settle(&mut self, name: &str, inferred: InferenceFact, declared: Option<&Fact>, is_branch: bool) -> Result<()> {
        let known = self.fill(name, inferred, declared);
        let value = Value::from(name);
        if is_branch && !self.in_branches.insert(value.clone()) {
            self.facts.forget(name);
        } else if let Some(fact) = to_fact(&known, declared) {
            if let Some(what) = fact.impossible() {
                return Err(Error::input(format!("the value `{name}` has {what}, which no engine computes"))
                    .help("the model is damaged; export it again"));
            }
            if let Some(ints) = ints(&known) {
                self.facts.insert_ints(value.clone(), ints);
            } else if let Some(floats) = floats(&known) {
                self.facts.insert_floats(value.clone(), floats);
            }
            self.facts.insert(value.clone(), fact);
        }
        self.known.insert(value, known);
        Ok(())
    }

    fn fill(&self, name: &str, mut fact: InferenceFact, declared: Option<&Fact>) -> InferenceFact {
        if fact.value.is_concrete() {
            return fact;
        }
        let scope = self.operators.scope();
        let declared = declared.map(|declared| to_tract(declared, scope)).unwrap_or_default();
        if !fact.datum_type.is_concrete() {
            fact.datum_type = declared.datum_type;
        }
        let declared = closed(&declared.shape);
        let Some(mut dims) = closed(&fact.shape).or_else(|| declared.clone()) else { return fact };
        let declared = declared.filter(|declared| declared.len() == dims.len());
        for (axis, dim) in dims.iter_mut().enumerate() {
            let own = match &*dim {
                GenericFactoid::Any => false,
                GenericFactoid::Only(dim) => all_symbols(dim, &|symbol| self.symbols.contains(symbol)),
            };
            if !own && let Some(GenericFactoid::Only(declared)) = declared.as_ref().map(|declared| &declared[axis]) {
                *dim = GenericFactoid::Only(declared.clone());
            }
            // A symbol of a graph that tract made for itself and dropped says nothing.
            let lives = |symbol: &Symbol| symbol.scope().as_ref() == Some(scope);
            if !dim.concretize().is_some_and(|dim| is_short(&dim) && all_symbols(&dim, &lives)) {
                *dim = GenericFactoid::Only(scope.new_with_prefix(&format!("{name}[{axis}]")).into());
            }
        }
        fact.shape = ShapeFactoid::closed(dims);
        fact
    }
}

/// What the rules are told of a node's inputs, as the standard's checks ask for it.
struct Inputs<'s> {
    node: &'s NodeProto,
    known: &'s HashMap<Value, InferenceFact>,
}

impl Inputs<'_> {
    fn fact(&self, input: usize) -> Option<&InferenceFact> {
        self.known.get(self.node.input(input)?)
    }
}

impl schema::Known for Inputs<'_> {
    fn rank(&self, input: usize) -> Option<usize> {
        let shape = &self.fact(input)?.shape;
        (!shape.is_open()).then(|| shape.dims().count())
    }

    fn sizes(&self, input: usize) -> Option<Vec<Option<i64>>> {
        let shape = &self.fact(input)?.shape;
        (!shape.is_open()).then(|| shape.dims().map(|dim| dim.concretize()?.to_i64().ok()).collect())
    }

    fn ints(&self, input: usize) -> Option<Vec<i64>> {
        ints(self.fact(input)?)
    }
}

/// What we say of a value: what the rules are told, except where a declaration contradicts them.
fn to_fact(known: &InferenceFact, declared: Option<&Fact>) -> Option<Fact> {
    let inferred = known.datum_type.concretize().and_then(from_datum_type);
    let element = declared.map(|declared| declared.element).or(inferred)?;
    let mut shape: Option<Vec<_>> = closed(&known.shape).map(|dims| dims.iter().map(from_tract_dim).collect());
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
fn common(a: &InferenceFact, b: &InferenceFact) -> InferenceFact {
    let mut fact = InferenceFact::default();
    if a.datum_type == b.datum_type {
        fact.datum_type = a.datum_type;
    }
    if let (Some(a), Some(b)) = (closed(&a.shape), closed(&b.shape))
        && a.len() == b.len()
    {
        let dims = a.into_iter().zip(b).map(|(a, b)| if a == b { a } else { GenericFactoid::Any });
        fact.shape = ShapeFactoid::closed(dims.collect());
    }
    fact
}

/// The fact of a Constant node.
fn constant(node: &NodeProto) -> Option<InferenceFact> {
    if let Some(tensor) = node.attribute("value").and_then(|a| a.t.as_deref()) {
        return of_constant(tensor);
    }
    if let Some(attribute) = node.attribute("value_int") {
        return Some(tensor0(attribute.i()).into());
    }
    if let Some(attribute) = node.attribute("value_ints") {
        return Some(tensor1(&attribute.ints).into());
    }
    if let Some(attribute) = node.attribute("value_float") {
        return Some(tensor0(attribute.f()).into());
    }
    if let Some(attribute) = node.attribute("value_floats") {
        return Some(tensor1(&attribute.floats).into());
    }
    let sparse = node.attribute("sparse_value")?.sparse_tensor.as_deref()?;
    let fact = Fact::with_sizes(sparse.values.as_ref()?.element()?, &sparse.dims);
    Some(to_tract(&fact, &SymbolScope::default()))
}

fn of_constant(tensor: &TensorProto) -> Option<InferenceFact> {
    match small_tensor(tensor) {
        Some(value) => Some(value.into()),
        None => Some(to_tract(&of_tensor(tensor)?, &SymbolScope::default())),
    }
}
