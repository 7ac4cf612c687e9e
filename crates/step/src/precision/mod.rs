//! Mixed precision: forward and backward pass in half precision, all that is kept in single.
//!
//! The parameters θ stay float32, as master weights. Before the graph is differentiated, casts are put around the
//! operators that gain by half precision (`policy.rs`, `cast.rs`); the gradient follows by the rules, which know the
//! types of their values, and comes back to float32 at θ, by the gradient of a cast. So norms, perturbation, mix,
//! clipping, decay and the optimizer compute in float32, and the second pass is in half precision as the first one is.
//!
//! What is too small for float16 is kept by a scale of the loss (`scale.rs`), which is state of the step model: a step
//! whose gradient is not finite is not taken, and the next one has half of the scale.
//!
//! Micikevicius et al., *Mixed Precision Training*, ICLR 2018.

mod cast;
mod policy;
mod scale;

pub(crate) use cast::{Halved, halve};
pub(crate) use scale::LossScaling;
pub use scale::Scaled;

use gnp_base::{Error, Result};
use gnp_model::onnx::DataType;
use serde::{Deserialize, Serialize};
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// What forward and backward pass compute in.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision
    #[default]
    Float32,
    /// Products and what stands between them in half precision, with a scale of the loss that adjusts itself
    Float16,
    /// The same in the 16 bits that have the range of float32, and so need no scale
    Bfloat16,
}

impl Precision {
    /// The type of the elements that are in half precision, where there are any.
    pub fn half(self) -> Option<DataType> {
        match self {
            Self::Float32 => None,
            Self::Float16 => Some(DataType::Float16),
            Self::Bfloat16 => Some(DataType::Bfloat16),
        }
    }

    /// What people call it, which is also its word on the command line.
    ///
    /// ```
    /// use gnp_step::precision::Precision;
    /// assert_eq!(Precision::Bfloat16.name(), "bfloat16");
    /// ```
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What the loss is multiplied with before its gradient is taken; the gradient is divided by it in float32.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossScale {
    /// Nothing. A gradient that is not finite ends a run, as in single precision.
    Off,
    /// A number that is state: it begins with this one, is halved after a step whose gradient is not finite, and
    /// doubled after 2,000 steps in a row whose gradients are.
    Dynamic(f32),
}

impl LossScale {
    /// Where a scale begins of which nothing was said: as in PyTorch's `GradScaler`.
    pub const FIRST: f32 = 65536.0;

    /// The scale of a precision of which nothing else was said.
    ///
    /// ```
    /// use gnp_step::precision::{LossScale, Precision};
    /// assert_eq!(LossScale::of(Precision::Float16), LossScale::Dynamic(65536.0));
    /// assert_eq!(LossScale::of(Precision::Bfloat16), LossScale::Off);
    /// ```
    pub fn of(precision: Precision) -> Self {
        if precision == Precision::Float16 { Self::Dynamic(Self::FIRST) } else { Self::Off }
    }

    /// # Errors
    /// Where the number is none to begin with.
    pub(crate) fn validate(self) -> Result<()> {
        match self {
            Self::Dynamic(first) if !(1.0..=scale::LARGEST).contains(&first) => Err(Error::input(format!(
                "the scale of the loss is {first}; expected a number from 1 to {}",
                scale::LARGEST
            ))
            .help("leave --loss-scale out for 65536, or name off")),
            _ => Ok(()),
        }
    }
}
