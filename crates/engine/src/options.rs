//! How an engine computes: what all engines have in common.

use crate::{Device, Kernels};
use std::num::NonZero;

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
    /// What computes the functions that a step model calls.
    pub kernels: Kernels,
}
