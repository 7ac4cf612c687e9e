//! Float32 memory of a kernel's inputs and outputs, shared by its threads.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;
use std::slice;

/// Floats that live for `'a`. An output may be the memory of an input, so nothing is said of who else reads it.
#[derive(Clone, Copy)]
pub struct Floats<'a> {
    pointer: *mut f32,
    length: usize,
    of: PhantomData<&'a [Cell<f32>]>,
}

// SAFETY: whoever writes through it ([`Floats::cells`]) answers for no other thread being there.
unsafe impl Send for Floats<'_> {}
// SAFETY: as above.
unsafe impl Sync for Floats<'_> {}

impl<'a> From<&'a [f32]> for Floats<'a> {
    fn from(floats: &'a [f32]) -> Self {
        Self { pointer: floats.as_ptr().cast_mut(), length: floats.len(), of: PhantomData }
    }
}

impl<'a> From<&'a mut [f32]> for Floats<'a> {
    fn from(floats: &'a mut [f32]) -> Self {
        Self { pointer: floats.as_mut_ptr(), length: floats.len(), of: PhantomData }
    }
}

impl<'a> Floats<'a> {
    /// # Safety
    /// The memory is that of `length` floats for `'a`. Where it is written through, it is memory that may be, and
    /// nobody else holds a reference to it.
    pub unsafe fn new(pointer: *mut f32, length: usize) -> Self {
        // The empty slice of an allocator may have no address.
        let pointer = if length == 0 { std::ptr::NonNull::dangling().as_ptr() } else { pointer };
        Self { pointer, length, of: PhantomData }
    }

    /// Where the first is, in the memory of a card.
    #[cfg(feature = "cuda")]
    pub(crate) fn address(&self) -> u64 {
        self.pointer as u64
    }

    /// Where the first is. Who writes through it answers for it as with [`Self::write`].
    pub(crate) fn pointer(&self) -> *mut f32 {
        self.pointer
    }

    /// Some of the floats.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.length);
        Self { pointer: self.pointer.wrapping_add(range.start), length: range.len(), of: PhantomData }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// The floats, to be read, or by an output's only thread to be written.
    ///
    /// # Safety
    /// No other thread reads or writes what is written through the cells. What was a shared slice is not written.
    pub(crate) unsafe fn cells(&self) -> &'a [Cell<f32>] {
        // SAFETY: the memory is there for `'a`, and `Cell<f32>` is laid out as its float; the rest is the contract of
        // this function.
        unsafe { slice::from_raw_parts(self.pointer.cast(), self.length) }
    }

    /// The floats.
    ///
    /// # Safety
    /// Nobody writes them for `'a`.
    pub(crate) unsafe fn read(&self) -> &'a [f32] {
        // SAFETY: the memory is there for `'a`; the rest is the contract of this function.
        unsafe { slice::from_raw_parts(self.pointer, self.length) }
    }

    /// The floats, to be written.
    ///
    /// # Safety
    /// Nobody else reads or writes them for `'a`, and they are no shared slice.
    pub(crate) unsafe fn write(&self) -> &'a mut [f32] {
        // SAFETY: as above.
        unsafe { slice::from_raw_parts_mut(self.pointer, self.length) }
    }
}
