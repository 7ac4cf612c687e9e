//! The training model: a graph with loss and update, in the runtime's form.

use super::state::{COUNTER_ELEMENT, keep};
use super::{Config, Interface, names, versions};
use crate::emit::step::{Parts, name_results, rename_flag};
use crate::objective::artifact::ACCUMULATOR;
use crate::objective::effects::draws;
use crate::pass;
use crate::transform::State;
use foldhash::{HashMap, HashSet};
use gnp_base::contract::artifacts::{BUFFER_SUFFIX, OUT_SUFFIX, RESET};
use gnp_base::contract::{CONFIG_KEY, LOSS, NUMBERS_KEY, RANGES_KEY, STEP, VERSION_KEY};
use gnp_base::{Error, Result};
use gnp_checkpoint::{Checkpoint, Element, Value as Tensor};
use gnp_gradient::loss::Tally;
use gnp_model::graph::{Builder, Fact, Graph, Value};
use gnp_model::onnx::proto::{MICROSOFT, NodeProto, TensorProto, ValueInfoProto};
use gnp_model::onnx::{DataType, Model, Payloads};
use std::collections::BTreeMap;

/// Puts the training model into `model`, which has the header and the data inputs, and returns the checkpoint that
/// training begins with. In `parts` the next value of a parameter is the direction u of the optimizer's step θ − lr·u.
///
/// # Errors
/// Where a name that the runtime gives a meaning to is taken, or an operator is newer than the runtime.
pub fn assemble(model: &mut Model, mut graph: Graph, parts: &Parts, config: &Config) -> Result<Checkpoint> {
    check_names(&graph, parts, &config.interface)?;
    let mut checkpoint = Checkpoint::default();
    take_parameters(model, &mut graph, parts, &mut checkpoint)?;
    let interface = &config.interface;
    let numbers = numbers(&mut graph, parts, interface);

    let frozen: Vec<&State> = parts.statistics.iter().chain(parts.slots.iter().map(|(slot, _)| slot)).collect();
    let written = keep(&mut graph, &frozen, parts.step.as_ref(), [&parts.loss, &parts.metrics.mixed_gradient_norm]);
    let accumulated = accumulate(&mut graph, parts);
    let results = results(parts, interface);
    let named = results.iter().map(|(name, value, _)| (value, name.clone()));
    let flags = parts.parameters.iter().map(|p| format!("{}{OUT_SUFFIX}", p.name));
    name_results(&mut graph, &named.chain(accumulated.iter().zip(flags.clone())).collect::<Vec<_>>());

    let flag = Fact::with_sizes(DataType::Bool, &[1]);
    let mut outputs: Vec<ValueInfoProto> = results.iter().map(|(name, _, fact)| fact.info(name)).collect();
    outputs.extend(flags.map(|name| flag.info(&name)));
    graph.declare_outputs(outputs);
    graph.clear_types();
    graph.retain_needed_and(&written);
    let parameters = parts.parameters.iter().chain(frozen).map(|state| &state.name);
    let parameters = parameters.map(|name| info(&graph, name)).collect::<Result<Vec<_>>>()?;
    let buffers = parts.parameters.iter().zip(&parameters);
    let buffers: Vec<_> = buffers.map(|(p, info)| renamed(info, format!("{}{BUFFER_SUFFIX}", p.name))).collect();
    let counter = parts.step.as_ref().map(|_| Fact::with_sizes(COUNTER_ELEMENT, &[]).info(STEP));
    graph.declare_inputs(parts.labels.iter().map(|(name, labels)| labels.info(name)).chain(numbers));
    graph.declare_inputs(parameters.into_iter().chain(counter).chain(buffers).chain([flag.info(RESET)]));

    model.graph = graph.into_proto();
    model.graph.node.iter_mut().for_each(follow_the_process);
    versions::other_domains(&model.graph).iter().for_each(|domain| model.import(domain, 1));
    versions::lower(model)?;
    let json = |e: serde_json::Error| Error::internal(format!("cannot encode the metadata: {e}"));
    model.add_metadata(VERSION_KEY, env!("CARGO_PKG_VERSION"));
    model.add_metadata(CONFIG_KEY, serde_json::to_string(config).map_err(json)?);
    model.add_metadata(RANGES_KEY, serde_json::to_string(&parts.ranges).map_err(json)?);
    let fed = parts.hyperparameters.iter().filter(|number| interface.exposes(number.name));
    let fed: BTreeMap<&str, f32> = fed.map(|number| (number.name, number.default)).collect();
    if !fed.is_empty() {
        model.add_metadata(NUMBERS_KEY, serde_json::to_string(&fed).map_err(json)?);
    }
    Ok(checkpoint)
}

/// Refuses data inputs and outputs that the runtime would take for gradients, and values whose names are needed.
fn check_names(graph: &Graph, parts: &Parts, interface: &Interface) -> Result<()> {
    let refused =
        |what: String, name: &str| Err(Error::input(what).help(format!("give it another name: {}", rename_flag(name))));
    let mut inputs = graph.proto().input.iter().map(|input| input.name());
    if let Some(input) = inputs.find(|name| names::is_of_a_gradient(name)) {
        return refused(format!("the model has an input `{input}`, which ONNX Runtime takes for a gradient"), input);
    }
    let results = results(parts, interface);
    if let Some((output, ..)) = results.iter().find(|(name, ..)| names::is_of_a_gradient(name)) {
        return refused(format!("the model has an output `{output}`, which ONNX Runtime takes for a gradient"), output);
    }
    let suffixed = |suffix: &'static str| parts.parameters.iter().map(move |p| format!("{}{suffix}", p.name));
    let of_gradients: Vec<String> = suffixed(BUFFER_SUFFIX).chain(suffixed(OUT_SUFFIX)).collect();
    let slots = parts.slots.iter().map(|(slot, _)| &*slot.name);
    let needed = of_gradients.iter().map(String::as_str).chain([RESET]).chain(slots);
    match names::first_taken(graph, needed) {
        Some(name) => refused(format!("the model has a value `{name}`, and the training model needs the name"), name),
        None => Ok(()),
    }
}

/// Moves parameters and statistics from the graph into the checkpoint, and adds what the optimizer keeps.
fn take_parameters(model: &Model, graph: &mut Graph, parts: &Parts, checkpoint: &mut Checkpoint) -> Result<()> {
    let state = parts.parameters.iter().map(|state| (state, true));
    let state = state.chain(parts.statistics.iter().map(|state| (state, false)));
    let names: HashSet<&str> = state.clone().map(|(state, _)| &*state.name).collect();
    let taken = graph.take_initializers(|name| names.contains(name));
    let taken: HashMap<&str, &TensorProto> = taken.iter().map(|tensor| (tensor.name(), tensor)).collect();
    let mut payloads = Payloads::new(model.folder());
    for (state, trains) in state {
        let tensor = taken.get(&*state.name).ok_or_else(|| no_value(&state.name))?;
        let fact = Fact::with_sizes(tensor.element().unwrap_or_default(), &tensor.dims);
        graph.declare(&state.name, fact);
        let sizes = tensor.dims.iter().map(|&size| size as usize).collect();
        let payload = payloads.of(tensor)?.filter(|_| tensor.element() == Some(DataType::Float));
        let payload = payload.ok_or_else(|| no_value(&state.name))?;
        let of = Tensor::new(Element::Float32, sizes, payload).map_err(|e| e.at_node(&state.name, "initializer"))?;
        let place = if trains { &mut checkpoint.trainable } else { &mut checkpoint.frozen };
        place.insert(state.name.to_string(), of);
    }
    for (slot, fact) in &parts.slots {
        let sizes = fact.sizes().unwrap_or_default().into_iter().map(|size| size as usize).collect();
        checkpoint.frozen.insert(slot.name.to_string(), Tensor::zeros(Element::Float32, sizes)?);
    }
    if parts.step.is_some() {
        checkpoint.frozen.insert(STEP.into(), Tensor::zeros(Element::Float32, vec![])?);
    }
    Ok(())
}

fn no_value(name: &str) -> Error {
    Error::unsupported(format!("the parameter `{name}` has no float32 elements in the file"))
        .help("export the model with it as a float32 initializer, or leave it out with --freeze")
}

/// The hyperparameters: those that are fed, as inputs; the others become constants of the graph.
fn numbers(graph: &mut Graph, parts: &Parts, interface: &Interface) -> Vec<ValueInfoProto> {
    let mut fed = Vec::new();
    for number in &parts.hyperparameters {
        if interface.exposes(number.name) {
            fed.push(Fact::with_sizes(DataType::Float, &[]).info(number.name));
        } else {
            graph.add_initializer(number.initializer());
        }
    }
    fed
}

/// What the application sees of a step, in order: by name, the value, what it is.
fn results(parts: &Parts, interface: &Interface) -> Vec<(String, Value, Fact)> {
    let scalar =
        |(name, value): (&str, &Value)| (name.to_owned(), value.clone(), Fact::with_sizes(DataType::Float, &[]));
    let mut results = vec![scalar((LOSS, &parts.loss))];
    if !interface.loss_alone {
        results.extend(parts.logits.iter().map(|(value, fact)| (value.to_string(), value.clone(), fact.clone())));
    }
    if interface.metrics {
        results.extend(parts.metrics.named().into_iter().map(scalar));
        results.extend(parts.tally.iter().flat_map(Tally::named).map(scalar));
        results.extend(parts.losses.iter().map(|(name, value)| scalar((name, value))));
    }
    results
}

/// Adds each direction to its buffer.
fn accumulate(graph: &mut Graph, parts: &Parts) -> Vec<Value> {
    let b = Builder::new(graph, pass::ACCUMULATE);
    let flag = Fact::with_sizes(DataType::Bool, &[1]);
    let add = |parameter: &State| {
        let buffer = format!("{}{BUFFER_SUFFIX}", parameter.name);
        let inputs = [&buffer.as_str().into(), &parameter.next, &RESET.into()];
        b.named_in(&parameter.name, (MICROSOFT, ACCUMULATOR), &inputs, vec![], flag.clone())
    };
    parts.parameters.iter().map(add).collect()
}

fn info(graph: &Graph, name: &Value) -> Result<ValueInfoProto> {
    let fact = graph.facts().get(name).ok_or_else(|| Error::internal(format!("`{name}` is of unknown shape")))?;
    Ok(fact.info(name))
}

fn renamed(info: &ValueInfoProto, name: String) -> ValueInfoProto {
    ValueInfoProto { name: Some(name), ..info.clone() }
}

/// Has what a node draws follow from the seed that the application gives to the process, and not from one of its own,
/// with which a run that is resumed would draw as at its beginning.
fn follow_the_process(node: &mut NodeProto) {
    if draws(node) {
        node.attribute.retain(|attribute| attribute.name() != "seed");
    }
    node.subgraphs_mut().flat_map(|body| &mut body.node).for_each(follow_the_process);
}

impl Interface {
    /// Whether the hyperparameter `name` is an input.
    pub fn exposes(&self, name: &str) -> bool {
        match name {
            gnp_base::contract::R => self.expose_r,
            gnp_base::contract::ALPHA => self.expose_alpha,
            _ => self.expose_others,
        }
    }
}
