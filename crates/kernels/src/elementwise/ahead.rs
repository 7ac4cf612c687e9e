//! Memory that the next block reads and writes, asked for while this one is computed: a processor asks by itself for
//! what comes next in a long run, and blocks are as short as its first cache is small.

use std::cell::Cell;

/// Floats that a processor moves at once.
const LINE: usize = 16;

/// Instructions below which a block is computed before what is asked for can come.
const WORTH: usize = 3;

/// Runs of memory, and how much of them was asked for.
#[derive(Default)]
pub(crate) struct Ahead<'a> {
    runs: Vec<&'a [Cell<f32>]>,
}

impl<'a> Ahead<'a> {
    pub(crate) fn clear(&mut self) {
        self.runs.clear();
    }

    pub(crate) fn push(&mut self, run: &'a [Cell<f32>]) {
        self.runs.push(run);
    }

    /// Asks for part number `part` of `parts` of each run. Where all is asked for at once, the processor waits.
    #[inline(never)]
    pub(crate) fn ask(&self, part: usize, parts: usize) {
        if parts < WORTH {
            return;
        }
        for run in &self.runs {
            let lines = run.len().div_ceil(LINE);
            for line in lines * part / parts..lines * (part + 1) / parts {
                prefetch(run.as_ptr().wrapping_add(line * LINE));
            }
        }
    }
}

#[inline(always)]
fn prefetch(of: *const Cell<f32>) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: it is a hint, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(of.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = of;
}
