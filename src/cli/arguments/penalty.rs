//! The penalty's numbers and forms.

use super::named::named;
use crate::penalty::{Mix, Penalty, Perturbation};
use crate::{Error, Result};
use clap::Args;

/// The penalty.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Penalty")]
pub struct PenaltyArguments {
    /// The radius r of the perturbation; 0 is plain training [default: 0.1]
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    r: Option<f32>,
    /// The weight of the perturbed gradient: 1 is SAM, 0 is plain training (in the unit mix normalised gradient
    /// descent) [default: 0.8]
    #[arg(long, value_name = "ALPHA", allow_negative_numbers = true)]
    alpha: Option<f32>,
    /// The weight of the penalty in the loss, in place of alpha, which is then lambda/r
    #[arg(long, value_name = "LAMBDA", allow_negative_numbers = true, conflicts_with = "alpha")]
    lambda: Option<f32>,
    /// How the gradient at w enters the mix [default: raw]
    #[arg(long, value_parser = named::<Mix>())]
    mix: Option<Mix>,
    /// The direction in which the second gradient is taken [default: l2]
    #[arg(long, value_parser = named::<Perturbation>())]
    perturb: Option<Perturbation>,
}

impl PenaltyArguments {
    /// The penalty that is asked for.
    ///
    /// # Errors
    /// Where λ is no finite number or there is no radius to divide it by.
    pub fn penalty(&self) -> Result<Penalty> {
        let default = Penalty::default();
        let r = self.r.unwrap_or(default.r);
        let alpha = match (self.alpha, self.lambda) {
            (_, Some(_)) if r == 0.0 => {
                return Err(Error::input("--lambda needs a radius: alpha is lambda/r, and r is 0")
                    .help("give --r above 0, or --alpha in place of --lambda"));
            }
            (_, Some(lambda)) if lambda.is_finite() && lambda >= 0.0 => lambda / r,
            (_, Some(lambda)) => {
                return Err(Error::input(format!("lambda is {lambda}; expected a finite number, zero or above"))
                    .help("the paper's recipe for CIFAR has lambda = 0.08 at r = 0.1"));
            }
            (Some(alpha), None) => alpha,
            (None, None) => default.alpha,
        };
        let (mix, perturb) = (self.mix.unwrap_or_default(), self.perturb.unwrap_or_default());
        Ok(Penalty { r, alpha, mix, perturb })
    }

    /// r, where it is given.
    pub fn r(&self) -> Option<f32> {
        self.r
    }

    /// α, where it is given.
    pub fn alpha(&self) -> Option<f32> {
        self.alpha
    }
}
