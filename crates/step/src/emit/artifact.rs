//! An artifact in, an artifact out: the same inputs, outputs and state, with the penalised gradient in the
//! accumulators; and, on request, an optimizer's state and a warm-up of the penalty before them ([`Inside`]).

use super::training::{self, COUNTER_ELEMENT, keep};
use crate::objective::{Artifact, Objective as _};
use crate::pass;
use crate::penalty::{self, Coefficients, Metrics, Penalty, Warmup};
use crate::transform::{Chain, Factors, Fed, FusedOptimizer, Hyperparameter, Optimizer, State, Training};
use gnp_base::contract::artifacts::BUFFER_SUFFIX;
use gnp_base::contract::{ALPHA, CONFIG_KEY, R, STEP, VERSION_KEY};
use gnp_base::{Error, Result};
use gnp_model::graph::{Builder, Fact, Graph, scalar_info};
use gnp_model::onnx::{DataType, Model};
use serde::{Deserialize, Serialize};

/// The oldest `ai.onnx` operator set that has the operators that are added, with broadcasting.
const OLDEST_OPSET: i64 = 9;

/// What to put into an artifact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The penalty.
    #[serde(flatten)]
    pub penalty: Penalty,
    /// Make r the input [`R`] (float scalar) in place of a constant.
    pub expose_r: bool,
    /// Make α the input [`ALPHA`] (float scalar) in place of a constant.
    pub expose_alpha: bool,
    /// Return the [`Metrics`] after the outputs that the application knows.
    pub metrics: bool,
}

impl Settings {
    /// The settings that stand in the metadata of a rewritten model; none in one that was not rewritten.
    ///
    /// # Errors
    /// Where the metadata is damaged.
    pub fn of(model: &Model) -> Result<Option<Self>> {
        let Some(config) = model.metadata(CONFIG_KEY) else { return Ok(None) };
        serde_json::from_str(config).map(Some).map_err(|e| {
            Error::format(format!("the settings in the model's metadata `{CONFIG_KEY}` are damaged: {e}"))
                .in_file(model.path())
                .help("rewrite the original training model again")
        })
    }

    /// Whether the penalty's numbers are constants of plain training.
    pub fn is_plain(&self) -> bool {
        // A number that is exposed may be any.
        let constant = |number: f32, exposed: bool| if exposed { f32::NAN } else { number };
        let r = constant(self.penalty.r, self.expose_r);
        let alpha = constant(self.penalty.alpha, self.expose_alpha);
        Penalty { r, alpha, ..self.penalty }.is_plain()
    }
}

/// What else is put in front of the accumulators. What of it is kept from step to step is a parameter of the checkpoint
/// that does not train.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inside {
    /// Gradient transformations behind the penalty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<Optimizer>,
    /// Whether they are a whole optimizer, in place of that of the artifacts; else that one comes behind them.
    pub replaces: bool,
    /// What of the penalty is warmed up.
    pub warmup: Warmup,
    /// For so many steps.
    pub warmup_steps: u32,
}

impl Inside {
    /// Whether there is nothing else.
    pub fn is_nothing(&self) -> bool {
        self.optimizer.is_none() && self.warmup == Warmup::None
    }

    /// The transformations, their factors for `parameters`, and what takes the step in place of what did.
    fn transforms(&self, parameters: &[&str]) -> Result<Option<(Chain, Factors, Option<FusedOptimizer>)>> {
        let Some(optimizer) = &self.optimizer else { return Ok(None) };
        let factors = optimizer.factors(parameters)?;
        if !self.replaces {
            return Ok(Some((optimizer.chain(&factors), factors, None)));
        }
        let (chain, fused) = optimizer.split(&factors);
        Ok(Some((chain, factors, Some(fused))))
    }

    fn validate(&self) -> Result<()> {
        self.warmup.check_length(self.warmup_steps)?;
        self.optimizer.as_ref().map_or(Ok(()), Optimizer::validate)
    }
}

/// What a rewritten training model needs of the other artifacts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Needs {
    /// Parameters that do not train, float32 zeros at first, with their sizes.
    pub kept: Vec<(String, Vec<i64>)>,
    /// The optimizer that takes the place of the artifacts' own, where one does.
    pub fused: Option<FusedOptimizer>,
}

/// What stands in the metadata of a rewritten training model.
#[derive(Serialize)]
struct Config<'a> {
    #[serde(flatten)]
    settings: &'a Settings,
    #[serde(skip_serializing_if = "Inside::is_nothing")]
    inside: &'a Inside,
}

/// Puts the penalty into a training model, and what is to stand before the accumulators.
///
/// # Errors
/// Where the settings are out of range, the operator set is too old, or the objective cannot be evaluated twice; where
/// the graph has a value of a name that is needed.
pub fn penalise(model: &mut Model, artifact: &Artifact, settings: &Settings, inside: &Inside) -> Result<Needs> {
    settings.penalty.validate()?;
    inside.validate()?;
    let needs = penalise_graph(model, artifact, settings, inside).map_err(|e| e.in_file(model.path()))?;
    let config = serde_json::to_string(&Config { settings, inside })
        .map_err(|e| Error::internal(format!("cannot encode the settings: {e}")))?;
    model.add_metadata(VERSION_KEY, env!("CARGO_PKG_VERSION"));
    model.add_metadata(CONFIG_KEY, config);
    Ok(needs)
}

fn penalise_graph(model: &mut Model, artifact: &Artifact, settings: &Settings, inside: &Inside) -> Result<Needs> {
    match model.opset("") {
        Some(version) if version >= OLDEST_OPSET => {}
        version => {
            let found = version.map_or("none".to_owned(), |v| v.to_string());
            return Err(Error::unsupported(format!(
                "the model's ai.onnx operator set is {found}; expected {OLDEST_OPSET} or newer"
            ))
            .help("make the artifacts again from a forward model of a newer operator set"));
        }
    }
    // The graph is put back only when all went well, which is the only case in which the model is used again.
    let mut graph = Graph::new(std::mem::take(&mut model.graph))?;
    artifact.check_order(&graph)?;
    let mut position = artifact.labels_end();
    for (name, is_exposed) in [(R, settings.expose_r), (ALPHA, settings.expose_alpha)] {
        if is_exposed {
            graph.insert_input(position, scalar_info(name, DataType::Float))?;
            position += 1;
        }
    }
    let names: Vec<&str> = artifact.parameters().iter().map(|parameter| &**parameter).collect();
    let transforms = inside.transforms(&names)?;

    let mut training = Training::new(Builder::new(&mut graph, pass::UPDATE), artifact.parameters());
    let fed = Fed { learning_rate: false, r: settings.expose_r, alpha: settings.expose_alpha };
    let coefficients = training.coefficients(&settings.penalty, inside.warmup, inside.warmup_steps, fed);
    let coefficients = Coefficients { skip: inside.warmup != Warmup::None, ..coefficients };
    let penalised =
        penalty::apply(training.builder.graph_mut(), artifact, &settings.penalty, &coefficients, &training.stacks)?;
    for (parameter, gradient) in artifact.parameters().iter().zip(&penalised.gradients) {
        training.builder.declare(gradient, training.builder.fact(parameter));
    }
    let directions = match &transforms {
        Some((chain, factors, _)) => chain.directions(&mut training, penalised.gradients, &factors.lr),
        None => penalised.gradients,
    };
    let (hyperparameters, slots, next_step) = training.finish();
    let is_constant = |name: &str| !(settings.expose_r && name == R || settings.expose_alpha && name == ALPHA);
    let constants: Vec<&Hyperparameter> = hyperparameters.iter().filter(|number| is_constant(number.name)).collect();
    let step = next_step.as_ref().map(|_| STEP);
    let needed = slots.iter().map(|slot| &*slot.name).chain(step).chain(constants.iter().map(|number| number.name));
    if let Some(name) = training::first_taken(&graph, needed) {
        return Err(Error::input(format!("the training model has a value `{name}`, and the optimizer needs the name"))
            .help("make the artifacts again from a model in which it has another name"));
    }
    for number in constants {
        graph.add_initializer(number.initializer());
    }

    let numbers = [artifact.loss(), &penalised.metrics.mixed_gradient_norm];
    let written = keep(&mut graph, &slots.iter().collect::<Vec<_>>(), next_step.as_ref(), numbers);
    let kept = declare_kept(&mut graph, &slots, next_step.is_some())?;
    artifact.accumulate(&mut graph, &directions);
    if settings.metrics {
        return_metrics(&mut graph, artifact, &penalised.metrics)?;
    }
    graph.remove_unused_but(&written);
    model.graph = graph.into_proto();
    Ok(Needs { kept, fused: transforms.and_then(|(_, _, fused)| fused) })
}

/// Declares what is kept as inputs behind the parameters, and tells their sizes.
fn declare_kept(graph: &mut Graph, slots: &[State], counts: bool) -> Result<Vec<(String, Vec<i64>)>> {
    let mut kept = Vec::with_capacity(slots.len() + 1);
    for slot in slots {
        let sizes = graph.facts().get(&slot.name).and_then(Fact::sizes).ok_or_else(|| {
            Error::input(format!("the size of what the optimizer keeps, `{}`, is not known", slot.name))
                .help("make the artifacts again from a model whose parameters have fixed shapes")
        })?;
        kept.push((slot.name.to_string(), sizes));
    }
    kept.extend(counts.then(|| (STEP.to_owned(), vec![])));
    let buffers = graph.proto().input.iter().position(|input| input.name().ends_with(BUFFER_SUFFIX));
    let end = buffers.unwrap_or(graph.proto().input.len());
    for (i, (name, sizes)) in kept.iter().enumerate() {
        graph.insert_input(end + i, Fact::with_sizes(COUNTER_ELEMENT, sizes).info(name))?;
    }
    Ok(kept)
}

fn return_metrics(graph: &mut Graph, artifact: &Artifact, metrics: &Metrics) -> Result<()> {
    for (i, (name, value)) in metrics.named().into_iter().enumerate() {
        Builder::new(graph, pass::METRICS).alias(value, name)?;
        graph.insert_output(artifact.results_end() + i, scalar_info(name, DataType::Float));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::artifact::is_accumulator;
    use gnp_model::onnx;

    #[test]
    fn accumulators_stay_where_nothing_reads_what_they_return() {
        let mut model = onnx::read("../../models/mlp/training_model.onnx").unwrap();
        model.graph.output.truncate(1);
        let artifact = Artifact::recognise(&model).unwrap();
        penalise(&mut model, &artifact, &Settings::default(), &Inside::default()).unwrap();
        let accumulators: Vec<_> = model.graph.node.iter().filter(|n| is_accumulator(n)).collect();
        assert_eq!(accumulators.len(), 6);
        assert!(accumulators.iter().all(|n| n.input[1].starts_with("gnp/mix/")));
    }
}
