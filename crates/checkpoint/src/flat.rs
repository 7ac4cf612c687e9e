//! A flatbuffer, read without trust in a single number of it.
//!
//! A table begins with the way back to its list of fields, which says how far from the table's start each field lies.
//! Vectors, strings and other tables are behind offsets. Every position is checked where it is read, so a damaged file
//! is an error and nothing else. Offsets may lead to one place many times: what is visited is counted, and bounded by
//! the bytes of the file. So is what is made of it, in memory and in other files.

use bytes::Bytes;
use gnp_base::{Error, Result};
use std::cell::Cell;
use std::ops::Range;

/// How often a byte may be visited, on the average. A name may be shared by tables, each of which has bytes of its own.
const SHARED: u64 = 2;

/// The bytes of a table and of the offset that leads to it, at least.
const SMALLEST_TABLE: usize = 8;

pub struct Buffer {
    bytes: Bytes,
    left: Cell<u64>,
}

/// A table of a buffer.
#[derive(Clone, Copy)]
pub struct Table<'b> {
    buffer: &'b Buffer,
    start: usize,
    size: usize,
    fields: usize,
    fields_size: usize,
}

fn damaged(what: &str) -> Error {
    Error::format(format!("the checkpoint is damaged: {what}"))
        .help("make the artifacts again, or take an earlier checkpoint")
}

fn outside() -> Error {
    damaged("an offset leads outside of the file")
}

impl Buffer {
    pub fn new(bytes: Bytes) -> Self {
        let left = Cell::new((bytes.len() as u64).saturating_mul(SHARED));
        Self { bytes, left }
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The identifier of the format; empty where the file is too short for one.
    pub fn identifier(&self) -> &[u8] {
        self.bytes.get(4..8).unwrap_or_default()
    }

    /// # Errors
    /// Where the file does not begin with the offset of a table.
    pub fn root(&self) -> Result<Table<'_>> {
        self.table(self.follow(0)?)
    }

    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N]> {
        self.bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or_else(outside)
    }

    fn follow(&self, at: usize) -> Result<usize> {
        let offset = u32::from_le_bytes(self.array(at)?);
        at.checked_add(offset as usize).ok_or_else(outside)
    }

    fn visit(&self, bytes: usize) -> Result<()> {
        let left = self.left.get().checked_sub(bytes as u64);
        self.left.set(left.ok_or_else(|| damaged("its parts overlap"))?);
        Ok(())
    }

    /// A part of the file; none where it ends before.
    ///
    /// # Errors
    /// Where parts of the file overlap.
    pub fn part(&self, range: Range<usize>) -> Result<Option<Bytes>> {
        if range.start > range.end || range.end > self.bytes.len() {
            return Ok(None);
        }
        self.visit(range.len())?;
        Ok(Some(self.bytes.slice(range)))
    }

    /// The table that begins at `start`.
    ///
    /// # Errors
    /// Where there is none.
    pub fn table(&self, start: usize) -> Result<Table<'_>> {
        self.visit(SMALLEST_TABLE)?;
        let back = i64::from(i32::from_le_bytes(self.array(start)?));
        let fields = i64::try_from(start).ok().and_then(|start| start.checked_sub(back));
        let fields = fields.and_then(|at| usize::try_from(at).ok()).ok_or_else(outside)?;
        let [fields_size, size] = [0, 2].map(|at| Ok(u16::from_le_bytes(self.array(fields + at)?).into()));
        Ok(Table { buffer: self, start, size: size?, fields, fields_size: fields_size? })
    }
}

impl<'b> Table<'b> {
    /// Where a field of so many bytes is; none where the table leaves it out.
    ///
    /// # Errors
    /// As all that reads: where the file is damaged.
    pub fn find(&self, field: u16, bytes: usize) -> Result<Option<usize>> {
        let entry = 4 + 2 * usize::from(field);
        if entry + 2 > self.fields_size {
            return Ok(None);
        }
        match usize::from(u16::from_le_bytes(self.buffer.array(self.fields + entry)?)) {
            0 => Ok(None),
            offset if offset + bytes > self.size => Err(damaged("a field leads outside of its table")),
            offset => Ok(Some(self.start + offset)),
        }
    }

    /// The bytes of a number.
    pub fn number<const N: usize>(&self, field: u16) -> Result<Option<[u8; N]>> {
        self.find(field, N)?.map(|at| self.buffer.array(at)).transpose()
    }

    fn offset(&self, field: u16) -> Result<Option<usize>> {
        self.find(field, 4)?.map(|at| self.buffer.follow(at)).transpose()
    }

    pub fn table(&self, field: u16) -> Result<Option<Table<'b>>> {
        self.offset(field)?.map(|at| self.buffer.table(at)).transpose()
    }

    /// The range of a vector's elements.
    fn vector(&self, field: u16, size: usize) -> Result<Option<Range<usize>>> {
        let Some(at) = self.offset(field)? else { return Ok(None) };
        let count = u32::from_le_bytes(self.buffer.array(at)?) as usize;
        let end = count.checked_mul(size).and_then(|bytes| bytes.checked_add(at + 4));
        match end {
            Some(end) if end <= self.buffer.bytes.len() => Ok(Some(at + 4..end)),
            _ => Err(damaged("a list is longer than the file")),
        }
    }

    /// The bytes of a vector, a part of the buffer.
    pub fn bytes(&self, field: u16) -> Result<Option<Bytes>> {
        Ok(self.vector(field, 1)?.map(|range| self.buffer.part(range)).transpose()?.flatten())
    }

    pub fn string(&self, field: u16) -> Result<Option<String>> {
        let Some(bytes) = self.bytes(field)? else { return Ok(None) };
        let text = String::from_utf8(bytes.to_vec());
        text.map(Some).map_err(|_| damaged("a text is not UTF-8"))
    }

    /// The numbers of a vector; none where the table leaves it out.
    pub fn int64s(&self, field: u16) -> Result<Vec<i64>> {
        let Some(range) = self.vector(field, 8)? else { return Ok(Vec::new()) };
        let bytes = self.buffer.part(range)?.unwrap_or_default();
        let (chunks, _) = bytes.as_chunks();
        Ok(chunks.iter().map(|&chunk| i64::from_le_bytes(chunk)).collect())
    }

    /// The tables of a vector; none where the table leaves it out.
    pub fn tables(&self, field: u16) -> Result<impl Iterator<Item = Result<Table<'b>>>> {
        let buffer = self.buffer;
        let range = self.vector(field, 4)?.unwrap_or_default();
        Ok(range.step_by(4).map(move |at| buffer.table(buffer.follow(at)?)))
    }
}
