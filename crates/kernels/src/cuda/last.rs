//! What a kernel was launched with last, which the next launch mostly is as well.

use super::device::Device;
use super::queue::Tensor;
use gnp_base::Result;
use std::sync::{Mutex, PoisonError};

/// The bytes that a thread reads at once.
const WIDE: u64 = 16;

/// What was made for the operands of the last run.
pub(super) struct Last<T>(Mutex<Option<(Key, T)>>);

/// What a launch is made for.
struct Key {
    device: Device,
    shapes: Vec<Vec<usize>>,
    is_aligned: bool,
}

impl<T> Default for Last<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> Last<T> {
    /// What belongs to `operands` and `output` on the current card: that of the last run, or what `make` makes for the
    /// card, told whether the addresses of all are those of wide reads.
    pub(super) fn get(
        &self,
        operands: &[Tensor<'_>],
        output: Tensor<'_>,
        make: impl FnOnce(Device, bool) -> Result<T>,
    ) -> Result<T> {
        let device = Device::current()?;
        let is_aligned = operands.iter().chain([&output]).all(|tensor| tensor.address.is_multiple_of(WIDE));
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((key, made)) = &*last {
            let shapes = key.shapes.iter().map(|shape| &shape[..]);
            let same = shapes.eq(operands.iter().map(|operand| operand.shape));
            if same && key.is_aligned == is_aligned && key.device == device {
                return Ok(made.clone());
            }
        }
        let made = make(device, is_aligned)?;
        let shapes = operands.iter().map(|operand| operand.shape.to_vec()).collect();
        *last = Some((Key { device, shapes, is_aligned }, made.clone()));
        Ok(made)
    }
}
