//! Rewrites what trains differently from how it infers, in operators that every engine has.
//!
//! A model as it is exported infers: BatchNormalization has the running statistics, Dropout passes its data through. To
//! train is to normalise with the statistics of the batch and to draw. [`lower`] puts that into the forward graph, as
//! functions of values that the graph reads: the next running statistics are outputs for the step to return, and what
//! is drawn is a function of a seed and the number of the step. So nothing has an effect: a second evaluation, at other
//! parameters, sees the same draws, and moves nothing. Losses that engines lack become what they are made of.
//!
//! A straight-through estimator, whose detach an export loses, is marked for its gradient.
//!
//! It comes after [`gnp_model::normalise`] and the analysis of shapes, and before a gradient. BatchNormalization stays
//! one node until then ([`crate::whole`]) where it has the statistics of the batch, since its gradient as a whole takes
//! half of the time that the gradients of its parts take. [`expand`] writes its parts down, once all gradients are
//! there.

mod batch_norm;
mod dropout;
mod gelu;
mod loss;
mod pad;
mod random;
mod straight_through;

pub use batch_norm::trained_over_samples;
pub use straight_through::StraightThrough;

use crate::autodiff::Gradients;
use crate::whole::{BATCH_NORM, DOMAIN, STRAIGHT_THROUGH};
use foldhash::HashSet;
use gnp_base::contract::{SEED, STEP};
use gnp_base::{Error, Result};
use gnp_model::graph::{Builder, Fact, Graph, Value, for_each_use};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::{MICROSOFT, NodeProto};
use serde::{Deserialize, Serialize};
use strum::{EnumMessage, IntoStaticStr, VariantArray};

const PASS: &str = "lowering";

/// How BatchNormalization trains.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "lowercase")]
pub enum BatchNorm {
    /// With the mean and variance of the batch, through which the gradient goes; the running statistics follow them
    #[default]
    Train,
    /// With the running statistics, which stay as they are
    Frozen,
    /// Layers whose scale and shift are frozen by --freeze or --train: as frozen; the others: as train
    Auto,
}

/// Whether Dropout drops, whatever its input `training_mode` says.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "lowercase")]
pub enum Dropout {
    /// It does
    #[default]
    Keep,
    /// It passes its data through
    Off,
}

/// Where random numbers come from.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "lowercase")]
pub enum Random {
    /// From `gnp.seed` and `step`, by nodes of the graph: the same on every engine and after a resume
    #[default]
    Counter,
    /// From the engine's own operators: Dropout, RandomNormal and its like
    Engine,
}

/// What the user chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How BatchNormalization trains.
    pub batch_norm: BatchNorm,
    /// Whether Dropout drops.
    pub dropout: Dropout,
    /// Where random numbers come from.
    pub random: Random,
    /// Where gradients pass straight through what rounds.
    #[serde(default)]
    pub straight_through: StraightThrough,
}

/// A tensor that the model keeps from step to step, and what it is after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatePair {
    /// The initializer, or input, that holds it.
    pub state: Value,
    /// Its value after the step, of the same type and shape.
    pub next: Value,
}

/// What the caller of [`lower`] has to provide for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lowered {
    /// The running statistics, in the order of the nodes.
    pub state: Vec<StatePair>,
    /// Whether the graph reads [`SEED`] and [`STEP`], which are then to be declared.
    pub draws: bool,
    /// Whether a BatchNormalization whose scale and shift the user froze follows the batches.
    pub follows_frozen: bool,
    /// The nodes that gradients pass straight through.
    pub passed: Vec<String>,
    /// The first BatchNormalization whose statistics are of one number a sample, so that a batch of one sample has
    /// none.
    pub over_samples: Option<String>,
}

/// Lowers BatchNormalization, Dropout, random draws and losses in `graph`, which has been normalised. `frozen` are the
/// constants that the user froze, which is what [`BatchNorm::Auto`] goes by. Where the gradients are to be of ONNX
/// Runtime's operators, so are the forward ones that these belong to.
///
/// # Errors
/// Where a form of an operator is not covered, a node of these is inside the body of an If, Loop or Scan, or other
/// nodes read a running statistic.
///
/// ```
/// use gnp_model::graph::Graph;
/// use gnp_gradient::autodiff::Gradients;
/// use gnp_gradient::lowering::{lower, Settings};
/// use gnp_model::onnx::proto::{GraphProto, NodeProto};
/// let node = NodeProto {
///     op_type: Some("Dropout".into()),
///     input: vec!["x".into()],
///     output: vec!["y".into()],
///     ..Default::default()
/// };
/// let input = vec![gnp_model::graph::scalar_info("x", gnp_model::onnx::DataType::Float)];
/// let mut graph = Graph::new(GraphProto { input, node: vec![node], ..Default::default() })?;
/// let lowered = lower(&mut graph, &Settings::default(), Gradients::Standard, &Default::default())?;
/// assert!(lowered.draws && graph.nodes().iter().all(|node| node.op_type() != "Dropout"));
/// # Ok::<(), gnp_base::Error>(())
/// ```
pub fn lower(graph: &mut Graph, settings: &Settings, gradients: Gradients, frozen: &HashSet<Value>) -> Result<Lowered> {
    for name in [SEED, STEP] {
        graph.declare(name, Fact::with_sizes(DataType::Int64, &[]));
    }
    if gradients.fuse(MICROSOFT, "Gelu") {
        gelu::fuse(graph)?;
    }
    let passed = straight_through::mark(graph, settings.straight_through)?;
    let held = held(graph);
    let kept = can_be_state(graph, &held);
    let b = Builder::new(graph, PASS);
    let mut lowering = Lowering {
        settings,
        gradients,
        b: &b,
        random: random::Generator::default(),
        frozen,
        held,
        kept,
        lowered: Lowered { passed, ..Lowered::default() },
    };
    b.replace_nodes(|mut node| {
        lowering.check_bodies(&node)?;
        if settings.dropout == Dropout::Off {
            dropout::turn_off_in_bodies(&mut node);
        }
        b.set_scope(node.label());
        lowering.node(node)
    })?;
    let Lowering { random, mut lowered, .. } = lowering;
    lowered.draws = random.is_used();
    Ok(lowered)
}

/// Who computes what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Computes {
    /// Any engine.
    Any,
    /// ONNX Runtime alone, whose kernels take parameters that change.
    OnnxRuntime,
}

/// Replaces the nodes that were left whole for their gradients' sake by their parts, which are standard operators with
/// kernels for parameters that change: [`BATCH_NORM`], and, unless ONNX Runtime computes, BatchNormalization, which
/// tract computes with constants alone. A Pad along some axes becomes one along all, which ONNX Runtime does not get
/// wrong.
///
/// # Errors
/// Where such a node lacks an input.
pub fn expand(graph: &mut Graph, computes: Computes) -> Result<()> {
    let b = Builder::new(graph, PASS);
    b.replace_nodes_and_inner(&mut |node| expand_node(&b, node, computes))
}

/// The node as it stays, if it does.
fn expand_node(b: &Builder<'_>, node: NodeProto, computes: Computes) -> Result<Option<NodeProto>> {
    b.set_scope(node.label());
    match (node.domain(), node.op_type()) {
        (DOMAIN, BATCH_NORM) => batch_norm::expand(&node, b)?,
        (DOMAIN, STRAIGHT_THROUGH) => straight_through::expand(&node, b),
        ("", "BatchNormalization") if computes == Computes::Any && node.int("training_mode", 0) == 0 => {
            batch_norm::expand_inference(&node, b)?;
        }
        ("", "Pad") if node.input(3).is_some() => return pad::expand(node, b),
        _ => return Ok(Some(node)),
    }
    Ok(None)
}

/// The walk over the nodes.
struct Lowering<'a> {
    settings: &'a Settings,
    gradients: Gradients,
    b: &'a Builder<'a>,
    random: random::Generator,
    /// The constants that the user froze.
    frozen: &'a HashSet<Value>,
    /// The values that no node makes: initializers and inputs.
    held: HashSet<Value>,
    /// The values that can be state: initializers and inputs that nothing reads but as a running statistic.
    kept: HashSet<Value>,
    lowered: Lowered,
}

impl Lowering<'_> {
    /// The node as it stays, if it does.
    fn node(&mut self, node: NodeProto) -> Result<Option<NodeProto>> {
        let at_node = |e: Error| e.at_node(node.label(), &node.operator());
        if node.is("", "BatchNormalization") && self.infers(&node).map_err(at_node)? {
            return self.freeze(&node).map(Some).map_err(at_node);
        }
        match self.lowers(&node) {
            None => Ok(Some(node)),
            Some(way) => way(self, &node).map(|()| None).map_err(at_node),
        }
    }

    fn lowers(&self, node: &NodeProto) -> Option<fn(&mut Self, &NodeProto) -> Result<()>> {
        let counter = self.settings.random == Random::Counter;
        match (node.domain(), node.op_type()) {
            ("", "BatchNormalization") => Some(Self::batch_norm),
            ("", "Dropout") => Some(Self::dropout),
            ("", "SoftmaxCrossEntropyLoss") => Some(Self::cross_entropy),
            ("", "NegativeLogLikelihoodLoss") => Some(Self::negative_log_likelihood),
            ("", "RandomNormal" | "RandomNormalLike" | "RandomUniform" | "RandomUniformLike" | "Bernoulli")
                if counter =>
            {
                Some(Self::random)
            }
            ("", "Multinomial") if counter => Some(|_, _| {
                Err(Error::format("its draws cannot be made from the seed and the step")
                    .help("let the engine draw (--random engine)"))
            }),
            _ => None,
        }
    }

    /// Refuses bodies with nodes that train differently from how they infer.
    fn check_bodies(&self, node: &NodeProto) -> Result<()> {
        let mut inner = node.subgraphs().flat_map(|body| &body.node);
        let checked = inner.try_for_each(|inner| self.check_inner(inner).and_then(|()| self.check_bodies(inner)));
        checked.map_err(|e| e.at_node(node.label(), &node.operator()))
    }

    fn check_inner(&self, inner: &NodeProto) -> Result<()> {
        let infers_as_it_is = match (inner.domain(), inner.op_type()) {
            ("", "BatchNormalization") => {
                self.settings.batch_norm == BatchNorm::Frozen && inner.int("training_mode", 0) == 0
            }
            ("", "Dropout") => self.settings.dropout == Dropout::Off && inner.input(2).is_none(),
            ("", "SoftmaxCrossEntropyLoss" | "NegativeLogLikelihoodLoss") => true,
            _ => self.lowers(inner).is_none(),
        };
        if infers_as_it_is {
            return Ok(());
        }
        Err(Error::unsupported(format!(
            "its body has a {} node, which cannot be made to train there",
            inner.operator()
        ))
        .help("move that node out of the body, or turn it off (--batch-norm frozen, --dropout off)"))
    }

    /// Lets `value` be output `index` of the node that is lowered, if it has that output. Returns it under the name
    /// that it has now.
    fn define(&mut self, node: &NodeProto, index: usize, value: Value) -> Value {
        match node.output.get(index).filter(|name| !name.is_empty()) {
            Some(name) => self.b.define(name, &value),
            None => value,
        }
    }
}

/// An input that the operator cannot do without.
fn required(node: &NodeProto, index: usize) -> Result<Value> {
    node.input(index).map(Value::from).ok_or_else(|| Error::input(format!("it has no input {index}")))
}

/// Initializers and inputs.
fn held(graph: &Graph) -> HashSet<Value> {
    let proto = graph.proto();
    let names = proto.initializer.iter().map(|t| t.name()).chain(proto.input.iter().map(|i| i.name()));
    names.map(Value::from).collect()
}

/// Those of `held` that nothing reads but BatchNormalization as a running statistic.
fn can_be_state(graph: &Graph, held: &HashSet<Value>) -> HashSet<Value> {
    let mut kept = held.clone();
    for node in graph.nodes() {
        let statistics = if node.is("", "BatchNormalization") { 3..5 } else { 0..0 };
        let others = node.input.iter().enumerate().filter(|(i, _)| !statistics.contains(i));
        others.for_each(|(_, name)| _ = kept.remove(name.as_str()));
        for inner in node.subgraphs().flat_map(|body| &body.node) {
            for_each_use(inner, &mut |name| _ = kept.remove(name));
        }
    }
    kept
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::autodiff::gradient;
    use gnp_model::graph::{Builder, scalar_info};
    use gnp_model::onnx::proto::{GraphProto, ModelProto, OperatorSetIdProto, TensorProto, ValueInfoProto};
    use gnp_model::testing::node;
    use prost::Message as _;
    use tract_onnx::prelude::{
        InferenceFact, InferenceModelExt as _, IntoRunnable as _, IntoTValue, Tensor, onnx, tensor0,
    };

    /// The declaration of a float tensor.
    pub fn tensor_info(name: &str, sizes: &[i64]) -> ValueInfoProto {
        use gnp_model::onnx::proto::{TensorShapeProto, tensor_shape_proto, type_proto};
        let mut info = scalar_info(name, DataType::Float);
        let size = |&size: &i64| tensor_shape_proto::Dimension {
            value: Some(tensor_shape_proto::dimension::Value::DimValue(size)),
            ..Default::default()
        };
        if let Some(type_proto::Value::TensorType(tensor)) = info.r#type.as_mut().and_then(|t| t.value.as_mut()) {
            tensor.shape = Some(TensorShapeProto { dim: sizes.iter().map(size).collect() });
        }
        info
    }

    /// What tract computes of the graph's outputs, which are floats.
    pub fn infer(graph: &Graph, inputs: Vec<Tensor>) -> Vec<Vec<f32>> {
        let opset_import = vec![OperatorSetIdProto { version: Some(18), ..Default::default() }];
        let proto =
            ModelProto { ir_version: Some(8), graph: Some(graph.proto().clone()), opset_import, ..Default::default() };
        let proto = tract_onnx::pb::ModelProto::decode(proto.encode_to_vec().as_slice()).unwrap();
        let reader = onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
        let mut model = reader.parse(&proto, None).unwrap().model;
        for (i, input) in inputs.iter().enumerate() {
            model.set_input_fact(i, InferenceFact::dt_shape(input.datum_type(), input.shape())).unwrap();
        }
        let plan = model.into_optimized().unwrap().into_runnable().unwrap();
        let outputs = plan.run(inputs.into_iter().map(IntoTValue::into_tvalue).collect()).unwrap();
        outputs.iter().map(|o| o.to_plain_array_view::<f32>().unwrap().iter().copied().collect()).collect()
    }

    const SIZES: [i64; 4] = [4, 3, 2, 2];

    fn tensor(name: &str, values: &[f32]) -> TensorProto {
        let payload: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        TensorProto::raw(name, DataType::Float, &[values.len() as i64], payload.into())
    }

    /// loss = Σ w ∘ Dropout(BatchNormalization(x))
    fn model() -> Graph {
        let nodes = [
            node("BatchNormalization", &["x", "scale", "bias", "mean", "var"], &["n"]),
            node("Dropout", &["n"], &["d"]),
            node("Mul", &["d", "w"], &["p"]),
            node("ReduceSum", &["p"], &["sum"]),
            node("Squeeze", &["sum"], &["loss"]),
        ];
        let proto = GraphProto {
            input: ["x", "w"].map(|name| tensor_info(name, &SIZES)).to_vec(),
            node: nodes.map(NodeProto::from).to_vec(),
            output: vec![scalar_info("loss", DataType::Float)],
            initializer: vec![
                tensor("scale", &[0.5, 1.0, -1.5]),
                tensor("bias", &[0.1, 0.2, 0.3]),
                tensor("mean", &[0.0; 3]),
                tensor("var", &[1.0; 3]),
            ],
            ..Default::default()
        };
        Graph::new(proto).unwrap()
    }

    fn noise(salt: u32) -> Vec<f32> {
        let element = |i: u32| (i.wrapping_mul(2_654_435_761).wrapping_add(salt) >> 8) as f32 / 8_388_608.0 - 1.0;
        (1..=SIZES.iter().product::<i64>() as u32).map(element).collect()
    }

    fn shaped(values: &[f32]) -> Tensor {
        Tensor::from_shape(&SIZES.map(|size| size as usize), values).unwrap()
    }

    #[test]
    fn tract_computes_the_gradient_of_what_was_lowered() {
        let mut graph = model();
        graph.declare("loss", Fact::with_sizes(DataType::Float, &[]));
        let lowered = lower(&mut graph, &Settings::default(), Gradients::Standard, &HashSet::default()).unwrap();
        let states: Vec<&str> = lowered.state.iter().map(|pair| &*pair.state).collect();
        assert_eq!(states, ["mean", "var"]);
        for (i, name) in [SEED, STEP].into_iter().enumerate() {
            graph.insert_input(2 + i, scalar_info(name, DataType::Int64)).unwrap();
        }
        let gradients = gradient(&mut graph, &"loss".into(), &["x".into()], Gradients::Standard, "gradient").unwrap();
        Builder::new(&mut graph, "test").alias(gradients[0].as_ref().unwrap(), "dx").unwrap();
        graph.insert_output(1, tensor_info("dx", &SIZES));
        expand(&mut graph, Computes::Any).unwrap();
        graph.remove_unused();
        assert!(graph.nodes().iter().all(|node| node.domain().is_empty() && node.op_type() != "BatchNormalization"));

        let (x, w) = (noise(1), noise(1 << 30));
        let run = |x: &[f32]| infer(&graph, vec![shaped(x), shaped(&w), tensor0(5i64), tensor0(9i64)]);
        let gradient = run(&x).swap_remove(1);
        for index in [0, 7, 20, 47] {
            let step = 1e-2;
            let at = |offset: f32| {
                let mut moved = x.clone();
                moved[index] += offset;
                run(&moved)[0][0]
            };
            let difference = (8.0 * (at(step) - at(-step)) - (at(2.0 * step) - at(-2.0 * step))) / (12.0 * step);
            assert!((difference - gradient[index]).abs() < 2e-3, "{index}: {difference} and {}", gradient[index]);
        }
    }

    #[test]
    fn a_statistic_that_is_read_as_something_else_is_refused() {
        let mut proto = model().into_proto();
        proto.node[0].input[2] = "mean".into();
        let mut graph = Graph::new(proto).unwrap();
        let error = lower(&mut graph, &Settings::default(), Gradients::Standard, &HashSet::default()).unwrap_err();
        assert!(error.to_string().contains("its running statistic `mean` cannot move"), "{error}");
        assert!(error.help_text().is_some());
    }

    #[test]
    fn layers_whose_weights_are_frozen_are_frozen_automatically() {
        let lowered = |choice, frozen: &[&str]| {
            let mut graph = model();
            let settings = Settings { batch_norm: choice, ..Settings::default() };
            let frozen = frozen.iter().map(|&name| name.into()).collect();
            lower(&mut graph, &settings, Gradients::Standard, &frozen).unwrap()
        };
        assert_eq!(lowered(BatchNorm::Auto, &["scale", "bias"]).state, []);
        assert_eq!(lowered(BatchNorm::Auto, &["bias"]).state.len(), 2);
        let followed = lowered(BatchNorm::Train, &["scale", "bias"]);
        assert!(followed.state.len() == 2 && followed.follows_frozen);
    }

    #[test]
    fn statistics_that_the_graph_computes_are_no_state() {
        for (mode, operator) in [(0, "BatchNormalization"), (1, BATCH_NORM)] {
            let mut proto = model().into_proto();
            proto.node.insert(0, node("Abs", &["scale"], &["computed"]).named("statistics").into());
            proto.node[1].input[4] = "computed".into();
            proto.node[1].attribute = vec![gnp_model::onnx::proto::AttributeProto::int("training_mode", mode)];
            // Whatever the choice, the node does what it says.
            for choice in [BatchNorm::Train, BatchNorm::Frozen, BatchNorm::Auto] {
                let settings = Settings { batch_norm: choice, ..Settings::default() };
                let mut graph = Graph::new(proto.clone()).unwrap();
                let lowered = lower(&mut graph, &settings, Gradients::Standard, &HashSet::default()).unwrap();
                assert_eq!(lowered.state, []);
                assert!(graph.nodes().iter().any(|node| node.op_type() == operator), "{mode} {choice:?}");
            }
        }
    }

    #[test]
    fn bodies_with_what_trains_otherwise_are_refused() {
        let body = gnp_model::testing::body(&[], &[node("Dropout", &["x"], &["z"])], &["z"]);
        let branch = node("If", &["go"], &["y"]).with(body);
        let mut graph = Graph::new(gnp_model::testing::body(&["x", "go"], &[branch], &["y"])).unwrap();
        let error = lower(&mut graph, &Settings::default(), Gradients::Standard, &HashSet::default()).unwrap_err();
        assert!(error.to_string().contains("node `y` (If): its body has a Dropout node"), "{error}");
    }
}
