//! What gradients are made of.

use serde::{Deserialize, Serialize};
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// The operators that gradients are made of. All choices have the standard ones.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum Gradients {
    /// Standard operators, which every engine has
    #[default]
    Standard,
    /// Those of ONNX Runtime's training build too, where they are exact and save time on the processor
    Ort,
    /// Those that are exact and have kernels for CUDA
    OrtCuda,
}
