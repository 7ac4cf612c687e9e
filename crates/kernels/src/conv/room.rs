//! Memory that kernels work in. It is used again: memory that comes from the system has to be cleared page by page,
//! which takes longer than what small convolutions compute in it.

use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

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

/// What nobody works in now.
static SPARE: Mutex<Vec<Vec<Line>>> = Mutex::new(Vec::new());

/// So many rooms are kept, beyond which they go back to the system: more than threads have at a time.
const MOST_SPARE: usize = 128;

impl Room {
    /// So many zeros.
    pub fn zeros(len: usize) -> Self {
        let mut room = Self::of(len);
        room.fill(0.0);
        room
    }

    /// So many numbers: what is left from before, or zeros.
    pub fn of(len: usize) -> Self {
        let mut room = Self::default();
        room.resize(len);
        room
    }

    /// Makes it so long. What it holds then is left from before, or zero.
    pub fn resize(&mut self, len: usize) -> &mut [f32] {
        let lines = len.div_ceil(16);
        if self.lines.len() < lines {
            give_back(mem::take(&mut self.lines));
            self.lines = take(lines);
        }
        self.len = len;
        self
    }
}

/// At least so many lines, the smallest that is spare.
fn take(lines: usize) -> Vec<Line> {
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    let fitting = spare.iter().enumerate().filter(|(_, room)| room.len() >= lines);
    let smallest = fitting.min_by_key(|(_, room)| room.len()).map(|(index, _)| index);
    match smallest {
        Some(index) => spare.swap_remove(index),
        None => {
            drop(spare);
            vec![Line([0.0; 16]); lines]
        }
    }
}

fn give_back(lines: Vec<Line>) {
    if lines.is_empty() {
        return;
    }
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    if spare.len() < MOST_SPARE {
        spare.push(lines);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        give_back(mem::take(&mut self.lines));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_as_long_as_they_are_asked_for() {
        let mut room = Room::zeros(100);
        room.fill(7.0);
        assert_eq!(room.resize(5).len(), 5);
        assert_eq!(room.resize(1000).len(), 1000);
        assert_eq!(room.as_ptr() as usize % 64, 0);
        drop(room);
        assert!(Room::zeros(1000).iter().all(|number| *number == 0.0));
        assert!(Room::default().is_empty() && Room::of(3).len() == 3);
    }
}
