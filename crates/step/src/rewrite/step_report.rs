//! What became of a forward model, for people and for programs.

use super::StepConfig;
use crate::transform::{FusedOptimizer, Hyperparameter};
use crate::weights::{self, Lost, Verdict};
use foldhash::{HashMap, HashSet};
use gnp_base::choice::Choice;
use gnp_base::contract::artifacts::{BUFFER_SUFFIX, RESET};
use gnp_checkpoint::Checkpoint;
use gnp_model::graph::{Fact, is_added};
use gnp_model::onnx::Model;
use gnp_model::onnx::proto::{NodeProto, ValueInfoProto, operator_name};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How often an operator stands in the forward model and in the step model, bodies of control flow included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StepCount {
    /// In the model that was read.
    pub before: usize,
    /// In the step model, evaluated in every step.
    pub always: usize,
    /// In the step model, evaluated where r and α are above 0.
    pub second_pass: usize,
}

/// What is told of artifacts besides.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ArtifactsReport {
    /// What takes the step.
    pub fused: FusedOptimizer,
    /// What the training model itself keeps from step to step: parameters of the checkpoint that do not train.
    pub kept: Vec<String>,
    /// Whether the runtime draws numbers in it.
    pub draws: bool,
    /// The files that were written, relative to their folder, and their bytes.
    pub files: Vec<(PathBuf, u64)>,
}

/// What a rewrite of a forward model did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StepReport {
    /// The forward model.
    pub input: PathBuf,
    /// The step model.
    pub output: PathBuf,
    /// Every choice made, by the user or for them.
    pub config: StepConfig,
    /// What was inferred.
    pub choices: Vec<Choice>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// What is fed in every step, the labels last: `x: FLOAT [batch, 4]`.
    pub batch: Vec<String>,
    /// What may be fed in every step, and what is taken where it is not.
    pub hyperparameters: Vec<Hyperparameter>,
    /// Every float32 constant of the model: whether it trains, and why.
    pub constants: Vec<Verdict>,
    /// The trainable parameters, in the order of the step model's state.
    pub parameters: Vec<String>,
    /// Their elements.
    pub numbers: usize,
    /// Per operator, before and after.
    pub operators: BTreeMap<String, StepCount>,
    /// The bytes of the file; none in a dry run.
    pub bytes: Option<usize>,
    /// External data that belongs to it, relative to its folder.
    pub external: Vec<PathBuf>,
    /// What is told of artifacts, where they were made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<ArtifactsReport>,
}

impl StepReport {
    pub(super) fn new(model: &Model) -> Self {
        let mut report = Self { input: model.path().to_owned(), ..Self::default() };
        report.count(&model.graph.node, |count| &mut count.before);
        report
    }

    /// What became of each constant, where those called `trained` are what the loss depends on.
    pub(super) fn judge(&mut self, mut verdicts: Vec<Verdict>, trained: &[String], lost: &Lost) {
        weights::keep_reached(&mut verdicts, trained);
        self.warnings.extend(weights::warnings(&verdicts, lost));
        let trained = verdicts.iter().filter(|verdict| verdict.trains);
        (self.parameters, self.numbers) =
            (trained.clone().map(|v| v.name.clone()).collect(), trained.map(Verdict::numbers).sum());
        self.constants = verdicts;
    }

    /// Looks at the finished step model.
    pub(super) fn finish(&mut self, model: &Model) {
        let initial: HashSet<&str> = model.graph.initializer.iter().map(|t| t.name()).collect();
        let batch = model.graph.input.iter().filter(|input| !initial.contains(input.name()));
        self.batch = batch.map(described).collect();
        self.count_nodes(model);
    }

    fn count_nodes(&mut self, model: &Model) {
        self.count(&model.graph.node, |count| &mut count.always);
    }

    /// Looks at a finished training model of artifacts, whose parameters are in `checkpoint`.
    pub(super) fn finish_training(&mut self, model: &Model, checkpoint: &Checkpoint) {
        let is_fed = |name: &str| {
            let is_parameter = checkpoint.trainable.contains_key(name) || checkpoint.frozen.contains_key(name);
            let is_number = self.hyperparameters.iter().any(|number| number.name == name);
            !is_parameter && !is_number && name != RESET && !name.ends_with(BUFFER_SUFFIX)
        };
        let batch = model.graph.input.iter().filter(|input| is_fed(input.name()));
        self.batch = batch.map(described).collect();
        self.count_nodes(model);
    }

    fn count<'n>(&mut self, nodes: impl IntoIterator<Item = &'n NodeProto>, of: Column) {
        let mut counts: HashMap<_, usize> = HashMap::default();
        let mut branches = Vec::new();
        let mut open: Vec<&NodeProto> = nodes.into_iter().collect();
        while let Some(node) = open.pop() {
            *counts.entry((node.domain(), node.op_type())).or_default() += 1;
            let bodies = node.subgraphs().filter(|_| is_added(node)).flat_map(|body| &body.node);
            match node.op_type() {
                "If" => branches.extend(bodies),
                // Of a loop over the parts of a batch, what it does in each.
                "Loop" => open.extend(bodies),
                _ => {}
            }
        }
        for ((domain, operator), count) in counts {
            *of(self.operators.entry(operator_name(domain, operator)).or_default()) += count;
        }
        if !branches.is_empty() {
            self.count(branches, |count| &mut count.second_pass);
        }
    }
}

/// What of a count is meant.
type Column = fn(&mut StepCount) -> &mut usize;

fn described(input: &ValueInfoProto) -> String {
    match Fact::declared(input) {
        Some(fact) => format!("{}: {fact}", input.name()),
        None => input.name().to_owned(),
    }
}
