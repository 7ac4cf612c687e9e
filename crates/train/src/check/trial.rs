//! A step on made-up data: whether an engine computes a model, which is more than that it loads it.

use gnp_base::contract::{GRAD_NORM, are_labels};
use gnp_base::{Error, Result};
use gnp_engine::{Engine, Rates};
use gnp_model::graph::{Dim, Fact};
use gnp_model::onnx::Model;
use gnp_model::shapes;
use gnp_tensor::{ElementType, Port, Tensor, finite};
use ndarray::{ArrayD, IxDyn};
use serde::Serialize;
use std::collections::BTreeMap;

/// What a step on made-up data comes to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// What was made up for the sizes that the model leaves open.
    pub sizes: BTreeMap<String, usize>,
    /// The loss.
    pub loss: f32,
    /// ‖∇L‖₂, where the model returns it.
    pub grad_norm: Option<f32>,
}

/// What is made up.
#[derive(Clone, Copy)]
struct Guess {
    /// The number of samples, where the model leaves it open.
    samples: usize,
    /// Every other size that the model leaves open.
    size: usize,
    /// Every whole number among the data: a token that a table has, a class of which there are two.
    whole: i64,
    /// Every whole number among the labels.
    class: i64,
}

/// Whole numbers that most models take, the most probable first: those of labels whose 0 means none, too.
const WHOLE: [(i64, i64); 3] = [(1, 0), (0, 0), (1, 1)];

/// Sizes that most models take: sequences, short ones, images.
const SIZES: [(usize, usize); 5] = [(2, 16), (2, 4), (2, 64), (2, 224), (8, 16)];

/// More elements than this are not made up unless the model asks for them.
const ELEMENTS: usize = 1 << 22;

/// Takes a step of `model`, which `engine` has loaded, on data that are made up, or would take it: nothing changes.
/// What a model wants is not in its file, so several guesses are tried.
///
/// # Errors
/// Where the engine computes none of them, or none comes to numbers that are finite.
pub(super) fn take(engine: &mut dyn Engine, model: &Model, rates: &Rates) -> Result<Trial> {
    let ports = engine.batch_ports().to_vec();
    let guesses = WHOLE
        .into_iter()
        .flat_map(|(whole, class)| SIZES.into_iter().map(move |(samples, size)| Guess { samples, size, whole, class }));
    let mut tried: Vec<Vec<Tensor>> = Vec::new();
    let (mut last, mut open) = (None, false);
    for guess in guesses {
        let (batch, sizes) = make_up(&ports, model, guess)?;
        let elements: usize = batch.iter().map(|tensor| tensor.shape().iter().product::<usize>()).sum();
        if tried.contains(&batch) || (elements > ELEMENTS && !tried.is_empty()) {
            continue;
        }
        open = !sizes.is_empty();
        match attempt(engine, &batch, rates) {
            Ok((loss, grad_norm)) => return Ok(Trial { sizes, loss, grad_norm }),
            Err(error) => last = Some(error),
        }
        tried.push(batch);
    }
    Err(last.unwrap_or_else(|| Error::internal("no data were made up")).more_help(&help(tried.len(), open)))
}

/// What to do where no guess is right; `open` says whether sizes were among the guesses.
fn help(guesses: usize, open: bool) -> String {
    let tried = if guesses > 1 { format!(", the last of {guesses} guesses at what it takes") } else { String::new() };
    let fix = if open { "fix the sizes that it takes with --dim NAME=SIZE; " } else { "" };
    format!(
        "this is a step on made-up data{tried}: floats from 0 to 1, small whole numbers. Where the model takes others, {fix}leave \
         --check out: gnp-run tries a step of the real data before it trains"
    )
}

/// The loss and ‖∇L‖₂.
fn attempt(engine: &mut dyn Engine, batch: &[Tensor], rates: &Rates) -> Result<(f32, Option<f32>)> {
    let returned = engine.rehearse(batch, rates)?;
    let names = engine.step_outputs();
    if let Some(found) = finite::of_outputs(names, &returned) {
        return Err(Error::engine(format!("a step comes to {}: `{}`", found.value, found.name)));
    }
    let loss = returned.first().and_then(Tensor::to_scalar).ok_or_else(|| Error::input("a step returns no loss"))?;
    Ok((loss, Tensor::scalar_named(names, &returned, GRAD_NORM)))
}

/// A batch for `ports`, and the sizes that were made up for it.
fn make_up(ports: &[Port], model: &Model, guess: Guess) -> Result<(Vec<Tensor>, BTreeMap<String, usize>)> {
    let mut sizes = BTreeMap::new();
    let mut shapes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let (labels, data): (Vec<&Port>, Vec<&Port>) = ports.iter().partition(|port| are_labels(&port.name));
    for port in data.into_iter().chain(labels) {
        let axes = axes(port, model);
        // The sizes of labels follow from those of the data.
        let is_new = |(size, name): &(Option<usize>, String)| size.is_none() && !sizes.contains_key(name);
        let follows = are_labels(&port.name) && axes.iter().any(is_new);
        let followed = if follows { follow(model, &shapes)? } else { BTreeMap::new() };
        let shape = axes.into_iter().enumerate().map(|(axis, (size, name))| {
            let made_up = if axis == 0 { guess.samples } else { guess.size };
            let made_up = followed.get(&name).copied().unwrap_or(made_up);
            size.unwrap_or_else(|| *sizes.entry(name).or_insert(made_up))
        });
        shapes.insert(&port.name, shape.collect());
    }
    let batch = ports.iter().map(|port| {
        let whole = if are_labels(&port.name) { guess.class } else { guess.whole };
        let whole = port.ranges.iter().filter_map(|range| range.last).fold(whole, i64::min);
        filled(port.element, &shapes[port.name.as_str()], whole)
    });
    Ok((batch.collect(), sizes))
}

/// The size of each axis of an input, where it is known, and the name of the size: equal names stand for equal sizes.
fn axes(port: &Port, model: &Model) -> Vec<(Option<usize>, String)> {
    let info = model.graph.input.iter().find(|input| input.name() == port.name);
    let shape = info.and_then(Fact::declared).and_then(|fact| fact.shape).unwrap_or_default();
    let named = port.dims.iter().enumerate().map(|(axis, &size)| match shape.get(axis) {
        Some(Dim::Symbol(name)) => (size, name.to_string()),
        _ => (size, format!("{}[{axis}]", port.name)),
    });
    named.collect()
}

/// What the model's operators make of inputs of these shapes: sizes, by the names that they have in general.
fn follow(model: &Model, inputs: &BTreeMap<&str, Vec<usize>>) -> Result<BTreeMap<String, usize>> {
    let mut fixed = model.clone();
    for info in &mut fixed.graph.input {
        if let (Some(shape), Some(mut fact)) = (inputs.get(info.name()), Fact::declared(info)) {
            fact.shape = Some(shape.iter().map(|&size| Dim::Known(size as i64)).collect());
            *info = fact.info(info.name());
        }
    }
    let (names, numbers) = (shapes::analyse(model, &BTreeMap::new())?, shapes::analyse(&fixed, &BTreeMap::new())?);
    let mut sizes = BTreeMap::new();
    for (value, fact) in names.iter() {
        let known = numbers.get(value).and_then(|fact| fact.shape.as_deref()).unwrap_or_default();
        for (dim, number) in fact.shape.iter().flatten().zip(known) {
            if let (Dim::Symbol(name), Dim::Known(number)) = (dim, number) {
                sizes.insert(name.to_string(), *number as usize);
            }
        }
    }
    Ok(sizes)
}

/// A tensor of numbers between 0 and 1 that look drawn at random, or of one whole number.
fn filled(element: ElementType, shape: &[usize], whole: i64) -> Tensor {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let dim = IxDyn(shape);
    match element {
        ElementType::F32 => {
            let mut index = 0.0;
            Tensor::F32(ArrayD::from_shape_simple_fn(dim, || {
                index += 1.0;
                (0.05 + 0.9 * (index * GOLDEN).fract()) as f32
            }))
        }
        ElementType::I32 => Tensor::I32(ArrayD::from_elem(dim, whole as i32)),
        ElementType::I64 => Tensor::I64(ArrayD::from_elem(dim, whole)),
    }
}
