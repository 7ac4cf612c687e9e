//! What a kernel works on, and where it is put.

use cudarc::driver::sys::{CUdeviceptr, CUstream};
use gnp_base::Result;

/// Float32 memory on a card, in row-major order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tensor<'a> {
    pub(crate) address: CUdeviceptr,
    pub(crate) shape: &'a [usize],
}

/// A kernel of any operands that broadcast against each other.
pub(crate) trait OfOperands {
    /// The shape of the output.
    ///
    /// # Errors
    /// Where the operands do not broadcast, or are not those of the kernel.
    fn shape(&self, shapes: &[&[usize]]) -> Result<Vec<usize>>;

    /// Puts the kernel into the queue. `output` has the shape that [`Self::shape`] tells.
    ///
    /// # Errors
    /// What the card refuses.
    ///
    /// # Safety
    /// The tensors are there until the queue has come so far. No operand is the memory of the output, but for a kernel
    /// that says otherwise.
    unsafe fn enqueue(&self, operands: &[Tensor<'_>], output: Tensor<'_>, queue: &dyn Queue) -> Result<()>;
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
