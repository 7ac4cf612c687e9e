//! The objective of an ONNX Runtime training artifact (`training_model.onnx`): its gradients are in the graph already.
//!
//! The layout is that of `onnxruntime.training.artifacts.generate_artifacts`. Inputs, in order: data; labels; parameters,
//! frozen ones included; for every trainable parameter p `p_grad.accumulation.buffer`; `lazy_reset_grad`. Outputs: the
//! loss; what else the application asked for; `p_grad.accumulation.out`. A node `com.microsoft.InPlaceAccumulatorV2` adds
//! each gradient to its buffer.

use super::effects::{self, Effect};
use super::{Evaluation, Objective};
use crate::graph::{Graph, Renaming, Value, tensor_type};
use crate::onnx::proto::{NodeProto, ValueInfoProto};
use crate::onnx::{DataType, Model};
use crate::{Error, Result};
use foldhash::{HashMap, HashSet};

/// The suffix of a gradient buffer's name; before it stands the parameter's.
pub const BUFFER_SUFFIX: &str = "_grad.accumulation.buffer";
const OUT_SUFFIX: &str = "_grad.accumulation.out";
const RESET: &str = "lazy_reset_grad";

/// The key of a model's metadata that says that the penalty is in it already.
pub const VERSION_KEY: &str = "gnp.version";

/// A recognised training model.
#[derive(Clone, Debug)]
pub struct Artifact {
    loss: Value,
    parameters: Vec<Value>,
    gradients: Vec<Value>,
    accumulators: Vec<String>,
    labels_end: usize,
    results_end: usize,
}

impl Artifact {
    /// Recognises a training model by its gradient accumulators.
    ///
    /// # Errors
    /// Where the model is something else (an inference, eval or optimizer model, or one with the penalty in it); the
    /// message says what it looks like. Where a trainable parameter is not float32.
    pub fn recognise(model: &Model) -> Result<Self> {
        Self::of(model).map_err(|e| e.in_file(model.path()))
    }

    fn of(model: &Model) -> Result<Self> {
        if let Some(version) = model.metadata(VERSION_KEY) {
            return Err(Error::input(format!("the model has the penalty in it already (written by gnp {version})"))
                .help("rewrite the original training model instead"));
        }
        let graph = &model.graph;
        let accumulators: Vec<_> = graph.node.iter().filter(|n| is_accumulator(n)).collect();
        if accumulators.is_empty() {
            return Err(not_a_training_model(model));
        }
        let inputs: HashMap<&str, &ValueInfoProto> = graph.input.iter().map(|i| (i.name(), i)).collect();
        let mut parameters = Vec::with_capacity(accumulators.len());
        let mut gradients = Vec::with_capacity(accumulators.len());
        for node in &accumulators {
            let parameter = node.input(0).and_then(|buffer| buffer.strip_suffix(BUFFER_SUFFIX));
            let (Some(parameter), Some(gradient)) = (parameter, node.input(1)) else {
                return Err(Error::input(format!("expected the inputs `<parameter>{BUFFER_SUFFIX}` and a gradient"))
                    .at_node(node.name(), &node.operator())
                    .help("expected a training model as `generate_artifacts` of ONNX Runtime writes it"));
            };
            let Some(input) = inputs.get(parameter) else {
                return Err(Error::input(format!("its parameter `{parameter}` is no input of the graph"))
                    .at_node(node.name(), &node.operator())
                    .help("expected a training model as `generate_artifacts` of ONNX Runtime writes it"));
            };
            check_float(input)?;
            parameters.push(parameter.into());
            gradients.push(gradient.into());
        }
        let results = graph.output.iter().take_while(|o| !o.name().ends_with(OUT_SUFFIX)).count();
        let loss = match graph.output.first() {
            Some(loss) if results > 0 => loss.name().into(),
            _ => return Err(Error::input("the training model has no output for the loss")),
        };
        Ok(Self {
            loss,
            labels_end: labels_end(&graph.input, &parameters),
            results_end: results,
            parameters,
            gradients,
            accumulators: accumulators.iter().filter_map(|n| n.input(0)).map(str::to_owned).collect(),
        })
    }

    /// Where the inputs of the graph that an application feeds end: after the labels, before the parameters.
    pub fn labels_end(&self) -> usize {
        self.labels_end
    }

    /// Where the outputs that an application sees end: before those of the accumulators.
    pub fn results_end(&self) -> usize {
        self.results_end
    }

    /// Makes the accumulators add `gradients` (in the order of [`Objective::parameters`]) in place of their own.
    pub fn accumulate(&self, graph: &mut Graph, gradients: &[Value]) {
        let by_buffer: HashMap<&str, &Value> = self.accumulators.iter().map(String::as_str).zip(gradients).collect();
        for i in 0..graph.nodes().len() {
            let node = &graph.nodes()[i];
            if is_accumulator(node)
                && let Some(gradient) = node.input(0).and_then(|buffer| by_buffer.get(buffer))
            {
                graph.node_mut(i).input[1] = gradient.to_string();
            }
        }
    }
}

impl Objective for Artifact {
    fn parameters(&self) -> &[Value] {
        &self.parameters
    }

    fn at(&self, graph: &mut Graph, theta: &[Value], pass: &'static str) -> Result<Evaluation> {
        let mut renaming = Renaming::new(
            self.parameters
                .iter()
                .zip(theta)
                .filter(|(own, other)| own != other)
                .map(|(own, other)| (&**own, other.clone())),
        );
        let moved = self.parameters.iter().filter(|p| renaming.apply(p) != **p).map(|p| &**p);
        let dependents = graph.dependents(moved, |node| Effect::of(node) == Effect::Draws);
        let needed = graph.ancestors(self.gradients.iter().chain([&self.loss]).map(|v| &**v));
        let repeated = dependents.and(&needed);
        graph.reserve(repeated.iter().count());
        for index in repeated.iter() {
            effects::repeat(graph, index, &mut renaming, pass)?;
        }
        graph.copy_types(&renaming);
        let gradients = self.gradients.iter().map(|g| renaming.apply(g)).collect();
        Ok(Evaluation { loss: renaming.apply(&self.loss), gradients })
    }
}

fn is_accumulator(node: &NodeProto) -> bool {
    node.is("com.microsoft", "InPlaceAccumulatorV2") && node.input(0).is_some_and(|b| b.ends_with(BUFFER_SUFFIX))
}

/// `generate_artifacts` names the labels `labels` or `target`; other losses have other names, and then the parameters
/// begin, as a rule, with a trainable one.
fn labels_end(inputs: &[ValueInfoProto], parameters: &[Value]) -> usize {
    let parameters: HashSet<&str> = parameters.iter().map(|p| &**p).collect();
    let first_parameter = inputs.iter().position(|i| parameters.contains(i.name())).unwrap_or(inputs.len());
    let labels = inputs[..first_parameter].iter().rposition(|i| matches!(i.name(), "labels" | "target"));
    labels.map_or(first_parameter, |l| l + 1)
}

fn check_float(parameter: &ValueInfoProto) -> Result<()> {
    match tensor_type(parameter).map(|t| t.elem_type()) {
        Some(element) if element == DataType::Float as i32 => Ok(()),
        other => {
            let found = match other.map(DataType::try_from) {
                Some(Ok(element)) => element.as_str_name().to_owned(),
                _ => "of unknown type".to_owned(),
            };
            Err(Error::input(format!("the trainable parameter `{}` is {found}; expected FLOAT", parameter.name()))
                .help("ONNX Runtime's training API accumulates float32 gradients only; freeze the parameter or convert it"))
        }
    }
}

/// What a model without accumulators is, as far as one can see.
fn not_a_training_model(model: &Model) -> Error {
    let graph = &model.graph;
    let has = |operators: &[&str]| graph.node.iter().any(|n| operators.contains(&n.op_type()));
    let what = if has(&["AdamWOptimizer", "SGDOptimizerV2"]) {
        "this is an optimizer model; the gradient is computed in training_model.onnx"
    } else if has(&["InPlaceAccumulator"]) {
        "its accumulators are those of an ONNX Runtime before 1.14"
    } else if has(&["SoftmaxCrossEntropyLoss", "SoftmaxCrossEntropyLossInternal", "NegativeLogLikelihoodLoss"])
        || graph.input.iter().any(|i| matches!(i.name(), "labels" | "target"))
    {
        "this looks like an eval model: it has a loss, and no gradients"
    } else if graph.input.iter().any(|i| i.name() == RESET) {
        "its accumulators are missing"
    } else {
        "this looks like an inference model: it has no gradients"
    };
    Error::input(format!("not a training model: {what}")).help(
        "give the folder of artifacts, or the training_model.onnx, that onnxruntime.training.artifacts.generate_artifacts wrote",
    )
}
