//! The objective of a forward model: a loss in a graph that has no gradients yet.

use super::{Evaluation, Objective, repeat};
use crate::pass;
use gnp_base::Result;
use gnp_gradient::autodiff::{self, Gradients};
use gnp_model::graph::{Builder, Graph, Value};

/// A forward graph with a loss, differentiated at its own parameters.
#[derive(Clone, Debug)]
pub struct Forward {
    parameters: Vec<Value>,
    here: Evaluation,
}

impl Forward {
    /// Appends the gradient of the scalar `loss` to `graph`, made of the operators that `gradients` says. The
    /// parameters of the objective are those of `candidates` that the loss depends on. On the way the gradient is
    /// multiplied with `scale`, a scalar, where one is given.
    ///
    /// # Errors
    /// As [`autodiff::gradient`].
    pub fn differentiate(
        graph: &mut Graph,
        loss: &Value,
        candidates: &[Value],
        gradients: Gradients,
        scale: Option<&Value>,
    ) -> Result<Self> {
        let gradients = match scale {
            None => autodiff::gradient(graph, loss, candidates, gradients, pass::GRADIENT)?,
            Some(scale) => {
                let seed = (loss.clone(), scale.clone());
                let scaled = autodiff::pull_back(graph, &[seed], candidates, gradients, pass::GRADIENT)?;
                let b = Builder::new(graph, pass::GRADIENT);
                let factor = b.div(b.number(1.0, scale), scale);
                scaled.into_iter().map(|g| g.map(|g| b.mul(g, &factor))).collect()
            }
        };
        let pairs = candidates.iter().zip(gradients).filter_map(|(parameter, g)| Some((parameter.clone(), g?)));
        let (parameters, gradients) = pairs.unzip();
        Ok(Self { parameters, here: Evaluation { loss: loss.clone(), gradients } })
    }

    /// The same objective, whose evaluation at the parameters themselves is now `here`.
    #[must_use]
    pub(crate) fn evaluated(self, here: Evaluation) -> Self {
        Self { here, ..self }
    }

    /// The evaluation at the parameters themselves.
    pub fn here(&self) -> &Evaluation {
        &self.here
    }
}

impl Objective for Forward {
    fn parameters(&self) -> &[Value] {
        &self.parameters
    }

    fn at(&self, graph: &mut Graph, theta: &[Value], pass: &'static str) -> Result<Evaluation> {
        if theta == self.parameters {
            return Ok(self.here.clone());
        }
        repeat(graph, &self.parameters, &self.here, theta, pass)
    }
}
