//! The α-weighted mix of the two gradients.

use super::perturbation::over_norm;
use super::{Coefficient, condition, scalar};
use crate::pass;
use gnp_model::graph::{Builder, Graph, Value};
use serde::{Deserialize, Serialize};
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// How the gradient at θ enters the mix. Where r = 0 the step is plain, whatever the mix.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "lowercase")]
pub enum Mix {
    /// (1 − α)·g₁ + α·g₂, the published formula.
    #[default]
    Raw,
    /// (1 − α)·g₁/‖g₁‖ + α·g₂, the default of the authors' code (its option `norm_perturbations`). The first term never
    /// vanishes, and α = 0 is normalised gradient descent.
    Unit,
}

/// Appends the mix of `g1` = ∇L(θ), whose norm is `norm`, and `g2` = ∇L(θ + ε).
pub(super) fn mix(
    graph: &mut Graph,
    g1: &[Value],
    g2: &[Value],
    norm: &Value,
    r: &Coefficient,
    alpha: &Coefficient,
    kind: Mix,
) -> Vec<Value> {
    if r.is_constant(0.0) || alpha.is_constant(0.0) {
        return without_second_pass(graph, g1, norm, r, kind);
    }
    if alpha.is_constant(1.0) {
        return g2.to_vec();
    }
    let b = Builder::new(graph, pass::MIX);
    let here = match alpha {
        Coefficient::Constant(alpha) => b.scalar(1.0 - alpha, "one_minus_alpha"),
        Coefficient::Value(alpha) => {
            let one = b.scalar(1.0, "one");
            b.named("one_minus_alpha", "Sub", &[&one, alpha], scalar())
        }
    };
    let here = match kind {
        Mix::Raw => here,
        Mix::Unit => over_norm_unless_plain(&b, &here, norm, r, "one_minus_alpha_over_norm"),
    };
    let there = alpha.value(&b, "alpha");
    let weigh = |(g1, g2): (&Value, &Value)| {
        let first = b.named(&format!("{g1}/here"), "Mul", &[g1, &here], b.fact(g1));
        let second = b.named(&format!("{g1}/there"), "Mul", &[g2, &there], b.fact(g1));
        b.named(g1, "Add", &[&first, &second], b.fact(g1))
    };
    g1.iter().zip(g2).map(weigh).collect()
}

/// Appends what the mix is where r or α is 0: g₁, and in the unit mix g₁/‖g₁‖ where r is above 0, so that it is α that
/// is 0.
pub(super) fn without_second_pass(
    graph: &mut Graph,
    g1: &[Value],
    norm: &Value,
    r: &Coefficient,
    kind: Mix,
) -> Vec<Value> {
    if kind == Mix::Raw || r.is_constant(0.0) {
        return g1.to_vec();
    }
    let b = Builder::new(graph, pass::MIX);
    let one = b.scalar(1.0, "one");
    let scale = over_norm_unless_plain(&b, &one, norm, r, "one_over_norm");
    g1.iter().map(|g1| b.named(g1, "Mul", &[g1, &scale], b.fact(g1))).collect()
}

/// `numerator`/`norm` where r is above 0, else `numerator`.
fn over_norm_unless_plain(b: &Builder<'_>, numerator: &Value, norm: &Value, r: &Coefficient, name: &str) -> Value {
    let ratio = over_norm(b, numerator, norm, name);
    let Coefficient::Value(r) = r else { return ratio };
    let zero = b.scalar(0.0, &format!("{name}/zero"));
    let penalised = b.named(&format!("{name}/penalised"), "Greater", &[r, &zero], condition());
    b.named(&format!("{name}/unless_plain"), "Where", &[&penalised, &ratio, numerator], scalar())
}
