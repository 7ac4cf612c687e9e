//! How an engine computes: what all engines have in common.

use crate::{Device, Kernels};
use serde::{Deserialize, Serialize};
use std::num::NonZero;
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// How an engine computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineOptions {
    /// Where it computes.
    pub device: Device,
    /// What the random draws of every step follow from, together with the number of the step: the same seed gives the
    /// same run, stopped and resumed or not, whatever other engines do.
    pub seed: i64,
    /// The number of threads that one operator may use; one a core where absent.
    pub threads: Option<NonZero<u16>>,
    /// How images lie in memory.
    pub layout: Layout,
    /// What computes the functions that a step model calls.
    pub kernels: Kernels,
}

/// How images lie in memory while a step is computed.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// As the engine computes convolutions fastest: in blocks of channels on the processor, with ONNX Runtime
    #[default]
    Auto,
    /// As the model says
    Plain,
}
