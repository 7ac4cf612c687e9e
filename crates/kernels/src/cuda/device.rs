//! The card that a thread computes on.

use cudarc::driver::sys::{self, CUdevice_attribute, CUresult};
use gnp_base::{Error, Result};

/// A card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Device {
    pub(crate) number: i32,
    /// How many blocks of threads run at once, at least.
    pub(crate) multiprocessors: u32,
    /// 90 for the compute capability 9.0.
    pub(crate) capability: u32,
}

impl Device {
    /// The one of the calling thread's context.
    pub(crate) fn current() -> Result<Self> {
        let mut number = 0;
        // SAFETY: the out pointer is valid.
        check(unsafe { sys::cuCtxGetDevice(&mut number) })?;
        let attribute = |attribute| {
            let mut value = 0;
            // SAFETY: the out pointer is valid, and the card exists.
            check(unsafe { sys::cuDeviceGetAttribute(&mut value, attribute, number) })?;
            u32::try_from(value).map_err(|_| Error::engine("the driver tells a card's size as a negative number"))
        };
        let major = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let multiprocessors = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        Ok(Self { number, multiprocessors, capability: 10 * major + minor })
    }
}

/// What the driver says.
pub(crate) fn check(status: CUresult) -> Result<()> {
    status.result().map_err(|error| Error::engine(format!("NVIDIA's driver: {error}")))
}
