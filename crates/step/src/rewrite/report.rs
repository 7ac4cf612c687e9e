//! What a rewrite did, for people and for programs.

use crate::emit::artifact::{Inside, Needs, Settings};
use crate::objective::artifact::is_accumulator;
use crate::objective::{Artifact, Objective as _};
use foldhash::{HashMap, HashSet};
use gnp_model::graph::{SOURCE_KEY, is_added};
use gnp_model::onnx::proto::{NodeProto, operator_name};
use gnp_model::onnx::{Model, Written};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How often an operator stands in the graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OperatorCount {
    /// In the graph that was read.
    pub before: usize,
    /// Of those: evaluated once, for both passes.
    pub shared: usize,
    /// Added, to evaluate the objective a second time.
    pub perturbed: usize,
    /// Added, to perturb the parameters, to mix the gradients, to return metrics.
    pub penalty: usize,
    /// In the graph that was written.
    pub after: usize,
}

impl OperatorCount {
    fn plus(self, other: Self) -> Self {
        Self {
            before: self.before + other.before,
            shared: self.shared + other.shared,
            perturbed: self.perturbed + other.perturbed,
            penalty: self.penalty + other.penalty,
            after: self.after + other.after,
        }
    }
}

/// What a rewrite did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The training model that was read.
    pub input: PathBuf,
    /// The training model that was written.
    pub output: PathBuf,
    /// What was put in.
    pub settings: Settings,
    /// Whether what was written is plain training: r or α is the constant 0.
    pub plain: bool,
    /// The trainable parameters (tensors); each has a node that adds up its gradient, evaluated once a step.
    pub trainable_parameters: usize,
    /// Nodes in the graph that was read.
    pub nodes_before: usize,
    /// Of those: evaluated once, for both passes. The rest depends on a trainable parameter and is evaluated again, or
    /// adds up gradients.
    pub shared_nodes: usize,
    /// Nodes in the graph that was written.
    pub nodes_after: usize,
    /// Per operator: `op_type`, with its domain before it where that is not `ai.onnx`.
    pub operators: BTreeMap<String, OperatorCount>,
    /// The bytes of the file; none in a dry run.
    pub bytes: Option<usize>,
    /// External data that belongs to it, relative to its folder.
    pub external: Vec<PathBuf>,
    /// What else was put in front of the accumulators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside: Option<Inside>,
    /// What of it is kept from step to step: parameters of the checkpoint that do not train.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
    /// Versions that were lowered to those that the training runtime reads, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lowered: Vec<String>,
}

impl Report {
    /// Counts the nodes of a model that was rewritten. Those that came with it carry no mark of a pass.
    pub(super) fn new(model: &Model, artifact: &Artifact, settings: &Settings, inside: &Inside, needs: &Needs) -> Self {
        let (mut added, original): (Vec<_>, Vec<_>) = model.graph.node.iter().partition(|n| is_added(n));
        // The second pass, where there may be a step without.
        let bodies = added.iter().flat_map(|node| node.subgraphs()).flat_map(|body| &body.node);
        added.extend(bodies.collect::<Vec<_>>());
        let repeated: HashSet<&str> = added.iter().filter_map(|n| entry(n, SOURCE_KEY)).collect();
        let mut counts: HashMap<(&str, &str), OperatorCount> = HashMap::default();
        let nodes_before = original.len();
        let mut shared_nodes = 0;
        for node in original {
            let count = counts.entry((node.domain(), node.op_type())).or_default();
            count.before += 1;
            count.after += 1;
            if !is_accumulator(node) && !repeated.contains(node.label()) {
                count.shared += 1;
                shared_nodes += 1;
            }
        }
        for node in added {
            let count = counts.entry((node.domain(), node.op_type())).or_default();
            count.after += 1;
            if entry(node, SOURCE_KEY).is_some() {
                count.perturbed += 1;
            } else {
                count.penalty += 1;
            }
        }
        let mut operators: BTreeMap<String, OperatorCount> = BTreeMap::new();
        for ((domain, operator), count) in counts {
            let sum = operators.entry(operator_name(domain, operator)).or_default();
            *sum = sum.plus(count);
        }
        Self {
            input: model.path().to_owned(),
            output: PathBuf::new(),
            settings: *settings,
            plain: settings.is_plain(),
            trainable_parameters: artifact.parameters().len(),
            nodes_before,
            shared_nodes,
            nodes_after: model.graph.node.len(),
            operators,
            bytes: None,
            external: Vec::new(),
            inside: Some(inside.clone()).filter(|inside| !inside.is_nothing()),
            kept: needs.kept.iter().map(|(name, _)| name.clone()).collect(),
            lowered: Vec::new(),
        }
    }

    /// Tells what of the versions of the file `name` was lowered.
    pub(super) fn lower(&mut self, name: &str, lowered: Vec<String>) {
        self.lowered.extend(lowered.into_iter().map(|what| format!("{name}: {what}")));
    }

    /// The sums over all operators.
    pub fn total(&self) -> OperatorCount {
        self.operators.values().fold(OperatorCount::default(), |sum, count| sum.plus(*count))
    }

    pub(super) fn written(&mut self, written: &Written) {
        self.bytes = Some(written.bytes);
        self.external.clone_from(&written.external);
    }
}

fn entry<'n>(node: &'n NodeProto, key: &str) -> Option<&'n str> {
    node.metadata_props.iter().find(|e| e.key() == key).map(|e| e.value())
}
