//! Model-local functions that a model brings along: what is computed by several nodes, told as one.
//!
//! A kind of function (`ConvGradWeight`, say) says what is computed. Its body says how, in standard operators, and may
//! differ from call to call: with the size of a kernel, for instance. A kind has a function for each body that it is
//! called with, under numbered names ([`numbered`]). So a kernel that is registered under the names of its kind can run
//! in place of any of them: what it needs to know is in the attributes of the call.

use crate::graph::Graph;
use crate::onnx::proto::{FunctionProto, GraphProto, OperatorSetIdProto};
use foldhash::{HashMap, HashSet};
use gnp_base::contract::functions::{DOMAIN, MOST_OF_A_KIND, numbered};
use prost::Message as _;

/// The functions that the nodes of a graph call.
#[derive(Debug)]
pub(super) struct Functions {
    /// The version of the standard operators that bodies are written in.
    opset: i64,
    made: Vec<FunctionProto>,
    /// The names of functions by their content.
    names: HashMap<Vec<u8>, String>,
    /// How many there are of each kind.
    counts: HashMap<&'static str, usize>,
}

impl Functions {
    fn new(opset: i64) -> Self {
        Self { opset, made: Vec::new(), names: HashMap::default(), counts: HashMap::default() }
    }

    /// The name of the function of a kind that is `function` but for its name, which is added where there is none; none
    /// where a kind would have too many.
    pub fn name_of(&mut self, kind: &'static str, mut function: FunctionProto) -> Option<String> {
        function.domain = Some(DOMAIN.into());
        let import = |domain: &str, version| OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
        function.opset_import = vec![import("", self.opset)];
        if function.node.iter().any(|node| node.domain() == DOMAIN) {
            function.opset_import.push(import(DOMAIN, 1));
        }
        function.name = Some(kind.into());
        let content = function.encode_to_vec();
        if let Some(name) = self.names.get(&content) {
            return Some(name.clone());
        }
        let count = self.counts.entry(kind).or_default();
        if *count == MOST_OF_A_KIND {
            return None;
        }
        let name = numbered(kind, *count);
        *count += 1;
        function.name = Some(name.clone());
        self.made.push(function);
        self.names.insert(content, name.clone());
        Some(name)
    }
}

impl Graph {
    /// Lets [`Builder::call`](super::Builder::call) make functions from now on, with bodies in this version of the
    /// standard operators.
    pub fn make_functions(&mut self, opset: i64) {
        self.functions = Some(Functions::new(opset));
    }

    /// The functions that nodes of the graph call, each before those that call it.
    pub fn take_functions(&mut self) -> Vec<FunctionProto> {
        let made = self.functions.take().map(|functions| functions.made).unwrap_or_default();
        let mut called = called(&self.proto);
        let is_called: Vec<bool> = made
            .iter()
            .rev()
            .map(|function| {
                let is_called = called.contains(function.name());
                let ours = function.node.iter().filter(|node| is_called && node.domain() == DOMAIN);
                called.extend(ours.map(|node| node.op_type()));
                is_called
            })
            .collect();
        let mut is_called = is_called.into_iter().rev();
        made.into_iter().filter(|_| is_called.next().unwrap_or(false)).collect()
    }
}

/// The names of the functions that nodes call, those in bodies too.
fn called(graph: &GraphProto) -> HashSet<&str> {
    let mut called = HashSet::default();
    let mut graphs = vec![graph];
    while let Some(graph) = graphs.pop() {
        for node in &graph.node {
            if node.domain() == DOMAIN {
                called.insert(node.op_type());
            }
            graphs.extend(node.subgraphs());
        }
    }
    called
}
