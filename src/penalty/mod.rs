//! The Gradient Norm Penalty (Zhao, Zhang, Hu, "Penalizing Gradient Norm for Efficiently Improving Generalization in Deep
//! Learning", ICML 2022).
//!
//! Training on L(θ) + λ‖∇L(θ)‖₂ follows, to first order in r, the gradient
//!
//! > g = (1 − α)·∇L(θ) + α·∇L(θ + r·∇L(θ)/‖∇L(θ)‖₂), α = λ/r
//!
//! (the paper's equation 8 and algorithm 1). The norm is that of all trainable parameters together. α = 1 is
//! sharpness-aware minimisation (Foret et al., ICLR 2021); α = 0 or r = 0 is plain training.

mod mix;
mod perturbation;

pub use mix::Mix;
pub use perturbation::Perturbation;

use crate::graph::{Builder, Graph, Value};
use crate::objective::{Evaluation, Objective};
use crate::{Error, Result};
use serde::Serialize;

/// The passes that added nodes are for, as their names and metadata tell.
pub mod pass {
    /// θ + ε, from θ and ∇L(θ).
    pub const PERTURBATION: &str = "perturbation";
    /// The objective at θ + ε.
    pub const PERTURBED: &str = "perturbed";
    /// The mix of both gradients.
    pub const MIX: &str = "mix";
}

/// The penalty's settings. All numbers are dimensionless, the radius in the units of the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Penalty {
    /// The radius r of the perturbation.
    pub r: f32,
    /// The weight α of the perturbed gradient.
    pub alpha: f32,
    /// How the two gradients are mixed.
    pub mix: Mix,
    /// Where the second gradient is taken.
    pub perturb: Perturbation,
}

impl Default for Penalty {
    /// The paper's recipe for CIFAR: r = 0.1, α = 0.8.
    fn default() -> Self {
        Self { r: 0.1, alpha: 0.8, mix: Mix::Raw, perturb: Perturbation::L2 }
    }
}

impl Penalty {
    /// Checks the numbers.
    ///
    /// # Errors
    /// Where r or α is negative or no finite number.
    pub fn validate(&self) -> Result<()> {
        for (name, value) in [("r", self.r), ("alpha", self.alpha)] {
            if !value.is_finite() || value < 0.0 {
                return Err(Error::input(format!("{name} is {value}; expected a finite number, zero or above")).help(
                    "the paper's recipes have r = 0.1 (0.05 for ImageNet) and alpha = 0.8; alpha = 1 is SAM, 0 is plain training",
                ));
            }
        }
        Ok(())
    }

    /// Whether a step with these numbers is a step of plain training.
    ///
    /// ```
    /// use gnp::penalty::{Mix, Penalty};
    /// assert!(Penalty { r: 0.0, ..Default::default() }.is_plain());
    /// assert!(!Penalty { r: 0.0, mix: Mix::Unit, ..Default::default() }.is_plain());
    /// ```
    pub fn is_plain(&self) -> bool {
        self.mix == Mix::Raw && (self.r == 0.0 || self.alpha == 0.0)
    }
}

/// A number of the penalty as a value of the graph.
#[derive(Clone, Debug)]
pub enum Coefficient {
    /// A constant; the graph is built for just this number.
    Constant(f32),
    /// A float scalar of the graph, known when it runs.
    Value(Value),
}

impl Coefficient {
    fn value(&self, b: &mut Builder<'_>, name: &str) -> Value {
        match self {
            Self::Constant(c) => b.scalar(*c, name),
            Self::Value(value) => value.clone(),
        }
    }

    fn is_constant(&self, number: f32) -> bool {
        matches!(self, Self::Constant(c) if *c == number)
    }
}

/// What the penalty appended.
#[derive(Clone, Debug)]
pub struct Penalised {
    /// g, for each parameter of the objective.
    pub gradients: Vec<Value>,
    /// ‖∇L(θ)‖₂, a float scalar.
    pub gradient_norm: Value,
    /// L(θ + ε), a float scalar.
    pub perturbed_loss: Value,
}

/// Appends the penalised gradient of `objective` to `graph`. Nodes that turn out not to be needed (the second pass where
/// α is the constant 0, say) are left for [`Graph::remove_unused`].
///
/// # Errors
/// As [`Objective::at`].
pub fn apply(
    graph: &mut Graph,
    objective: &impl Objective,
    penalty: &Penalty,
    r: &Coefficient,
    alpha: &Coefficient,
) -> Result<Penalised> {
    let theta = objective.parameters().to_vec();
    let here = objective.at(graph, &theta, pass::PERTURBED)?;
    let perturbed = perturbation::perturb(graph, &theta, &here.gradients, r, penalty.perturb);
    let there =
        if r.is_constant(0.0) { here.clone() } else { objective.at(graph, &perturbed.theta, pass::PERTURBED)? };
    let Evaluation { gradients: g1, .. } = here;
    let gradients = mix::mix(graph, &g1, &there.gradients, &perturbed.gradient_norm, alpha, penalty.mix);
    Ok(Penalised { gradients, gradient_norm: perturbed.gradient_norm, perturbed_loss: there.loss })
}
