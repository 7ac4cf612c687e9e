//! What was chosen for the user, in words.

use super::StepOptions;
use crate::precision::{Halved, Precision};
use crate::weights::{Reason, Verdict};
use gnp_base::choice::Choice;
use gnp_base::contract::{SEED, STEP};
use gnp_gradient::autodiff;
use gnp_gradient::lowering::Lowered;
use gnp_model::graph::{Dim, Graph, Value};
use gnp_model::opening::Opened;
use std::collections::BTreeSet;

/// By what it was decided, where not by the user alone.
pub(super) fn what_trains(is_recorded: bool, verdicts: &[Verdict]) -> Vec<Choice> {
    if verdicts.iter().all(|verdict| matches!(verdict.reason, Reason::Flag(_))) {
        return vec![];
    }
    let by = if is_recorded { "what the exporter recorded" } else { "places, elements and names" };
    vec![Choice::new(format!("what trains follows from {by}"), "--train, --also-train, --freeze")]
}

/// What sizes the step model takes: axes that were opened, pasts that are empty, batches of one size, and what may differ
/// from step to step.
pub(super) fn sizes(graph: &Graph, opened: &[Opened], empty: &BTreeSet<String>, options: &StepOptions) -> Vec<Choice> {
    let opened = opened.iter().map(|opened| Choice::new(opened.to_string(), "--dim"));
    let empty =
        empty.iter().map(|size| Choice::new(format!("samples begin with nothing past: `{size}` is 0"), "--dim"));
    let fixed = if options.dims.is_empty() { fixed_batches(graph) } else { vec![] };
    opened.chain(empty).chain(fixed).chain(open_sizes(graph)).collect()
}

/// The inputs that take batches of one size only.
fn fixed_batches(graph: &Graph) -> Vec<Choice> {
    let fixed = graph.proto().input.iter().filter_map(|input| {
        let size = graph.facts().get(input.name())?.dim(0)?.known()?;
        let open = format!("--dim '{}[0]=batch' opens it", input.name());
        Some(Choice::new(
            format!("`{}` takes batches of {size} only, as the model has it ({open})", input.name()),
            "--dim",
        ))
    });
    fixed.collect()
}

/// The sizes of the inputs that may differ from step to step.
fn open_sizes(graph: &Graph) -> Vec<Choice> {
    let shapes = graph.proto().input.iter().filter_map(|input| graph.facts().get(input.name())?.shape.as_ref());
    let symbols: BTreeSet<String> = shapes
        .flatten()
        .filter_map(|dim| if let Dim::Symbol(symbol) = dim { Some(format!("`{symbol}`")) } else { None })
        .collect();
    if symbols.is_empty() {
        return vec![];
    }
    let symbols = symbols.into_iter().collect::<Vec<_>>().join(", ");
    vec![Choice::new(format!("any size of {symbols}, as the model has it"), "--dim")]
}

/// What was lowered, in a graph that takes a batch in parts or at once.
pub(super) fn what_was_lowered(lowered: &Lowered, is_in_parts: bool) -> Vec<Choice> {
    let statistics = || {
        let of = if is_in_parts { "each part of the batch" } else { "the batch" };
        let also = if lowered.follows_frozen { ", also where its weights are frozen" } else { "" };
        Choice::new(format!("BatchNormalization trains, with the statistics of {of}{also}"), "--batch-norm")
    };
    let draws =
        || Choice::new(format!("what is drawn at random follows from `{SEED}` and `{STEP}`"), "--random, --dropout");
    let passed = || {
        let first = lowered.passed.first().map_or("", String::as_str);
        let others =
            if lowered.passed.len() > 1 { format!(" and {} more", lowered.passed.len() - 1) } else { String::new() };
        Choice::new(format!("gradients pass straight through `{first}`{others}"), "--straight-through")
    };
    let statistics = (!lowered.state.is_empty()).then(statistics);
    let passed = (!lowered.passed.is_empty()).then(passed);
    statistics.into_iter().chain(lowered.draws.then(draws)).chain(passed).collect()
}

/// How much of the forward pass computes in half precision.
pub(super) fn what_is_halved(precision: Precision, halved: Halved) -> Choice {
    let Halved { half, floating, later } = halved;
    let later = later.map_or(String::new(), |set| {
        format!("; convolutions would from operator set {set} on, so export the model with opset_version={set}")
    });
    let rest = if half == floating { "" } else { "the others, " };
    let what = format!(
        "{half} of the {floating} nodes of the forward pass compute in {}{later}; {rest}the loss, norms and the update \
         compute in float32",
        precision.name()
    );
    Choice::new(what, "--precision")
}

/// What a user may not know who trained with an estimator that the export lost.
pub(super) fn where_gradients_end(graph: &Graph, loss: &Value, wrt: &[Value]) -> Option<String> {
    let ends = autodiff::ends(graph, loss, wrt);
    let first = ends.first()?;
    let others = if ends.len() > 1 { format!(" and at {} more nodes", ends.len() - 1) } else { String::new() };
    Some(format!(
        "the gradient ends at `{}` ({}){others}: the derivative of a step is 0, and nothing trains through it. Where it is one of a \
         straight-through estimator: --straight-through all",
        first.label(),
        first.op_type()
    ))
}
