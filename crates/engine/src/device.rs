//! The device that an engine computes on.

use gnp_base::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// The device that an engine computes on.
///
/// ```
/// use gnp_engine::Device;
/// assert_eq!("cpu".parse::<Device>()?, Device::Cpu);
/// assert_eq!("cuda".parse::<Device>()?, Device::Cuda(0));
/// assert_eq!("cuda:1".parse::<Device>()?.to_string(), "cuda:1");
/// assert!("gpu".parse::<Device>().is_err());
/// # Ok::<(), gnp_base::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The NVIDIA GPU of this number, from 0.
    Cuda(u32),
}

impl Device {
    /// The bytes that are free on a card; none of the processor, or where there is no such card that can be asked.
    pub fn free_on_card(self) -> Option<u64> {
        match self {
            #[cfg(feature = "cuda")]
            Self::Cuda(number) => gnp_kernels::cuda::memory::free(number),
            _ => None,
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", number)) => number.parse().map(Self::Cuda).map_err(|_| unknown(text)),
            _ => Err(unknown(text)),
        }
    }
}

fn unknown(text: &str) -> Error {
    Error::input(format!("unknown device `{text}`: expected `cpu`, `cuda` or `cuda:<number>`"))
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_device_is_refused_by_name() {
        for text in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "CUDA"] {
            let error = text.parse::<Device>().unwrap_err();
            assert!(error.to_string().starts_with(&format!("unknown device `{text}`")), "{error}");
        }
    }
}
