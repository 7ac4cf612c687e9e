//! From a trained state back to the forward model, and the model that evaluates it on the way.

use super::forward::{Analysed, StepConfig};
use crate::emit::evaluation::{self, Evaluated};
use crate::emit::step::Names;
use crate::emit::trained::{self, Trained};
use crate::pass;
use crate::weights::{self, lora};
use foldhash::{HashMap, HashSet};
use gnp_base::{Error, Result};
use gnp_gradient::autodiff::Gradients;
use gnp_gradient::loss::{Term, Total};
use gnp_gradient::lowering::{self, BatchNorm, Computes, Dropout, Random, Settings, StraightThrough};
use gnp_model::float32;
use gnp_model::graph::{Builder, Graph};
use gnp_model::normalise::{Place, normalise, normalise_converting};
use gnp_model::onnx::Model;

/// Makes the evaluation model of a forward model: the loss of `config`, without label smoothing and L2, and the
/// predictions, in float32; nodes that train differently from how they infer infer. `state` names the step model's state.
///
/// # Errors
/// Where the model is not the one that the step model was made of.
pub fn make_evaluation(model: Model, config: &StepConfig, state: &[String]) -> Result<Model> {
    evaluation_for(Computes::Any, model, config, state)
}

/// The same for one engine, or any.
///
/// # Errors
/// As [`make_evaluation`].
pub(super) fn evaluation_for(
    computes: Computes,
    mut model: Model,
    config: &StepConfig,
    state: &[String],
) -> Result<Model> {
    let path = model.path().to_owned();
    let state: HashSet<&str> = state.iter().map(String::as_str).collect();
    evaluation_of(&mut model, config, &state, computes).map_err(|e| e.in_file(path))?;
    Ok(model)
}

/// What trains differently from how it infers infers.
const INFERENCE: Settings = Settings {
    batch_norm: BatchNorm::Frozen,
    dropout: Dropout::Off,
    random: Random::Engine,
    straight_through: StraightThrough::Off,
};

fn evaluation_of(model: &mut Model, config: &StepConfig, state: &HashSet<&str>, computes: Computes) -> Result<()> {
    let is_adapted = config.edits.iter().any(|edit| edit.adapter().is_some());
    let converts = |name: &str| !is_adapted || state.contains(name);
    float32::convert(model, &converts)?;
    weights::apply(&mut model.graph, &config.edits)?;
    normalise_converting(model, &converts)?;
    let mut graph = Analysed::of(model, &config.dims, config.end())?.graph;
    let names = Names::make_way(&mut graph, &config.renames)?;
    let check = |value: &str| match graph.facts().get(&names.in_step(value)) {
        Some(_) => Ok(()),
        None => Err(Error::input(format!("the model has no value `{value}`, of which the loss is taken"))
            .help("name the model that the step model was made of")),
    };
    let ends = config.end().into_iter().chain(config.terms.iter().map(|term| &*term.value));
    ends.into_iter().try_for_each(check)?;
    evaluation::infer(&mut graph)?;
    lowering::lower(&mut graph, &INFERENCE, Gradients::Standard, &Default::default())?;
    let end = names.in_step(&config.logits);
    let b = Builder::new(&mut graph, pass::LOSS);
    let total = match (&config.loss, &config.terms[..]) {
        (Some(loss), _) => {
            let plain = loss.clone().without_smoothing();
            Some(Total::of(&b, &plain, end.clone(), Gradients::Standard, &mut |_, _| None)?)
        }
        (None, []) => None,
        (None, terms) => {
            let plain = terms.iter().cloned().map(|term| Term { loss: term.loss.without_smoothing(), ..term });
            let plain: Vec<Term> = plain.collect();
            Some(Total::sum(&b, &plain, |value| names.in_step(value), Gradients::Standard, &mut |_, _| None)?)
        }
    };
    drop(b);
    lowering::expand(&mut graph, computes)?;
    let evaluated = total.as_ref().map_or(Evaluated::Own(&end), Evaluated::Put);
    evaluation::assemble(model, graph, evaluated, state);
    Ok(())
}

/// Puts trained tensors, by the names that they have in the step model's state, into the forward model `original`, of
/// which a step model was made with `config`; weights that its edits give a tensor of their own get one there too.
/// Adapters become part of their weights, or nodes beside them. All of it has the types that the model has, and is rounded
/// to them. What is of the state but not of the model (optimizer slots, the number of the step) is left out.
///
/// # Errors
/// As [`trained::replace`]; where the model lacks what the edits change, or a weight is held in a form that takes no
/// adapters up.
pub fn restore(original: &mut Model, state: Vec<Trained>, config: &StepConfig) -> Result<()> {
    let path = original.path().to_owned();
    put_back(original, state, config).map_err(|e| e.in_file(path))
}

fn put_back(original: &mut Model, state: Vec<Trained>, config: &StepConfig) -> Result<()> {
    weights::separate(&mut original.graph, &config.edits)?;
    let (kept, merged) = lora::parted(&config.edits, config.lora_write);
    lora::put(&mut original.graph, kept.into_iter())?;
    // The names of the state are those of the normalised model, which knows too what it made into initializers. They are
    // the same in any type, and its weights are not made float32 for them.
    let mut normalised = original.clone();
    let moved = normalise(&mut normalised)?.moved;
    let mut graph = Graph::new(std::mem::take(&mut normalised.graph))?;
    let names = Names::make_way(&mut graph, &config.renames)?;
    let state = state.into_iter().map(|t| Trained { name: names.in_file(&t.name).to_owned(), ..t });
    let state: HashMap<String, Trained> = state.map(|t| (t.name.clone(), t)).collect();
    let constants = graph.proto().initializer.iter().map(|t| (names.in_file(t.name()), t)).collect();
    let taken_up = lora::taken_up(&merged, &state, &constants, original.folder())?;
    let trained = state.into_values().filter(|t| constants.contains_key(t.name.as_str()));
    let mut trained: Vec<Trained> = trained.chain(taken_up).collect();
    trained::tie(&mut trained, &config.edits);
    let places: HashMap<&str, &Place> = moved.iter().filter_map(|moved| moved.place()).collect();
    let mut of_main = Vec::new();
    for tensor in trained {
        match places.get(tensor.name.as_str()).map(|place| (place, place.body(&mut original.graph))) {
            None => of_main.push(tensor),
            Some((_, None)) => return Err(Error::internal(format!("the body of `{}` is not there", tensor.name))),
            Some((place, Some(body))) => {
                trained::replace(body, vec![Trained { name: place.name.clone(), ..tensor }])?;
            }
        }
    }
    trained::replace(&mut original.graph, of_main)
}
