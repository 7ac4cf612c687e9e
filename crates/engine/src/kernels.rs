//! Whether gnp's own kernels compute the functions that a step model calls.

use serde::{Deserialize, Serialize};
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// What computes the functions that a step model calls.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum Kernels {
    /// gnp's own kernels where there are any: on the processor, with ONNX Runtime
    #[default]
    Auto,
    /// The standard operators that the functions are made of
    None,
}
