//! θ + ε: where the second gradient is taken.

use super::{Coefficient, pass};
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
/// compared with 0 before it divides.
pub(super) fn perturb(
    graph: &mut Graph,
    theta: &[Value],
    gradients: &[Value],
    gradient_norm: &Value,
    r: &Coefficient,
    kind: Perturbation,
) -> Vec<Value> {
    let mut b = Builder::new(graph, pass::PERTURBATION);
    let r = r.value(&mut b, "r");
    match kind {
        Perturbation::L2 => {
            let scale = over_norm(&mut b, &r, gradient_norm, "scale");
            let step = |(w, g): (&Value, &Value)| {
                let epsilon = b.op("Mul", &[g, &scale], &format!("{w}/epsilon"));
                b.op("Add", &[w, &epsilon], w)
            };
            theta.iter().zip(gradients).map(step).collect()
        }
        Perturbation::Adaptive => {
            let scaled: Vec<_> = theta
                .iter()
                .zip(gradients)
                .map(|(w, g)| b.op("Mul", &[w, g], &format!("{w}/weighted_gradient")))
                .collect();
            let length = norm(&mut b, theta, &scaled, "weighted_gradient_norm");
            let scale = over_norm(&mut b, &r, &length, "scale");
            let step = |(w, wg): (&Value, &Value)| {
                let direction = b.op("Mul", &[w, wg], &format!("{w}/direction"));
                let epsilon = b.op("Mul", &[&direction, &scale], &format!("{w}/epsilon"));
                b.op("Add", &[w, &epsilon], w)
            };
            theta.iter().zip(&scaled).map(step).collect()
        }
    }
}

/// ‖v‖₂ over all of `values` together, a scalar; `of` gives each a name.
pub(super) fn norm(b: &mut Builder<'_>, of: &[Value], values: &[Value], name: &str) -> Value {
    let squares: Vec<_> = of
        .iter()
        .zip(values)
        .map(|(w, v)| {
            let path = format!("{name}/squares/{w}");
            b.op_with("ReduceSumSquare", &[v], vec![AttributeProto::int("keepdims", 0)], &path)
        })
        .collect();
    let sum = b.op("Sum", &squares.iter().collect::<Vec<_>>(), &format!("{name}/sum_of_squares"));
    b.op("Sqrt", &[&sum], name)
}

/// `numerator`/`norm`, and 0 where the norm is 0.
pub(super) fn over_norm(b: &mut Builder<'_>, numerator: &Value, norm: &Value, name: &str) -> Value {
    let zero = b.scalar(0.0, &format!("{name}/zero"));
    let nonzero = b.op("Greater", &[norm, &zero], &format!("{name}/nonzero"));
    let ratio = b.op("Div", &[numerator, norm], &format!("{name}/ratio"));
    b.op("Where", &[&nonzero, &ratio, &zero], name)
}
