//! θ + ε: where the second gradient is taken.

use super::{Coefficient, condition, scalar};
use crate::pass;
use gnp_model::graph::{Builder, Graph, Value};
use gnp_model::onnx::proto::AttributeProto;
use serde::{Deserialize, Serialize};
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// The direction of the perturbation, of length r in its own norm.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "lowercase")]
pub enum Perturbation {
    /// ε = r·g/‖g‖₂, that of GNP and SAM.
    #[default]
    L2,
    /// ε = r·θ²∘g/‖θ∘g‖₂, that of ASAM (Kwon et al., ICML 2021), which does not change when weights are rescaled.
    Adaptive,
}

/// Appends θ + ε; `gradient_norm` is that of `gradients`. Where g is zero ε is zero: the length of the direction is
/// compared with 0 before it divides. Where g `may_overflow` and is not finite, ε is zero as well.
pub(super) fn perturb(
    graph: &mut Graph,
    theta: &[Value],
    gradients: &[Value],
    gradient_norm: &Value,
    r: &Coefficient,
    kind: Perturbation,
    may_overflow: bool,
) -> Vec<Value> {
    let b = Builder::new(graph, pass::PERTURBATION);
    let r = r.value(&b, "r");
    let guard = may_overflow.then(|| (is_finite(&b, gradient_norm, "finite"), b.scalar(0.0, "zero")));
    let guarded = |w: &Value, epsilon: Value| match &guard {
        Some((finite, zero)) => b.named(&format!("{w}/guarded"), "Where", &[finite, &epsilon, zero], b.fact(w)),
        None => epsilon,
    };
    match kind {
        Perturbation::L2 => {
            let scale = over_norm(&b, &r, gradient_norm, "scale");
            let step = |(w, g): (&Value, &Value)| {
                let epsilon = guarded(w, b.named(&format!("{w}/epsilon"), "Mul", &[g, &scale], b.fact(w)));
                b.named(w, "Add", &[w, &epsilon], b.fact(w))
            };
            theta.iter().zip(gradients).map(step).collect()
        }
        Perturbation::Adaptive => {
            let scaled =
                |(w, g): (&Value, &Value)| b.named(&format!("{w}/weighted_gradient"), "Mul", &[w, g], b.fact(w));
            let scaled: Vec<_> = theta.iter().zip(gradients).map(scaled).collect();
            let length = norm(&b, theta, &scaled, "weighted_gradient_norm");
            let scale = over_norm(&b, &r, &length, "scale");
            let step = |(w, wg): (&Value, &Value)| {
                let direction = b.named(&format!("{w}/direction"), "Mul", &[w, wg], b.fact(w));
                let epsilon = guarded(w, b.named(&format!("{w}/epsilon"), "Mul", &[&direction, &scale], b.fact(w)));
                b.named(w, "Add", &[w, &epsilon], b.fact(w))
            };
            theta.iter().zip(&scaled).map(step).collect()
        }
    }
}

/// ‖v‖₂ over all of `values` together, a scalar; `of` gives each a name.
pub(super) fn norm(b: &Builder<'_>, of: &[Value], values: &[Value], name: &str) -> Value {
    let squares: Vec<_> = of
        .iter()
        .zip(values)
        .map(|(w, v)| {
            let path = format!("{name}/squares/{w}");
            let attributes = vec![AttributeProto::int("keepdims", 0)];
            b.named_in(&path, ("", "ReduceSumSquare"), &[v], attributes, scalar())
        })
        .collect();
    let squares: Vec<_> = squares.iter().collect();
    let sum = b.named(&format!("{name}/sum_of_squares"), "Sum", &squares, scalar());
    b.named(name, "Sqrt", &[&sum], scalar())
}

/// Whether a norm is a number, neither infinite nor NaN: a boolean scalar.
pub(crate) fn is_finite(b: &Builder<'_>, norm: &Value, name: &str) -> Value {
    let largest = b.scalar(f32::MAX, &format!("{name}/largest"));
    b.named(name, "LessOrEqual", &[norm, &largest], condition())
}

/// `numerator`/`norm`, and 0 where the norm is 0.
pub(super) fn over_norm(b: &Builder<'_>, numerator: &Value, norm: &Value, name: &str) -> Value {
    let zero = b.scalar(0.0, &format!("{name}/zero"));
    let nonzero = b.named(&format!("{name}/nonzero"), "Greater", &[norm, &zero], condition());
    let ratio = b.named(&format!("{name}/ratio"), "Div", &[numerator, norm], scalar());
    b.named(name, "Where", &[&nonzero, &ratio, &zero], scalar())
}
