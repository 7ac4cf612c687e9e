//! Transformations one after the other.

use super::scale::scaled;
use super::{Training, Transform};
use gnp_base::contract::LEARNING_RATE;
use gnp_model::graph::Value;
use std::sync::Arc;

/// A chain of gradient transformations: each is applied to what the one before it returned. An
/// [`Optimizer`](super::Optimizer) is settings for a chain; a program may give one of its own, with transformations of
/// its own among them.
///
/// ```
/// use gnp_model::graph::Value;
/// use gnp_step::transform::{Chain, ClipByGlobalNorm, Training, Transform};
///
/// /// The sign of the gradient, with heavy-ball momentum: m ← μ·m + (1 − μ)·g; the update is sign m.
/// #[derive(Debug)]
/// struct SignMomentum {
///     momentum: f32,
/// }
///
/// impl Transform for SignMomentum {
///     fn apply(&self, training: &mut Training<'_>, gradients: Vec<Value>) -> Vec<Value> {
///         let mu = training.hyperparameter("gnp.momentum", self.momentum);
///         let update = |(i, g): (usize, &Value)| {
///             let m = training.slot(i, "momentum", |b, m| b.add(b.mul(m, &mu), b.mul(g, b.minus_from(1.0, &mu))));
///             training.builder.unary("Sign", m)
///         };
///         gradients.iter().enumerate().map(update).collect()
///     }
/// }
///
/// let chain = Chain::default().then(ClipByGlobalNorm { norm: 1.0 }).then(SignMomentum { momentum: 0.9 });
/// assert_eq!(chain.names(), ["ClipByGlobalNorm { norm: 1.0 }", "SignMomentum { momentum: 0.9 }"]);
///
/// use gnp_gradient::loss::LossKind;
/// use gnp_step::rewrite::{StepOptions, make_step};
/// # let model = gnp_model::onnx::read("../../models/mlp/model.onnx")?;
/// let loss = LossKind::CrossEntropy.into();
/// let (step, report) = make_step(model, &StepOptions { loss, chain: Some(chain), flat: true, ..StepOptions::default() })?;
/// assert!(step.graph.node.iter().any(|node| node.op_type() == "Sign"));
/// assert!(report.hyperparameters.iter().any(|number| number.name == "gnp.momentum"));
/// # Ok::<(), gnp_base::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Chain(Vec<Arc<dyn Transform>>);

impl Chain {
    /// The same with one more transformation at its end.
    #[must_use]
    pub fn then(mut self, transform: impl Transform + 'static) -> Self {
        self.0.push(Arc::new(transform));
        self
    }

    /// What each transformation says of itself.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|transform| format!("{transform:?}")).collect()
    }

    /// Appends the update θ − lr·f·u, with u what the chain makes of `gradients`, `rate` the default learning rate and
    /// f of `factors`, which has one for each of the trainable parameters. Returns the new parameters.
    pub fn update(&self, training: &mut Training<'_>, gradients: Vec<Value>, rate: f32, factors: &[f32]) -> Vec<Value> {
        let rate = training.hyperparameter(LEARNING_RATE, rate);
        let updates = self.apply(training, gradients);
        let b = &training.builder;
        b.set_scope(LEARNING_RATE);
        let rates = scaled(b, &rate, &training.one_each(factors));
        let step = |((theta, update), rate): ((&Value, &Value), &Value)| {
            b.set_scope(theta);
            b.sub(theta, b.mul(update, rate))
        };
        training.parameters().iter().zip(&updates).zip(&rates).map(step).collect()
    }

    /// Appends f·u, for who takes the step θ − lr·f·u elsewhere, with u what the chain makes of `gradients`, and f of
    /// `factors`, which has one for each of the trainable parameters.
    pub fn directions(&self, training: &mut Training<'_>, gradients: Vec<Value>, factors: &[f32]) -> Vec<Value> {
        let updates = self.apply(training, gradients);
        let b = &training.builder;
        let scaled = |((theta, update), &factor): ((&Value, Value), &f32)| {
            if factor == 1.0 {
                return update;
            }
            b.set_scope(&format!("{LEARNING_RATE}/{theta}"));
            b.scale(update, factor.into())
        };
        training.parameters().iter().zip(updates).zip(&training.one_each(factors)).map(scaled).collect()
    }
}

impl Transform for Chain {
    fn apply(&self, training: &mut Training<'_>, gradients: Vec<Value>) -> Vec<Value> {
        self.0.iter().fold(gradients, |gradients, transform| transform.apply(training, gradients))
    }
}
