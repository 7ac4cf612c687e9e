//! Memory that kernels work in.

use std::ops::{Deref, DerefMut};

/// What the processor moves at once.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Numbers that begin where a cache line does: a vector that lies across two lines takes twice as long to load.
#[derive(Default)]
pub(super) struct Room {
    lines: Vec<Line>,
    len: usize,
}

impl Room {
    pub fn zeros(len: usize) -> Self {
        Self { lines: vec![Line([0.0; 16]); len.div_ceil(16)], len }
    }

    /// Makes it so long. What it holds then is left from before, or zero.
    pub fn resize(&mut self, len: usize) -> &mut [f32] {
        if self.lines.len() < len.div_ceil(16) {
            self.lines.resize(len.div_ceil(16), Line([0.0; 16]));
        }
        self.len = len;
        self
    }
}

impl Deref for Room {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: a line is 16 numbers, nothing else, and `len` numbers are in the lines.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
