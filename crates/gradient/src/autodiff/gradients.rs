//! What gradients are made of.

use serde::{Deserialize, Serialize};
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// The operators that gradients are made of. Each choice has those of the ones before it.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    VariantArray,
    IntoStaticStr,
    EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum Gradients {
    /// Standard operators, which every engine has
    #[default]
    Standard,
    /// Those of ONNX Runtime's training build too, where they are exact and save time on the processor
    Ort,
    /// All of those that are exact, for CUDA
    OrtCuda,
}
