//! What an engine needs to know of a step model: which of its inputs and outputs is what, as [`gnp_base::contract`] has
//! it.

use super::{Rates, State, initializer};
use foldhash::{HashMap, HashSet};
use gnp_base::contract::Ranges;
use gnp_base::contract::{ALPHA, LABELS, LEARNING_RATE, R, RANGES_KEY, SEED, STATE_KEY};
use gnp_base::{Error, Result};
use gnp_model::graph::{Facts, for_each_use, ranges, tensor_type};
use gnp_model::onnx::Model;
use gnp_model::onnx::proto::{TensorProto, ValueInfoProto};
use gnp_tensor::{ElementType, Port, Tensor};
use std::path::Path;

/// An input that holds for one step: what is not given has the value in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Hyperparameter {
    /// The name of the input, a scalar.
    pub name: String,
    /// The value in the file: one float32, or one int64 for [`SEED`].
    pub default: Tensor,
}

/// An input whose value one step hands to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct StateSlot {
    /// The input, with its whole shape.
    pub port: Port,
    /// The output that is its next value.
    pub next: String,
}

/// What a step model takes and returns.
#[derive(Clone, Debug, PartialEq)]
pub struct StepModel {
    /// The data inputs, then the labels.
    pub batch: Vec<Port>,
    /// The hyperparameters, in the file's order.
    pub hyperparameters: Vec<Hyperparameter>,
    /// The state, in the file's order.
    pub state: Vec<StateSlot>,
    /// The loss, then the metrics: what is not handed to the next step.
    pub outputs: Vec<String>,
}

impl StepModel {
    /// Whether `model` says that it is a step model.
    pub fn is_one(model: &Model) -> bool {
        model.metadata(STATE_KEY).is_some()
    }

    /// The step model in `model`.
    ///
    /// # Errors
    /// Where it is none, or its inputs and outputs are not those of its metadata; the message names the file.
    pub fn recognise(model: &Model) -> Result<Self> {
        recognise(model).map_err(|e| e.in_file(model.path()))
    }

    /// The input for the labels, where it has one.
    pub fn labels(&self) -> Option<&Port> {
        self.batch.iter().find(|port| port.name == LABELS)
    }

    /// The value in the file of the hyperparameter `name`, as a float.
    pub fn default_of(&self, name: &str) -> Option<f32> {
        self.hyperparameters.iter().find(|h| h.name == name)?.default.to_scalar()
    }

    /// The state in the file: where training begins.
    ///
    /// # Errors
    /// Where the initializers cannot be read.
    pub fn initial_state(&self, model: &Model) -> Result<State> {
        let initializers = initializers(model);
        self.state
            .iter()
            .map(|slot| {
                let name = &slot.port.name;
                let tensor = initializers.get(name.as_str()).ok_or_else(|| no_default(name))?;
                Ok((name.clone(), initializer::read(tensor, model.folder())?))
            })
            .collect::<Result<_>>()
            .map_err(|e| e.in_file(model.path()))
    }

    /// The tensors of `state`, in the order of the slots.
    ///
    /// # Errors
    /// Where it is not a state of this model: one is missing, one too many, or of another element type or shape. Where
    /// an element is NaN or infinite.
    pub fn in_order<'s>(&self, state: &'s State) -> Result<Vec<&'s Tensor>> {
        state.in_order_of(self.state.iter().map(|slot| &slot.port))
    }

    /// The hyperparameters that a step with `rates` is taken with, by their index: those that `rates` gives, and the
    /// seed.
    ///
    /// # Errors
    /// Where `rates` gives one that the model does not have.
    pub fn given(&self, rates: &Rates, seed: i64) -> Result<Vec<(usize, Tensor)>> {
        let others = rates.others.iter().map(|(name, &value)| (name.as_str(), value));
        let known = [(LEARNING_RATE, Some(rates.learning_rate)), (R, rates.r), (ALPHA, rates.alpha)];
        let known = known.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let mut given = Vec::with_capacity(self.hyperparameters.len());
        for (name, value) in known.chain(others) {
            let index =
                self.hyperparameters.iter().position(|h| h.name == name && h.default.element() == ElementType::F32);
            match index {
                Some(index) => given.push((index, Tensor::scalar(value))),
                // An optimizer without a learning rate is one that the loop need not know of.
                None if name == LEARNING_RATE => {}
                None => return Err(self.unknown(name)),
            }
        }
        let seeded = self.hyperparameters.iter().position(|h| h.name == SEED);
        given.extend(seeded.map(|index| (index, Tensor::I64(ndarray::arr0(seed).into_dyn()))));
        Ok(given)
    }

    fn unknown(&self, name: &str) -> Error {
        let known: Vec<&str> = self.hyperparameters.iter().map(|h| h.name.as_str()).filter(|&n| n != SEED).collect();
        Error::input(format!("the step model has no hyperparameter `{name}`"))
            .help(format!("it has {}", known.join(", ")))
    }
}

/// Which numbers the inputs may hold: what the model says of itself, else what its graph tells.
pub(crate) fn ranges_of(model: &Model) -> Result<Ranges> {
    match model.metadata(RANGES_KEY) {
        Some(ranges) => serde_json::from_str(ranges)
            .map_err(|e| Error::format(format!("the metadata `{RANGES_KEY}` are no ranges of inputs: {e}"))),
        None => Ok(ranges(&model.graph, &Facts::declared(&model.graph))),
    }
}

fn recognise(model: &Model) -> Result<StepModel> {
    let pairs = model.metadata(STATE_KEY).ok_or_else(|| {
        Error::format(format!("not a step model: its metadata has no `{STATE_KEY}`"))
            .help("gnp-rewrite makes a step model of an ordinary one")
    })?;
    let pairs: Vec<(String, String)> = serde_json::from_str(pairs)
        .map_err(|e| Error::format(format!("the metadata `{STATE_KEY}` is no list of pairs of names: {e}")))?;
    let nexts: HashMap<&str, &str> = pairs.iter().map(|(input, next)| (input.as_str(), next.as_str())).collect();
    let initializers = initializers(model);

    let mut ranges = ranges_of(model)?;
    let (mut batch, mut hyperparameters, mut state) = (Vec::new(), Vec::new(), Vec::new());
    for input in &model.graph.input {
        let name = input.name();
        let initializer = initializers.get(name);
        match (nexts.get(name), initializer) {
            (Some(&next), Some(initializer)) => {
                let mut port = port(input)?;
                port.dims = initializer.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
                state.push(StateSlot { port, next: next.to_owned() });
            }
            (Some(_), None) => return Err(no_default(name)),
            (None, Some(initializer)) => hyperparameters.push(hyperparameter(name, initializer, model.folder())?),
            (None, None) => {
                let ranges = Ranges::remove(&mut ranges, name).unwrap_or_default();
                batch.push(Port { ranges, ..port(input)? });
            }
        }
    }
    let slots: HashSet<&str> = state.iter().map(|slot| slot.port.name.as_str()).collect();
    let returned: HashSet<&str> = model.graph.output.iter().map(|output| output.name()).collect();
    let faulty = |name: &str, what: &str| {
        Error::format(format!("the metadata `{STATE_KEY}` names `{name}`, which is no {what}"))
    };
    for (input, next) in &pairs {
        if !slots.contains(input.as_str()) {
            return Err(faulty(input, "input"));
        }
        if !returned.contains(next.as_str()) {
            return Err(faulty(next, "output"));
        }
    }
    let next: HashSet<&str> = nexts.into_values().collect();
    let outputs = model.graph.output.iter().map(|output| output.name()).filter(|name| !next.contains(name));
    let outputs: Vec<String> = outputs.map(str::to_owned).collect();
    if outputs.is_empty() {
        return Err(Error::format("the step model returns no loss"));
    }
    Ok(StepModel { batch, hyperparameters, state, outputs })
}

/// What an evaluation model takes from a step model, under the same names, and what it returns.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalModel {
    /// The parts of the batch that it takes, by their index.
    pub batch: Vec<usize>,
    /// The parts of the state that it reads, by their index.
    pub state: Vec<usize>,
    /// The loss, then what else it returns.
    pub outputs: Vec<String>,
}

impl EvalModel {
    /// The evaluation model in `model`, for `step`.
    ///
    /// # Errors
    /// Where it takes what is neither part of the batch nor of the state and has no initializer, or returns nothing;
    /// the message names the file.
    pub fn recognise(model: &Model, step: &StepModel) -> Result<Self> {
        let (initializers, read) = (initializers(model), read_names(model));
        let (mut batch, mut state) = (Vec::new(), Vec::new());
        for name in model.graph.input.iter().map(|input| input.name()) {
            if initializers.contains_key(name) && !read.contains(name) {
                continue;
            }
            if let Some(index) = step.batch.iter().position(|port| port.name == name) {
                batch.push(index);
            } else if let Some(index) = step.state.iter().position(|slot| slot.port.name == name) {
                state.push(index);
            } else if !initializers.contains_key(name) {
                let error =
                    Error::input(format!("the evaluation model takes `{name}`, which the step model does not have"));
                return Err(error.help("make both from the same model").in_file(model.path()));
            }
        }
        let outputs: Vec<String> = model.graph.output.iter().map(|output| output.name().to_owned()).collect();
        if outputs.is_empty() {
            return Err(Error::format("the evaluation model returns no loss").in_file(model.path()));
        }
        Ok(Self { batch, state, outputs })
    }
}

/// What the graph reads or returns. An input that it does neither with is declared, but ONNX Runtime takes no value for
/// it.
pub(super) fn read_names(model: &Model) -> HashSet<&str> {
    let mut names: HashSet<&str> = model.graph.output.iter().map(|output| output.name()).collect();
    for node in &model.graph.node {
        for_each_use(node, &mut |name| _ = names.insert(name));
    }
    names
}

fn initializers(model: &Model) -> HashMap<&str, &TensorProto> {
    model.graph.initializer.iter().map(|tensor| (tensor.name(), tensor)).collect()
}

fn port(input: &ValueInfoProto) -> Result<Port> {
    crate::ports::of(input).ok_or_else(|| {
        if tensor_type(input).is_some_and(|tensor| tensor.shape.is_none()) {
            return Error::input(format!("the number of axes of the input `{}` is not known", input.name()))
                .help("export the model with the shapes of its inputs and outputs");
        }
        Error::input(format!("the input `{}` is no tensor of float32, int32 or int64", input.name()))
            .help("cast inside the model")
    })
}

fn hyperparameter(name: &str, initializer: &TensorProto, folder: &Path) -> Result<Hyperparameter> {
    let default = initializer::read(initializer, folder)?;
    let fits = match default.element() {
        ElementType::F32 => default.to_scalar().is_some(),
        ElementType::I64 => name == SEED,
        ElementType::I32 => false,
    };
    if fits {
        return Ok(Hyperparameter { name: name.to_owned(), default });
    }
    Err(Error::input(format!("the hyperparameter `{name}` is no single float32")))
}

fn no_default(name: &str) -> Error {
    Error::format(format!("the state `{name}` has no initializer, so there is nothing to begin with"))
}

/// That a step model was loaded without one to evaluate it with.
#[cfg(any(feature = "ort", feature = "tract"))]
pub(super) fn no_evaluation() -> Error {
    Error::input("there is no evaluation model").help("name one, or evaluate with another program")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_is_given_where_the_model_draws() {
        let scalar = |name: &str, default| Hyperparameter { name: name.into(), default };
        let seed = |value: i64| Tensor::I64(ndarray::arr0(value).into_dyn());
        let mut model = StepModel {
            batch: vec![],
            hyperparameters: vec![scalar(SEED, seed(0)), scalar(LEARNING_RATE, Tensor::scalar(0.1))],
            state: vec![],
            outputs: vec![],
        };
        let rates = Rates::new(0.5);
        assert_eq!(model.given(&rates, 7).unwrap(), [(1, Tensor::scalar(0.5)), (0, seed(7))]);
        model.hyperparameters.remove(0);
        assert_eq!(model.given(&rates, 7).unwrap(), [(0, Tensor::scalar(0.5))]);
        let error = model.given(&Rates { r: Some(0.1), ..rates }, 7).unwrap_err();
        assert_eq!(error.to_string(), "the step model has no hyperparameter `gnp.r`");
    }
}
