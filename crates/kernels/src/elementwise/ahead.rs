//! Memory that the next block reads and writes, asked for while this one is computed: a processor asks by itself for
//! what comes next in a long run, and blocks are as short as its first cache is small.

use super::Program;
use std::cell::Cell;

/// Floats that a processor moves at once.
const LINE: usize = 16;

/// Instructions below which a block is computed before what is asked for can come.
const WORTH: usize = 3;

/// Runs of memory, of which a part is asked for with each instruction: where all is asked for at once, the processor
/// waits.
pub(crate) struct Ahead<'a> {
    runs: Vec<&'a [Cell<f32>]>,
    parts: usize,
}

impl<'a> Ahead<'a> {
    pub(crate) fn of(program: &Program) -> Self {
        Self { runs: Vec::new(), parts: program.instructions.len() }
    }

    /// Whether it is worth to ask.
    pub(crate) fn is_worth(&self) -> bool {
        self.parts >= WORTH
    }

    pub(crate) fn clear(&mut self) {
        self.runs.clear();
    }

    pub(crate) fn push(&mut self, run: &'a [Cell<f32>]) {
        self.runs.push(run);
    }

    /// Asks for the part of each run that comes with instruction number `part`.
    #[inline(never)]
    pub(crate) fn ask(&self, part: usize) {
        for run in &self.runs {
            let lines = run.len().div_ceil(LINE);
            for line in lines * part / self.parts..lines * (part + 1) / self.parts {
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
