//! The objective of an ONNX Runtime training artifact (`training_model.onnx`): its gradients are in the graph already.
//!
//! The layout is that of `onnxruntime.training.artifacts.generate_artifacts`. Inputs, in order: data; labels;
//! parameters, frozen ones included; for every trainable parameter p `p_grad.accumulation.buffer`; `lazy_reset_grad`.
//! Outputs: the loss; what else the application asked for; `p_grad.accumulation.out`. A node
//! `com.microsoft.InPlaceAccumulatorV2` adds each gradient to its buffer.

use super::{Evaluation, Objective, effects, repeat};
use foldhash::{HashMap, HashSet};
use gnp_base::contract::VERSION_KEY;
use gnp_base::contract::artifacts::{BUFFER_SUFFIX, OUT_SUFFIX, RESET};
use gnp_base::{Error, Result};
use gnp_model::graph::{Graph, Value, tensor_type};
use gnp_model::onnx::proto::{MICROSOFT, NodeProto, ValueInfoProto};
use gnp_model::onnx::{DataType, Model};

/// The operator that adds to its first input where it lies, or overwrites it.
pub const ACCUMULATOR: &str = "InPlaceAccumulatorV2";
/// The runtime takes what ends so for a gradient.
pub const RESERVED_SUFFIXES: [&str; 3] = [BUFFER_SUFFIX, OUT_SUFFIX, "_grad"];

const EXPECTED: &str = "expected a training model as `generate_artifacts` of ONNX Runtime writes it";

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
    /// message says what it looks like. Where a trainable parameter is not float32, or a function of the model draws.
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
        effects::refuse_effects_in_functions(model)?;
        let mut inputs: HashMap<&str, &ValueInfoProto> = graph.input.iter().map(|i| (i.name(), i)).collect();
        let mut parameters = Vec::with_capacity(accumulators.len());
        let mut gradients = Vec::with_capacity(accumulators.len());
        for node in &accumulators {
            let parameter = node.input(0).and_then(|buffer| buffer.strip_suffix(BUFFER_SUFFIX));
            let (Some(parameter), Some(gradient)) = (parameter, node.input(1)) else {
                return Err(Error::input(format!("expected the inputs `<parameter>{BUFFER_SUFFIX}` and a gradient"))
                    .at_node(node.label(), &node.operator())
                    .help(EXPECTED));
            };
            // Removed, so that no second accumulator can take it.
            let Some(input) = inputs.remove(parameter) else {
                return Err(Error::format(format!(
                    "its parameter `{parameter}` is no input of the graph, or has another accumulator"
                ))
                .at_node(node.label(), &node.operator())
                .help(EXPECTED));
            };
            check_float(input)?;
            parameters.push(parameter.into());
            gradients.push(gradient.into());
        }
        let results = graph.output.iter().take_while(|o| !o.name().ends_with(OUT_SUFFIX)).count();
        let loss = match graph.output.first() {
            Some(loss) if results > 0 => loss.name().into(),
            _ => return Err(Error::format("the training model has no output for the loss").help(EXPECTED)),
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

    /// Checks that loss and gradients are there before anything is accumulated: accumulators come last.
    ///
    /// # Errors
    /// Where one of them depends on what an accumulator returns.
    pub fn check_order(&self, graph: &Graph) -> Result<()> {
        let needed = graph.ancestors(self.gradients.iter().chain([&self.loss]).map(|value| &**value));
        match graph.nodes().iter().enumerate().find(|(i, node)| is_accumulator(node) && needed.contains(*i)) {
            Some((_, node)) => Err(Error::input("a gradient, or the loss, depends on what it has accumulated")
                .at_node(node.label(), &node.operator())
                .help(EXPECTED)),
            None => Ok(()),
        }
    }

    /// L(θ).
    pub fn loss(&self) -> &Value {
        &self.loss
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
        graph.read_last(is_accumulator, 1, |node| by_buffer.get(node.input(0)?).copied());
    }
}

impl Objective for Artifact {
    fn parameters(&self) -> &[Value] {
        &self.parameters
    }

    fn at(&self, graph: &mut Graph, theta: &[Value], pass: &'static str) -> Result<Evaluation> {
        if theta == self.parameters {
            return Ok(Evaluation { loss: self.loss.clone(), gradients: self.gradients.clone() });
        }
        let here = Evaluation { loss: self.loss.clone(), gradients: self.gradients.clone() };
        repeat(graph, &self.parameters, &here, theta, pass)
    }
}

/// Whether the node adds the gradient of a parameter to its buffer.
pub(crate) fn is_accumulator(node: &NodeProto) -> bool {
    node.is(MICROSOFT, ACCUMULATOR) && node.input(0).is_some_and(|b| b.ends_with(BUFFER_SUFFIX))
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
    Error::format(format!("not a training model: {what}")).help(
        "give the folder of artifacts, or the training_model.onnx, that onnxruntime.training.artifacts.generate_artifacts wrote",
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use gnp_model::graph::scalar_info;
    use gnp_model::onnx::proto::{ModelProto, StringStringEntryProto};
    use gnp_model::testing::{body, node};

    const INPUTS: [&str; 14] = [
        "x",
        "labels",
        "w",
        "scale",
        "bias",
        "mean",
        "var",
        "ratio",
        "training",
        "b",
        "w′",
        "frozen",
        "w_grad.accumulation.buffer",
        "lazy_reset_grad",
    ];

    /// A training model of one parameter, w, whose gradient and loss are made of the value `y`, which `nodes` make.
    pub fn artifact(nodes: &[NodeProto]) -> Model {
        let accumulator = NodeProto {
            domain: Some("com.microsoft".into()),
            ..node(
                "InPlaceAccumulatorV2",
                &["w_grad.accumulation.buffer", "w_grad", "lazy_reset_grad"],
                &["w_grad.accumulation.out"],
            )
            .into()
        };
        let ends = [node("Neg", &["y"], &["w_grad"]).into(), node("ReduceSum", &["y"], &["loss"]).into(), accumulator];
        let mut graph = body(&INPUTS, &[], &["loss", "w_grad.accumulation.out"]);
        graph.input[2] = scalar_info("w", DataType::Float);
        graph.node = nodes.iter().cloned().chain(ends).collect();
        Model::new(ModelProto { graph: Some(graph), ..Default::default() }, "training_model.onnx").unwrap()
    }

    fn plain() -> Model {
        artifact(&[node("Mul", &["x", "w"], &["y"]).into()])
    }

    #[track_caller]
    fn refused(model: &Model, says: &str) {
        let error = Artifact::recognise(model).unwrap_err();
        assert!(error.to_string().starts_with("training_model.onnx: ") && error.to_string().contains(says), "{error}");
        assert!(error.help_text().is_some());
    }

    #[test]
    fn the_layout_is_recognised() {
        let objective = Artifact::recognise(&plain()).unwrap();
        assert_eq!(objective.parameters(), [Value::from("w")]);
        assert_eq!((objective.labels_end(), objective.results_end()), (2, 1));
        let mut graph = Graph::new(plain().graph).unwrap();
        let here = objective.at(&mut graph, &["w".into()], "perturbed").unwrap();
        assert_eq!((&*here.loss, &*here.gradients[0]), ("loss", "w_grad"));
        assert_eq!(graph.added_nodes().count(), 0, "at the parameters themselves the graph has the evaluation already");
        objective.accumulate(&mut graph, &["other".into()]);
        assert_eq!(graph.nodes().last().unwrap().input[1], "other");
    }

    #[test]
    fn labels_of_any_name_end_where_the_parameters_begin() {
        let mut model = plain();
        model.graph.input[1].name = Some("ground_truth".into());
        assert_eq!(Artifact::recognise(&model).unwrap().labels_end(), 2);
        // A frozen parameter before the trainable one is told from the labels by their name alone.
        model.graph.input[1].name = Some("target".into());
        model.graph.input.swap(2, 11);
        assert_eq!(Artifact::recognise(&model).unwrap().labels_end(), 2);
    }

    #[test]
    fn what_is_no_training_model_is_called_by_its_name() {
        let of = |operator: &str, inputs: &[&str]| {
            let graph = Some(body(inputs, &[node(operator, &["x"], &["y"])], &["y"]));
            Model::new(ModelProto { graph, ..Default::default() }, "training_model.onnx").unwrap()
        };
        refused(&of("AdamWOptimizer", &["x"]), "optimizer model");
        refused(&of("SGDOptimizerV2", &["x"]), "optimizer model");
        refused(&of("InPlaceAccumulator", &["x"]), "before 1.14");
        refused(&of("SoftmaxCrossEntropyLoss", &["x"]), "eval model");
        refused(&of("Neg", &["x", "labels"]), "eval model");
        refused(&of("Neg", &["x", "lazy_reset_grad"]), "accumulators are missing");
        refused(&of("Neg", &["x"]), "inference model");
    }

    #[test]
    fn what_cannot_be_penalised_is_refused() {
        let mut model = plain();
        let entry = StringStringEntryProto { key: Some(VERSION_KEY.into()), value: Some("9.9".into()) };
        model.header.metadata_props.push(entry);
        refused(&model, "written by gnp 9.9");
        let mut model = plain();
        model.graph.input[2] = scalar_info("w", DataType::Double);
        refused(&model, "`w` is DOUBLE; expected FLOAT");
        let mut model = plain();
        model.graph.input[2].r#type = None;
        refused(&model, "`w` is of unknown type");
        let mut model = plain();
        model.graph.node.last_mut().unwrap().input.truncate(1);
        refused(&model, "node `w_grad.accumulation.out` (com.microsoft.InPlaceAccumulatorV2): expected the inputs");
        let mut model = plain();
        model.graph.output.remove(0);
        refused(&model, "no output for the loss");
    }

    #[test]
    fn a_gradient_of_what_is_accumulated_is_refused() {
        let mut model = artifact(&[node("Neg", &["w"], &["y"]).into()]);
        model.graph.node.push(node("Neg", &["w_grad.accumulation.out"], &["again"]).into());
        let mut artifact = Artifact::recognise(&model).unwrap();
        let graph = Graph::new(model.graph).unwrap();
        artifact.check_order(&graph).unwrap();
        artifact.gradients[0] = "again".into();
        assert!(artifact.check_order(&graph).unwrap_err().to_string().contains("what it has accumulated"));
    }
}
