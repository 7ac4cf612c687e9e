//! Activations by the names that the attribute `activations` has for them.

use crate::graph::{Builder, Value};
use crate::onnx::proto::AttributeProto;
use gnp_base::{Error, Result};

/// Where an activation has one of its two numbers from.
#[derive(Clone, Copy, Debug)]
enum Number {
    /// It has none.
    None,
    /// The lists, or this default.
    Or(f32),
    /// The lists: ONNX Runtime has another default than the operator of this name.
    Given,
}

use Number::{Given, None as Without, Or};

/// The standard's name, and where α and β come from.
const KINDS: [(&str, Number, Number); 11] = [
    ("Relu", Without, Without),
    ("Tanh", Without, Without),
    ("Sigmoid", Without, Without),
    ("Softsign", Without, Without),
    ("Softplus", Without, Without),
    ("Affine", Given, Given),
    ("LeakyRelu", Or(0.01), Without),
    ("ThresholdedRelu", Given, Without),
    ("ScaledTanh", Given, Given),
    ("HardSigmoid", Or(0.2), Or(0.5)),
    ("Elu", Or(1.0), Without),
];

/// An activation with its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Activation {
    name: &'static str,
    alpha: f32,
    beta: f32,
}

impl Activation {
    /// The activations `names`. Each that has an α or β takes the next number of `alphas` or `betas`.
    ///
    /// # Errors
    /// Where a name is none of the standard's, or an activation has no number and no default.
    pub fn list<'n>(
        names: impl Iterator<Item = &'n str>,
        mut alphas: impl Iterator<Item = f32>,
        mut betas: impl Iterator<Item = f32>,
    ) -> Result<Vec<Self>> {
        let one = |name: &str| {
            let kind = KINDS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name));
            let Some(&(name, alpha, beta)) = kind else {
                return Err(Error::unsupported(format!("its activation `{name}` is none of the standard's")));
            };
            let number = |from: Number, list: &mut dyn Iterator<Item = f32>, attribute: &str| match from {
                Without => Ok(0.0),
                Or(default) => Ok(list.next().unwrap_or(default)),
                Given => list.next().ok_or_else(|| {
                    Error::unsupported(format!("its activation {name} has no number in `{attribute}`"))
                        .help("give it there: engines differ in what they take in its place")
                }),
            };
            Ok(Self {
                name,
                alpha: number(alpha, &mut alphas, "activation_alpha")?,
                beta: number(beta, &mut betas, "activation_beta")?,
            })
        };
        names.map(one).collect()
    }

    /// The activation of `x`, in standard operators.
    pub fn of(&self, x: &Value, b: &Builder<'_>) -> Value {
        let (alpha, beta) = (f64::from(self.alpha), f64::from(self.beta));
        let with = |attributes: &[(&str, f32)]| {
            let attributes = attributes.iter().map(|(name, number)| AttributeProto::float(name, *number)).collect();
            b.node(self.name, &[x], attributes, b.fact(x))
        };
        match self.name {
            "Affine" => b.plus(b.scale(x, alpha), beta),
            "ScaledTanh" => b.scale(b.unary("Tanh", b.scale(x, beta)), alpha),
            "HardSigmoid" => with(&[("alpha", self.alpha), ("beta", self.beta)]),
            "LeakyRelu" | "ThresholdedRelu" | "Elu" => with(&[("alpha", self.alpha)]),
            name => b.unary(name, x),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str], alphas: &[f32], betas: &[f32]) -> Result<Vec<(&'static str, f32, f32)>> {
        let list = Activation::list(names.iter().copied(), alphas.iter().copied(), betas.iter().copied())?;
        Ok(list.into_iter().map(|a| (a.name, a.alpha, a.beta)).collect())
    }

    #[test]
    fn numbers_go_to_those_that_have_any() {
        let found = list(&["hardsigmoid", "Tanh", "ScaledTanh", "LeakyRelu"], &[0.3, 0.4], &[0.6, 0.7]).unwrap();
        let expected =
            [("HardSigmoid", 0.3, 0.6), ("Tanh", 0.0, 0.0), ("ScaledTanh", 0.4, 0.7), ("LeakyRelu", 0.01, 0.0)];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for (names, says) in [(["Sine"], "`Sine` is none"), (["Affine"], "Affine has no number in `activation_alpha`")]
        {
            let error = list(&names, &[], &[]).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
