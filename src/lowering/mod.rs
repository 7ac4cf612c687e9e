//! Rewrites what trains differently from how it infers, in operators that every engine has.
//!
//! A model as it is exported infers: BatchNormalization has the running statistics, Dropout passes its data through. To train
//! is to normalise with the statistics of the batch and to draw. [`lower`] puts that into the forward graph, as functions of values
//! that the graph reads: the next running statistics are outputs for the step to return, and what is drawn is a function of a seed
//! and the number of the step. So nothing has an effect: a second evaluation, at other parameters, sees the same draws,
//! and moves nothing. Losses that engines lack become what they are made of.
//!
//! It comes after [`crate::normalise`] and the analysis of shapes, and before a gradient. BatchNormalization stays one node until
//! then, in the domain [`DOMAIN`] where it has the statistics of the batch, since its gradient as a whole takes half of the
//! time that the gradients of its parts take. [`expand`] writes its parts down, once all gradients are there.

mod batch_norm;
mod dropout;
mod loss;
mod random;

pub use batch_norm::BATCH_NORM;

use crate::graph::{Fact, Facts, Graph, TypedBuilder, Value, for_each_subgraph};
use crate::onnx::DataType;
use crate::onnx::proto::NodeProto;
use crate::{Error, Result};
use clap::ValueEnum;
use foldhash::HashSet;
use serde::{Deserialize, Serialize};

/// The domain of operators that [`expand`] replaces: no model that is written has any.
pub const DOMAIN: &str = "gnp";

/// The input, an int64 scalar, that what is drawn depends on.
pub const SEED: &str = "gnp.seed";

/// The state, an int64 scalar, that counts the steps.
pub const STEP: &str = "step";

const PASS: &str = "lowering";

/// How BatchNormalization trains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum BatchNorm {
    /// With the mean and variance of the batch, through which the gradient goes; the running statistics follow them.
    #[default]
    Train,
    /// With the running statistics, which stay as they are.
    Frozen,
}

/// Whether Dropout drops, whatever its input `training_mode` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Dropout {
    /// It does.
    #[default]
    Keep,
    /// It passes its data through.
    Off,
}

/// Where random numbers come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Random {
    /// From [`SEED`] and [`STEP`], by a counter-based generator in standard operators: the same on every engine and after a resume.
    #[default]
    Counter,
    /// From the engine's own operators: RandomNormal and its like as they are, masks from Dropout.
    Engine,
}

/// What the user chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choices {
    /// How BatchNormalization trains.
    pub batch_norm: BatchNorm,
    /// Whether Dropout drops.
    pub dropout: Dropout,
    /// Where random numbers come from.
    pub random: Random,
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
}

/// Lowers BatchNormalization, Dropout, random draws and losses in `graph`, which has been normalised. `facts` are used and added to.
///
/// # Errors
/// Where a form of an operator is not covered, a node of these is inside the body of an If, Loop or Scan, or a running statistic
/// is no initializer or input.
///
/// ```
/// use gnp::graph::{Facts, Graph};
/// use gnp::lowering::{Choices, lower};
/// use gnp::onnx::proto::{GraphProto, NodeProto};
/// let node = NodeProto {
///     op_type: Some("Dropout".into()),
///     input: vec!["x".into()],
///     output: vec!["y".into()],
///     ..Default::default()
/// };
/// let input = vec![gnp::graph::scalar_info("x", gnp::onnx::DataType::Float)];
/// let mut graph = Graph::new(GraphProto { input, node: vec![node], ..Default::default() })?;
/// let mut facts = Facts::declared(graph.proto());
/// let lowered = lower(&mut graph, &mut facts, &Choices::default())?;
/// assert!(lowered.draws && graph.nodes().iter().all(|node| node.op_type() != "Dropout"));
/// # Ok::<(), gnp::Error>(())
/// ```
pub fn lower(graph: &mut Graph, facts: &mut Facts, choices: &Choices) -> Result<Lowered> {
    for name in [SEED, STEP] {
        facts.insert(name.into(), Fact::with_sizes(DataType::Int64, &[]));
    }
    let proto = graph.proto();
    let kept = proto.initializer.iter().map(|t| t.name()).chain(proto.input.iter().map(|i| i.name())).map(Value::from);
    let kept = kept.collect();
    let nodes = graph.take_nodes();
    let mut lowering = Lowering {
        choices,
        b: TypedBuilder::new(graph, facts, PASS),
        random: random::Generator::default(),
        kept,
        lowered: Lowered::default(),
    };
    for node in nodes {
        lowering.check_bodies(&node)?;
        lowering.b.set_scope(node.label());
        lowering.node(node)?;
    }
    let Lowering { random, mut lowered, .. } = lowering;
    lowered.draws = random.is_used();
    Ok(lowered)
}

/// Replaces the nodes that were left whole for their gradients' sake by their parts, which are standard operators with
/// kernels for parameters that change: [`BATCH_NORM`], and BatchNormalization, which tract computes with constants alone.
///
/// # Errors
/// Where such a node lacks an input.
pub fn expand(graph: &mut Graph, facts: &mut Facts) -> Result<()> {
    let nodes = graph.take_nodes();
    let mut b = TypedBuilder::new(graph, facts, PASS);
    nodes.into_iter().try_for_each(|node| expand_node(&mut b, node))
}

fn expand_node(b: &mut TypedBuilder<'_>, mut node: NodeProto) -> Result<()> {
    for body in node.attribute.iter_mut().flat_map(|a| a.g.as_deref_mut().into_iter().chain(&mut a.graphs)) {
        let begin = b.graph().nodes().len();
        std::mem::take(&mut body.node).into_iter().try_for_each(|inner| expand_node(b, inner))?;
        body.node = b.graph_mut().split_off(begin);
    }
    b.set_scope(node.label());
    match (node.domain(), node.op_type()) {
        (DOMAIN, BATCH_NORM) => batch_norm::expand(&node, b),
        ("", "BatchNormalization") if node.int("training_mode", 0) == 0 => batch_norm::expand_inference(&node, b),
        _ => {
            b.put(node);
            Ok(())
        }
    }
}

/// The walk over the nodes.
struct Lowering<'a> {
    choices: &'a Choices,
    b: TypedBuilder<'a>,
    random: random::Generator,
    /// The values that can be state: initializers and inputs.
    kept: HashSet<Value>,
    lowered: Lowered,
}

impl Lowering<'_> {
    fn node(&mut self, node: NodeProto) -> Result<()> {
        match self.lowers(&node) {
            None => {
                self.b.put(node);
                Ok(())
            }
            Some(way) => way(self, &node).map_err(|e| e.at_node(node.label(), &node.operator())),
        }
    }

    fn lowers(&self, node: &NodeProto) -> Option<fn(&mut Self, &NodeProto) -> Result<()>> {
        let counter = self.choices.random == Random::Counter;
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
                Err(Error::input("its draws cannot be made from the seed and the step")
                    .help("let the engine draw (--random engine)"))
            }),
            _ => None,
        }
    }

    /// Refuses bodies with nodes that train differently from how they infer.
    fn check_bodies(&self, node: &NodeProto) -> Result<()> {
        let mut found = Ok(());
        for_each_subgraph(node, &mut |body| {
            for inner in &body.node {
                if found.is_ok() {
                    found = self.check_inner(inner).and_then(|()| self.check_bodies(inner));
                }
            }
        });
        found.map_err(|e| e.at_node(node.label(), &node.operator()))
    }

    fn check_inner(&self, inner: &NodeProto) -> Result<()> {
        let infers_as_it_is = match (inner.domain(), inner.op_type()) {
            ("", "BatchNormalization") => {
                self.choices.batch_norm == BatchNorm::Frozen && inner.int("training_mode", 0) == 0
            }
            ("", "Dropout") => self.choices.dropout == Dropout::Off && inner.input(2).is_none(),
            ("", "SoftmaxCrossEntropyLoss" | "NegativeLogLikelihoodLoss") => true,
            _ => self.lowers(inner).is_none(),
        };
        if infers_as_it_is {
            return Ok(());
        }
        Err(Error::input(format!("its body has a {} node, which cannot be made to train there", inner.operator()))
            .help("move that node out of the body, or turn it off (--batch-norm frozen, --dropout off)"))
    }

    /// Lets `value` be output `index` of the node that is lowered, if it has that output. Returns it under the name that it has
    /// now.
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
