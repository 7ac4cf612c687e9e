//! The objective: a piece of graph that gives a loss and its gradient at any parameters.
//!
//! It is the one thing that the penalty needs to know: evaluated at θ it gives ∇L(θ), evaluated at θ + ε it gives
//! ∇L(θ + ε), in the same graph. What depends on no trainable parameter is shared by all evaluations, and so is every
//! random draw.

pub mod artifact;
pub(crate) mod effects;
mod forward;

pub use artifact::Artifact;
pub use forward::Forward;

use effects::Effect;
use gnp_base::Result;
use gnp_model::graph::{Graph, Renaming, Value};
use gnp_model::onnx::proto::NodeProto;

/// What an evaluation appended, or found.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// L(θ), a float scalar.
    pub loss: Value,
    /// ∂L/∂θᵢ for each trainable parameter, in the order and the shapes of [`Objective::parameters`].
    pub gradients: Vec<Value>,
}

/// A loss and its gradient as a function of the trainable parameters.
pub trait Objective {
    /// The trainable parameters; all are float32.
    fn parameters(&self) -> &[Value];

    /// Appends to `graph` what it takes to evaluate the objective with `theta` in place of the parameters, under names
    /// in `pass`. At the parameters themselves nothing need be appended
    /// where the graph has the evaluation already.
    ///
    /// State that the graph keeps from step to step (the statistics of BatchNormalization) is moved by the evaluation
    /// at the parameters alone.
    ///
    /// # Errors
    /// Where a node on the way cannot be evaluated a second time with the same draws and without a second effect.
    fn at(&self, graph: &mut Graph, theta: &[Value], pass: &'static str) -> Result<Evaluation>;
}

/// Evaluates a second time, with `theta` in place of `parameters`, what the graph has at the parameters themselves: the
/// nodes on the way from a parameter that moved to a gradient or the loss are copied, all others serve both.
fn repeat(
    graph: &mut Graph,
    parameters: &[Value],
    here: &Evaluation,
    theta: &[Value],
    pass: &'static str,
) -> Result<Evaluation> {
    let moved = parameters.iter().zip(theta).filter(|(own, other)| own != other);
    let dependents = graph.dependents(moved.clone().map(|(own, _)| &**own), is_shared);
    let needed = graph.ancestors(here.gradients.iter().chain([&here.loss]).map(|v| &**v));
    let mut renaming = Renaming::new(moved.map(|(own, other)| (&**own, other.clone())));
    for index in dependents.and(&needed).iter() {
        effects::repeat(graph, index, &mut renaming, pass)?;
    }
    graph.copy_types(&renaming);
    let gradients = here.gradients.iter().map(|g| renaming.apply(g)).collect();
    Ok(Evaluation { loss: renaming.apply(&here.loss), gradients })
}

/// Whether all evaluations share what a node makes, whatever it reads: what it draws, and what depends on shapes alone.
pub(crate) fn is_shared(node: &NodeProto) -> bool {
    Effect::of(node) == Effect::Draws || tells_shape(node)
}

/// Whether a node's output depends on the shape of its input alone, which is the same at all parameters.
fn tells_shape(node: &NodeProto) -> bool {
    node.is("", "Shape") || node.is("", "Size")
}
