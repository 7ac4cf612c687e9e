//! Encoding straight into a file.

use bytes::buf::UninitSlice;
use bytes::{Buf, BufMut};
use std::io::{self, Write};

/// How much is gathered before it is written; longer payloads go to the file without being gathered.
const CAPACITY: usize = 64 * 1024;

/// The room that [`BufMut::chunk_mut`] always offers; the longest thing written through it is a varint or a number.
const RESERVE: usize = 64;

/// A [`BufMut`] over a [`Write`], so that a message is encoded without ever being in memory as a whole. The first error
/// of the writer is kept for [`Sink::finish`]; what is put after it is dropped.
pub(super) struct Sink<W> {
    writer: W,
    gathered: Vec<u8>,
    error: Option<io::Error>,
}

impl<W: Write> Sink<W> {
    pub(super) fn new(writer: W) -> Self {
        Self { writer, gathered: Vec::with_capacity(CAPACITY), error: None }
    }

    /// Writes what is gathered, and reports the first error.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.flush();
        self.error.map_or(Ok(()), Err)
    }

    fn flush(&mut self) {
        let gathered = std::mem::take(&mut self.gathered);
        self.write(&gathered);
        self.gathered = gathered;
        self.gathered.clear();
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.error.is_none() {
            self.error = self.writer.write_all(bytes).err();
        }
    }
}

// SAFETY: `chunk_mut` hands out the spare capacity of a vector, which is valid for writes and never empty, and
// `advance_mut` extends the vector by no more than what was handed out.
unsafe impl<W: Write> BufMut for Sink<W> {
    fn remaining_mut(&self) -> usize {
        usize::MAX
    }

    unsafe fn advance_mut(&mut self, count: usize) {
        assert!(count <= self.gathered.capacity() - self.gathered.len(), "more was written than there was room for");
        // SAFETY: the caller has initialised `count` bytes of the spare capacity, and they fit.
        unsafe { self.gathered.set_len(self.gathered.len() + count) };
    }

    fn chunk_mut(&mut self) -> &mut UninitSlice {
        if self.gathered.capacity() - self.gathered.len() < RESERVE {
            self.flush();
        }
        self.gathered.spare_capacity_mut().into()
    }

    fn put<T: Buf>(&mut self, mut source: T)
    where
        Self: Sized,
    {
        while source.has_remaining() {
            let chunk = source.chunk();
            let length = chunk.len();
            self.put_slice(chunk);
            source.advance(length);
        }
    }

    /// What varints are put with, byte by byte.
    #[inline]
    fn put_u8(&mut self, byte: u8) {
        if self.gathered.len() == self.gathered.capacity() {
            self.flush();
        }
        self.gathered.push(byte);
    }

    #[inline]
    fn put_slice(&mut self, bytes: &[u8]) {
        if self.gathered.capacity() - self.gathered.len() < bytes.len() {
            self.flush();
        }
        if bytes.len() < CAPACITY {
            self.gathered.extend_from_slice(bytes);
        } else {
            self.write(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_what_is_written() {
        let mut expected = Vec::new();
        let mut written = Vec::new();
        let mut sink = Sink::new(&mut written);
        for length in [0, 1, 63, CAPACITY - 1, CAPACITY, 3 * CAPACITY, 5] {
            let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            sink.put(&bytes[..]);
            sink.put_u64_le(length as u64);
            expected.extend_from_slice(&bytes);
            expected.extend_from_slice(&(length as u64).to_le_bytes());
        }
        sink.finish().unwrap();
        assert!(written == expected);
    }

    #[test]
    fn the_writers_error_comes_out() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut sink = Sink::new(Full);
        sink.put_slice(&vec![0; 2 * CAPACITY]);
        assert_eq!(sink.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
