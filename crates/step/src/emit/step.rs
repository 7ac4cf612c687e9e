//! The step model: an ordinary ONNX model that takes one whole training step.
//! [`gnp_base::contract`] says what its inputs and outputs are.

use crate::penalty::Metrics;
use crate::precision::Scaled;
use crate::transform::{Hyperparameter, State};
use foldhash::{HashMap, HashSet};
use gnp_base::choice::nearest;
use gnp_base::contract::Ranges;
use gnp_base::contract::functions;
use gnp_base::contract::{
    CONFIG_KEY, LABELS, LOSS, RANGES_KEY, SEED, STATE_KEY, STEP, VERSION_KEY, is_next, is_reserved, next,
};
use gnp_base::{Error, Result};
use gnp_gradient::loss::Tally;
use gnp_model::graph::{Fact, Graph, Value};
use gnp_model::onnx::proto::{TensorProto, ValueInfoProto};
use gnp_model::onnx::{DataType, Model};
use serde::Serialize;
use std::collections::BTreeMap;

/// Slots of more bytes than this, together, start as a sparse file of zeros beside the model.
const INLINE_ZEROS: usize = 64 << 20;

/// What a step model is made of.
#[derive(Debug)]
pub struct Parts {
    /// The inputs of the labels, if the loss has any.
    pub labels: Vec<(String, Fact)>,
    /// L(θ).
    pub loss: Value,
    /// The numbers that are returned behind it.
    pub metrics: Metrics,
    /// What follows for the scale of the loss, where it has one.
    pub scaled: Option<Scaled>,
    /// What is counted of the batch, where anything is.
    pub tally: Option<Tally>,
    /// Each of several losses, under the name that it is returned under.
    pub losses: Vec<(String, Value)>,
    /// The logits, where they are returned.
    pub logits: Vec<(Value, Fact)>,
    /// The numbers that may be fed.
    pub hyperparameters: Vec<Hyperparameter>,
    /// Whether anything is drawn.
    pub seeded: bool,
    /// The trainable parameters; each has an initializer.
    pub parameters: Vec<State>,
    /// The statistics that move with each step; each has an initializer.
    pub statistics: Vec<State>,
    /// What the optimizer keeps; zeros of the type and shape of what the second names.
    pub slots: Vec<(State, Fact)>,
    /// The next number of the step, where steps are counted.
    pub step: Option<Value>,
    /// What the inputs may hold.
    pub ranges: Ranges,
}

impl Parts {
    /// All that is kept from step to step.
    fn state(&self) -> Vec<State> {
        let counter = self.step.iter().map(|next| State { name: STEP.into(), next: next.clone() });
        let slots = self.slots.iter().map(|(slot, _)| slot);
        let numbers = self.numbers().map(|(number, _)| number);
        let kept = self.parameters.iter().chain(&self.statistics).chain(slots).chain(numbers);
        kept.cloned().chain(counter).collect()
    }

    /// Scalars that are kept, with their first values.
    fn numbers(&self) -> impl Iterator<Item = &(State, TensorProto)> {
        self.scaled.iter().flat_map(|scaled| &scaled.state)
    }

    /// The float scalars that are returned, with their names.
    fn scalars(&self) -> impl Iterator<Item = (&str, &Value)> {
        fn shorter<'a>((name, value): (&'static str, &'a Value)) -> (&'a str, &'a Value) {
            (name, value)
        }
        let tally = self.tally.iter().flat_map(Tally::named);
        let losses = self.losses.iter().map(|(name, value)| (&**name, value));
        let scaled = self.scaled.iter().flat_map(Scaled::named);
        let before = [(LOSS, &self.loss)].into_iter().chain(self.metrics.named()).chain(scaled);
        before.chain(tally).map(shorter).chain(losses)
    }
}

/// Other names for values of a model, by the names in its file.
pub type Renames = BTreeMap<String, String>;

/// The names of values that have another one in a step model than in the model's file.
#[derive(Clone, Debug, Default)]
pub struct Names {
    in_step: HashMap<String, String>,
    in_file: HashMap<String, String>,
}

impl Names {
    /// Gives way to the names of the step model: values are renamed as `renames` say, and inner values that have one of
    /// its names by a name of ours. An input may be called [`LABELS`], where the model has its own loss.
    ///
    /// # Errors
    /// Where an input of the model has another of these names; where the graph has no value to be renamed, or one of
    /// the new name.
    pub fn make_way(graph: &mut Graph, renames: &Renames) -> Result<Self> {
        let in_step = make_way(graph, renames)?;
        let in_file = in_step.iter().map(|(old, new)| (new.clone(), old.clone())).collect();
        Ok(Self { in_step, in_file })
    }

    /// What the value `name` of the file is called in the step model.
    pub fn in_step(&self, name: &str) -> Value {
        self.in_step.get(name).map_or(name, String::as_str).into()
    }

    /// What the value `name` of the step model is called in the file.
    pub fn in_file<'n>(&'n self, name: &'n str) -> &'n str {
        self.in_file.get(name).map_or(name, String::as_str)
    }
}

/// Renames; returns the new names by the old ones.
fn make_way(graph: &mut Graph, renames: &Renames) -> Result<HashMap<String, String>> {
    let inputs: HashSet<&str> = graph.proto().input.iter().map(|i| i.name()).collect();
    let outputs = graph.proto().node.iter().flat_map(|n| &n.output).map(String::as_str);
    let made: Vec<&str> = outputs.chain(graph.proto().initializer.iter().map(|t| t.name())).collect();
    let taken: HashSet<&str> = made.iter().chain(&inputs).copied().collect();
    check_renames(renames, &taken)?;
    let keeps = |name: &&str| !renames.contains_key(*name);
    if let Some(input) = inputs.iter().copied().filter(keeps).find(|name| is_reserved(name) && *name != LABELS) {
        return Err(Error::input(format!(
            "the model has an input `{input}`, which in a step model means something else"
        ))
        .help(format!("give it another name: {}", rename_flag(input))));
    }
    let free = |name: &str| {
        let candidates =
            (0..).map(|i| if i == 0 { format!("gnp/model/{name}") } else { format!("gnp/model/{name}.{i}") });
        candidates.into_iter().find(|new| !taken.contains(new.as_str()))
    };
    let clashing = made.iter().copied().filter(keeps).filter(|name| !inputs.contains(name));
    let clashing = clashing.filter(|name| is_reserved(name) || is_next(name));
    let mut names: HashMap<String, String> = clashing.filter_map(|name| Some((name.to_owned(), free(name)?))).collect();
    names.extend(renames.iter().map(|(old, new)| (old.clone(), new.clone())));
    graph.rename(&names);
    Ok(names)
}

/// Whether each of `renames` is of a value that there is, to a name that is free.
fn check_renames(renames: &Renames, taken: &HashSet<&str>) -> Result<()> {
    let mut given = HashSet::default();
    for (old, new) in renames {
        let error = |what: String| Error::input(format!("--rename {old}={new}: {what}"));
        if !taken.contains(old.as_str()) {
            return Err(error(format!("the model has no value `{old}`")).help(nearest(old, taken.iter().copied())));
        }
        if is_reserved(new) || is_next(new) {
            return Err(error(format!("`{new}` is a name of the step model's own")).help("choose another name"));
        }
        if !given.insert(new) || (taken.contains(new.as_str()) && !renames.contains_key(new)) {
            return Err(error(format!("there is a value `{new}` already")).help("choose another name"));
        }
    }
    Ok(())
}

/// The flag that gives a value which is in the way another name, and none that ONNX Runtime takes for a gradient.
pub(crate) fn rename_flag(name: &str) -> String {
    let ending = if name.ends_with("_grad") { "ient" } else { "" };
    format!("--rename '{name}=model_{}{ending}'", name.replace('.', "_"))
}

/// Declares inputs, outputs, initial values and metadata of the step model, and drops what it does not need. `model`
/// has the header and the data inputs; `config` is every choice made.
///
/// # Errors
/// Where a name of the state is taken already.
pub fn assemble(model: &mut Model, mut graph: Graph, parts: &Parts, config: &impl Serialize) -> Result<()> {
    let state = parts.state();
    let following = state.iter().map(|state| (&state.next, next(&state.name)));
    let results: Vec<(&Value, String)> =
        parts.scalars().map(|(name, value)| (value, name.to_owned())).chain(following).collect();
    check_names(&graph, parts, &state, &results)?;
    add_initial_values(&mut graph, parts);
    let (fed, following) = declared(&graph, parts, &state)?;

    name_results(&mut graph, &results);
    graph.declare_inputs(parts.labels.iter().map(|(name, labels)| labels.info(name)).chain(fed));
    let scalar = Fact::with_sizes(DataType::Float, &[]);
    let scalars = parts.scalars().map(|(name, _)| scalar.info(name));
    let logits = parts.logits.iter().map(|(value, fact)| fact.info(value));
    graph.declare_outputs(scalars.chain(logits).chain(following));
    graph.clear_types();
    graph.retain_needed();
    graph.carry_what_is_read();
    graph.fuse_elementwise();
    // What formulas have taken up.
    graph.retain_needed();

    model.header.functions = graph.take_functions();
    if !model.header.functions.is_empty() {
        model.import(functions::DOMAIN, 1);
    }
    model.graph = graph.into_proto();
    let pairs: Vec<_> = state.iter().map(|s| (s.name.to_string(), next(&s.name))).collect();
    let json = |e: serde_json::Error| Error::internal(format!("cannot encode the metadata: {e}"));
    model.add_metadata(VERSION_KEY, env!("CARGO_PKG_VERSION"));
    model.add_metadata(CONFIG_KEY, serde_json::to_string(config).map_err(json)?);
    model.add_metadata(STATE_KEY, serde_json::to_string(&pairs).map_err(json)?);
    model.add_metadata(RANGES_KEY, serde_json::to_string(&parts.ranges).map_err(json)?);
    Ok(())
}

/// Adds the values that slots, hyperparameters and counters have at first.
fn add_initial_values(graph: &mut Graph, parts: &Parts) {
    let zeros: usize = parts.slots.iter().map(|(_, fact)| byte_count(fact)).sum();
    for (slot, fact) in &parts.slots {
        graph.add_initializer(zero_tensor(&slot.name, fact, zeros <= INLINE_ZEROS));
    }
    for (_, first) in parts.numbers() {
        graph.add_initializer(first.clone());
    }
    for number in &parts.hyperparameters {
        graph.add_initializer(number.initializer());
    }
    let counters = parts.seeded.then_some(SEED).into_iter().chain(parts.step.as_ref().map(|_| STEP));
    for name in counters {
        graph.add_initializer(TensorProto::raw(name, DataType::Int64, &[], 0i64.to_le_bytes().to_vec().into()));
    }
}

/// What may be fed behind data and labels, and the state that is returned, as inputs and outputs.
fn declared(graph: &Graph, parts: &Parts, state: &[State]) -> Result<(Vec<ValueInfoProto>, Vec<ValueInfoProto>)> {
    let initial = graph.proto().initializer.iter();
    let initial: HashMap<&str, Fact> =
        initial.filter_map(|t| Some((t.name(), Fact::with_sizes(t.element()?, &t.dims)))).collect();
    let fact = |name: &str| {
        initial.get(name).ok_or_else(|| {
            Error::format(format!("the state `{name}` has no initial value of a known type"))
                .help("export the model with it as an initializer")
        })
    };
    let numbers = parts.hyperparameters.iter().map(|h| h.name).chain(parts.seeded.then_some(SEED));
    let fed = numbers.chain(state.iter().map(|s| &*s.name)).map(|name| Ok(fact(name)?.info(name)));
    let fed = fed.collect::<Result<_>>()?;
    let following = state.iter().map(|s| Ok(fact(&s.name)?.info(&next(&s.name))));
    Ok((fed, following.collect::<Result<_>>()?))
}

/// A value that is returned has the name under which it is; one that cannot, since it is an input, a constant, or
/// returned twice, is returned through an `Identity`.
pub(super) fn name_results(graph: &mut Graph, results: &[(&Value, String)]) {
    let wanted: HashSet<&str> = results.iter().map(|(value, _)| &***value).collect();
    let made = graph.nodes().iter().flat_map(|n| &n.output).filter(|output| wanted.contains(output.as_str()));
    let made: HashSet<&str> = made.map(String::as_str).collect();
    let mut names: HashMap<String, String> = HashMap::default();
    let mut aliases = Vec::new();
    for (value, name) in results {
        if made.contains(&***value) && !names.contains_key(&***value) {
            names.insert(value.to_string(), name.clone());
        } else {
            aliases.push((value, name));
        }
    }
    for (value, name) in aliases {
        graph.append_alias(value, name);
    }
    graph.rename(&names);
}

/// Whether no two of the names that a caller sees are the same, or are those of inner values.
fn check_names(graph: &Graph, parts: &Parts, state: &[State], results: &[(&Value, String)]) -> Result<()> {
    let proto = graph.proto();
    let inner =
        proto.node.iter().flat_map(|n| &n.output).map(String::as_str).chain(proto.input.iter().map(|i| i.name()));
    let own: HashSet<&str> = parts.parameters.iter().chain(&parts.statistics).map(|state| &*state.name).collect();
    let constants = proto.initializer.iter().map(|tensor| tensor.name()).filter(|name| !own.contains(name));
    let mut taken: HashSet<&str> = inner.chain(constants).collect();
    let numbers = parts.hyperparameters.iter().map(|h| h.name);
    let own = state.iter().map(|s| &*s.name).chain(results.iter().map(|(_, name)| name.as_str())).chain(numbers);
    for name in own {
        if !taken.insert(name) {
            return Err(Error::input(format!("the model has a value `{name}`, and the step model needs the name"))
                .help(format!("give it another name: {}", rename_flag(name))));
        }
    }
    Ok(())
}

fn zero_tensor(name: &str, fact: &Fact, inline: bool) -> TensorProto {
    let sizes = fact.sizes().unwrap_or_default();
    if inline {
        TensorProto::raw(name, fact.element, &sizes, vec![0; byte_count(fact)].into())
    } else {
        TensorProto::zeros_beside(name, fact.element, &sizes, byte_count(fact) as u64)
    }
}

fn byte_count(fact: &Fact) -> usize {
    let elements: i64 = fact.sizes().unwrap_or_default().iter().product();
    let bytes = if fact.element == DataType::Double || fact.element == DataType::Int64 { 8 } else { 4 };
    elements.max(0) as usize * bytes
}
