//! How an engine computes: what all engines have in common.

use crate::{Device, Kernels};
use gnp_base::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZero;
use std::str::FromStr;
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// How an engine computes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineOptions {
    /// Where it computes.
    pub device: Device,
    /// What the random draws of every step follow from, together with the number of the step: the same seed gives the
    /// same run, stopped and resumed or not, whatever other engines do.
    pub seed: i64,
    /// The number of threads that one operator may use; one a core where absent.
    pub threads: Option<NonZero<u16>>,
    /// How the graph is arranged.
    pub layout: Layout,
    /// What computes the functions that a step model calls.
    pub kernels: Kernels,
    /// Whether products of matrices on NVIDIA's cards may be of factors rounded to TF32; where absent, they are, as
    /// ONNX Runtime has it. With any other device there is nothing to choose.
    pub tf32: Option<Tf32>,
    /// What computes in half precision, where a step model asks for that.
    pub half: HalfPrecision,
    /// Whether steps on NVIDIA's cards are recorded as CUDA graphs.
    pub cuda_graph: CudaGraph,
    /// ONNX Runtime's own options; no other engine has any.
    pub ort: Vec<OrtOption>,
    /// Whether the time that operators take is recorded. ONNX Runtime does that, of step models on the processor.
    pub profile: bool,
}

impl EngineOptions {
    /// Checks that a profile is asked for where it would be one.
    ///
    /// # Errors
    /// Where the device is one of NVIDIA's cards.
    #[cfg(feature = "ort")]
    pub(crate) fn check_profile(&self) -> Result<()> {
        if self.profile && self.device != Device::Cpu {
            return Err(Error::input(format!(
                "--profile is of no use on {}: ONNX Runtime records when an operator is given to a card, not how long \
                 that computes it",
                self.device
            ))
            .help("leave it out, and run gnp-run under NVIDIA's profiler: nsys profile gnp-run …"));
        }
        Ok(())
    }

    /// A refusal of an engine that records no times.
    ///
    /// # Errors
    /// Where a profile is asked for.
    #[cfg(any(feature = "ort", feature = "tract"))]
    pub(crate) fn refuse_profile(&self, engine: &str) -> Result<()> {
        if self.profile {
            return Err(Error::input(format!("--profile is of no use: {engine} records no times of operators"))
                .help("leave it out, or train a step model with --engine onnxruntime"));
        }
        Ok(())
    }

    /// Checks that TF32 is chosen only where there is something to choose.
    ///
    /// # Errors
    /// Where the device is not one of NVIDIA's cards.
    pub(crate) fn check_tf32(&self) -> Result<()> {
        match (self.tf32, self.device) {
            (Some(_), Device::Cpu) => {
                Err(Error::input("--tf32 is of no use: the processor computes with float32 throughout")
                    .help("leave it out, or use --device cuda"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether products of matrices, and convolutions, are of factors rounded to TF32: to 10 bits of fraction of the 23
/// that float32 has. Sums are of float32.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum Tf32 {
    /// Products of factors rounded to TF32, several times as fast
    #[default]
    On,
    /// Products of float32
    Off,
}

/// What computes the operators of a step model that are in half precision.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum HalfPrecision {
    /// Kernels for it: those of cards; a processor without them is refused
    #[default]
    Native,
    /// On the processor, kernels of float32 whose results are rounded: slower than float32, to try float16 without a card
    Emulated,
}

/// Whether the work that a step gives to a card is recorded once, and then given to it as a whole.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum CudaGraph {
    /// Recorded where ONNX Runtime can: with steps of one shape, all of which the card computes
    #[default]
    Auto,
    /// Every operator by itself
    Off,
}

/// An option in ONNX Runtime's own words: of its sessions where the key has a dot (`session.use_env_allocators`), else
/// of the device's execution provider (`cudnn_conv_algo_search`).
///
/// ```
/// use gnp_engine::OrtOption;
/// let option: OrtOption = "cudnn_conv_algo_search=HEURISTIC".parse()?;
/// assert_eq!((&*option.key, &*option.value), ("cudnn_conv_algo_search", "HEURISTIC"));
/// assert!("cudnn_conv_algo_search".parse::<OrtOption>().is_err());
/// # Ok::<(), gnp_base::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrtOption {
    /// Its name.
    pub key: String,
    /// Its value, as ONNX Runtime reads it.
    pub value: String,
}

impl OrtOption {
    /// Whether it is an option of sessions, on whatever device.
    pub fn is_of_sessions(&self) -> bool {
        self.key.contains('.')
    }
}

impl FromStr for OrtOption {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self { key: key.to_owned(), value: value.to_owned() }),
            _ => Err(Error::input(format!("`{text}` is no option: expected KEY=VALUE"))),
        }
    }
}

impl fmt::Display for OrtOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// How the graph of a step is arranged while it is computed: how images lie in memory, what computes products,
/// sums and norms.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// As the engine is fastest: on the processor, with ONNX Runtime, images in blocks of channels; products,
    /// sums and norms by gnp's kernels
    #[default]
    Auto,
    /// As the model says
    Plain,
}
