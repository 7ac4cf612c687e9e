//! A step model as two: one for each branch of an `If` that the processor can decide before a step.
//!
//! In a step model an `If` chooses between the plain and the penalised step. No CUDA graph can hold one. Its condition
//! depends on hyperparameters and on how many steps were taken, which the processor knows as well as the card: so a
//! small model tells the branch, and the step is computed by a model without the `If`.

use crate::StepModel;
use foldhash::HashSet;
use gnp_model::graph::{Fact, Graph, for_each_use};
use gnp_model::onnx::proto::{GraphProto, NodeProto, ValueInfoProto};
use gnp_model::onnx::{DataType, Model};

/// The two models, and what tells which of them a step is.
pub(in crate::ort) struct Branches {
    /// Returns the condition, a boolean, and then the next values of the state that it depends on.
    pub condition: Model,
    /// What the condition is called.
    pub name: String,
    /// The hyperparameters that the condition takes, by their index.
    pub hyperparameters: Vec<usize>,
    /// The parts of the state that it takes, by their index.
    pub state: Vec<usize>,
    /// The step where the condition does not hold, and where it does.
    pub models: [Model; 2],
}

/// The branches of the first `If` of `step` whose condition depends on nothing but hyperparameters, constants, and
/// numbers in the state that do so themselves. None where there is no such `If`, or a branch has names of the graph
/// around it.
pub(in crate::ort) fn split(step: &Model, model: &StepModel) -> Option<Branches> {
    let graph = Graph::new(step.graph.clone()).ok()?;
    graph.nodes().iter().filter(|node| node.is("", "If")).find_map(|choice| {
        let (condition, hyperparameters, state) = condition(step, &graph, choice.input.first()?, model)?;
        let branch = |name| inlined(step, graph.proto(), choice, name);
        let models = [branch("else_branch")?, branch("then_branch")?];
        Some(Branches { condition, name: choice.input[0].clone(), hyperparameters, state, models })
    })
}

/// The model that computes the value `name` and what of the state it depends on for the next step; which
/// hyperparameters and which parts of the state it takes.
fn condition(step: &Model, graph: &Graph, name: &str, model: &StepModel) -> Option<(Model, Vec<usize>, Vec<usize>)> {
    let mut state: Vec<usize> = Vec::new();
    // Each round may find more of the state, whose next values have to be computed as well.
    let (nodes, read) = loop {
        let wanted = state.iter().map(|&index| model.state[index].next.as_str()).chain([name]);
        let nodes = graph.ancestors(wanted.clone());
        let mut read: HashSet<&str> = wanted.collect();
        nodes.iter().for_each(|index| for_each_use(&graph.nodes()[index], &mut |used| _ = read.insert(used)));
        let is_read = |index: &usize| read.contains(&*model.state[*index].port.name);
        let found: Vec<usize> = (0..model.state.len()).filter(is_read).collect();
        if found == state {
            break (nodes, read);
        }
        state = found;
    };
    let is_number = |index: &usize| model.state[*index].port.dims.iter().all(|dim| *dim == Some(1));
    if model.batch.iter().any(|port| read.contains(&*port.name)) || !state.iter().all(is_number) {
        return None;
    }
    let hyperparameters =
        (0..model.hyperparameters.len()).filter(|&index| read.contains(&*model.hyperparameters[index].name)).collect();
    let proto = graph.proto();
    let next = |index: &usize| {
        let next = &model.state[*index].next;
        proto.output.iter().find(|output| output.name() == next).cloned()
    };
    let output = std::iter::once(Some(Fact::with_sizes(DataType::Bool, &[]).info(name)));
    let graph = GraphProto {
        name: Some("condition".into()),
        node: nodes.iter().map(|index| graph.nodes()[index].clone()).collect(),
        input: proto.input.iter().filter(|input| read.contains(input.name())).cloned().collect(),
        initializer: proto.initializer.iter().filter(|tensor| read.contains(tensor.name())).cloned().collect(),
        output: output.chain(state.iter().map(next)).collect::<Option<_>>()?,
        ..Default::default()
    };
    let mut condition = step.clone();
    condition.graph = graph;
    Some((condition, hyperparameters, state))
}

/// `step` with the branch `name` of `choice` in its place, and without what is then not needed.
fn inlined(step: &Model, graph: &GraphProto, choice: &NodeProto, name: &str) -> Option<Model> {
    let body = choice.attribute(name)?.g.as_deref()?.clone();
    if !body.sparse_initializer.is_empty() {
        return None;
    }
    let mut graph = graph.clone();
    let at = graph.node.iter().position(|node| node.output == choice.output)?;
    let results = body.output.iter().zip(&choice.output).filter(|(_, name)| !name.is_empty());
    let results = results.map(|(result, name)| identity(result, name));
    graph.node.splice(at..=at, body.node.into_iter().chain(results).collect::<Vec<_>>());
    graph.initializer.extend(body.initializer);
    graph.value_info.extend(body.value_info);
    // Names that are there twice are refused here.
    let mut graph = Graph::new(graph).ok()?;
    graph.retain_needed();
    let mut model = step.clone();
    model.graph = graph.into_proto();
    Some(model)
}

fn identity(from: &ValueInfoProto, to: &str) -> NodeProto {
    NodeProto {
        op_type: Some("Identity".into()),
        input: vec![from.name().to_owned()],
        output: vec![to.to_owned()],
        ..Default::default()
    }
}
