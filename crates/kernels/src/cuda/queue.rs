//! What a kernel works on, and where it is put.

use cudarc::driver::sys::{CUdeviceptr, CUstream};
use gnp_base::Result;

/// Float32 memory on a card, in row-major order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tensor<'a> {
    pub(crate) address: CUdeviceptr,
    pub(crate) shape: &'a [usize],
}

/// A stream, which computes what is put into it in that order, and memory for that.
pub(crate) trait Queue {
    /// The stream.
    ///
    /// # Errors
    /// Where there is none.
    fn stream(&self) -> Result<CUstream>;

    /// Lends so many bytes of the card's memory to what `work` puts into the stream.
    fn scratch(&self, bytes: usize, work: &mut dyn FnMut(CUdeviceptr) -> Result<()>) -> Result<()>;
}
