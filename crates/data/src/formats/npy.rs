//! `.npy` files, as `numpy.save` writes them, alone or in a folder.

use super::named::NamedArrays;
use super::{Format, Found, Parts};
use crate::array::{Array, ByteOrder, Dtype, Values};
use crate::image_files::has_folders;
use crate::memory;
use gnp_base::{Error, Result, files};
use ndarray_npy::npy::header::Header;
use std::cmp::Ordering;
use std::fmt::Display;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

pub(crate) const MAGIC: [u8; 6] = *b"\x93NUMPY";

/// The longest header that is read, in bytes: what NumPy's own reader takes (`max_header_size` of `numpy.load`).
const LONGEST_HEADER: u64 = 10_000;
/// How deep a header is nested at most: a dictionary, in it a list of fields, a field, its shape.
const DEEPEST_HEADER: usize = 4;

/// Reads a `.npy` file.
///
/// # Errors
/// Where the file cannot be read, is damaged, or has elements that cannot be trained on.
pub(crate) fn read(path: &Path) -> Result<Array> {
    let file = files::open(path).map_err(|error| Error::io("open the file", path, &error))?;
    let length = file.metadata().map_err(|error| Error::io("look at the file", path, &error))?.len();
    decode(BufReader::new(file), length, "the array")
        .map_err(|error| error.in_file(path).help("save the array again with numpy.save, or download the file again"))
}

/// Folders of `.npy` files.
pub(super) struct NpyFolders;

impl Format for NpyFolders {
    fn name(&self) -> &str {
        "a folder of .npy files"
    }

    fn recognises(&self, found: &Found<'_>) -> bool {
        let names = || NpyFolder(found.path().to_owned()).names();
        let has_samples = |names: &[String]| ["x_train", "x_test", "x"].iter().any(|x| names.iter().any(|n| n == x));
        // Beside folders of images there may be arrays of other things, such as their mean.
        found.is_folder() && (has_samples(&names()) || (!names().is_empty() && !has_folders(found.path())))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Parts>> {
        Ok(Box::new(NpyFolder(path.to_owned())))
    }
}

/// `.npy` files by themselves, which are half a data set.
pub(super) struct NpyAlone;

impl Format for NpyAlone {
    fn name(&self) -> &str {
        "an .npy file"
    }

    fn recognises(&self, found: &Found<'_>) -> bool {
        !found.is_folder() && (found.start().starts_with(&MAGIC) || found.has_extension("npy"))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Parts>> {
        Err(Error::input("an .npy file holds one array: where are the labels?")
            .in_file(path)
            .help("name their file with --labels (of test data: --test-labels)"))
    }
}

/// A folder whose `.npy` files are arrays with names.
struct NpyFolder(PathBuf);

impl NamedArrays for NpyFolder {
    fn path(&self) -> &Path {
        &self.0
    }

    fn names(&self) -> Vec<String> {
        let entries = self.0.read_dir().into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".npy").map(str::to_owned)).collect();
        names.sort_unstable();
        names
    }

    fn decode(&mut self, name: &str) -> Result<Array> {
        read(&self.0.join(format!("{name}.npy")))
    }
}

/// Decodes an array in the format `.npy`: booleans, integers or floats of any width, either byte order, either memory
/// order. `length` is that of all of it, in bytes; `what` it is begins the messages.
///
/// # Errors
/// Where it is damaged, goes on after its last element, has elements of another type, or does not fit into memory.
pub(super) fn decode(mut from: impl Read, length: u64, what: &str) -> Result<Array> {
    let damaged = |why: &dyn Display| Error::format(format!("{what} has a damaged header: {why}"));
    let start = read_header(&mut from).map_err(|why| damaged(&why))?;
    let header = Header::from_reader(&mut &*start).map_err(|why| damaged(&why))?;
    let descriptor = header.type_descriptor.as_string().map(String::as_str).unwrap_or_default();
    let (order, dtype) = parse_descriptor(descriptor).ok_or_else(|| {
        Error::unsupported(format!("{what}: elements of type {} cannot be trained on", header.type_descriptor))
            .help("save integers or floats, e.g. with .astype(numpy.float32)")
    })?;
    let shape = header.shape;
    let [expected, held] =
        dtype.bytes(&shape).ok_or_else(|| Error::input(format!("{what}: the shape {shape:?} is too large")))?;
    let check = |there: u64| {
        let found = match there.cmp(&(expected as u64)) {
            Ordering::Equal => return Ok(()),
            Ordering::Less => format!("{there} are there"),
            Ordering::Greater => "more follow".to_owned(),
        };
        Err(Error::format(format!("{what} is damaged: shape {shape:?} takes {expected} bytes, {found}")))
    };
    check(length.saturating_sub(start.len() as u64))?;
    memory::ensure(what, (expected as u64).checked_add(held as u64))?;
    let bytes = memory::read(from, expected).map_err(|error| Error::format(format!("{what} is damaged: {error}")))?;
    check(bytes.len() as u64)?;
    let values = Values::decode(bytes, dtype, order)?;
    let values = if header.layout.is_fortran() { values.into_row_major(&shape)? } else { values };
    Array::new(shape, values)
}

/// The bytes of the header, with its magic and length. Says what is wrong with one that no array has.
///
/// Source: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
fn read_header(from: &mut impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut fill = |count: u64, bytes: &mut Vec<u8>| match from.take(count).read_to_end(bytes) {
        Ok(read) if read as u64 == count => Ok(()),
        Ok(_) => Err("it is cut short".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    fill(MAGIC.len() as u64 + 2, &mut bytes)?;
    if !bytes.starts_with(&MAGIC) {
        return Err("it does not begin as .npy files do".to_owned());
    }
    let wide = if bytes[MAGIC.len()] == 1 { 2 } else { 4 };
    fill(wide, &mut bytes)?;
    let length = bytes[MAGIC.len() + 2..].iter().rev().fold(0, |length, &byte| length << 8 | u64::from(byte));
    if length > LONGEST_HEADER {
        return Err(format!("it has {length} bytes; expected at most {LONGEST_HEADER}"));
    }
    let start = bytes.len();
    fill(length, &mut bytes)?;
    let mut depth = 0usize;
    for byte in &bytes[start..] {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST_HEADER {
            return Err("it is nested too deeply".to_owned());
        }
    }
    Ok(bytes)
}

/// NumPy's type descriptors: byte order, kind, width.
fn parse_descriptor(text: &str) -> Option<(ByteOrder, Dtype)> {
    let order = match text.get(..1)? {
        "<" | "|" => ByteOrder::Little,
        ">" => ByteOrder::Big,
        _ => return None,
    };
    let dtype = match text.get(1..)? {
        "u1" => Dtype::U8,
        // A boolean is the number 0 or 1, and no byte of an image, which would be divided.
        "i1" | "b1" => Dtype::I8,
        "u2" => Dtype::U16,
        "i2" => Dtype::I16,
        "u4" => Dtype::U32,
        "i4" => Dtype::I32,
        "u8" => Dtype::U64,
        "i8" => Dtype::I64,
        "f4" => Dtype::F32,
        "f8" => Dtype::F64,
        _ => return None,
    };
    Some((order, dtype))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use ndarray_npy::WriteNpyExt;

    #[test]
    fn a_folder_lists_its_arrays_and_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in [("y", 7u8), ("x", 5)] {
            let mut bytes = Vec::new();
            array![value].write_npy(&mut bytes).unwrap();
            std::fs::write(folder.path().join(format!("{name}.npy")), bytes).unwrap();
        }
        std::fs::write(folder.path().join("notes.txt"), "").unwrap();
        let mut arrays = NpyFolder(folder.path().to_owned());
        assert_eq!(arrays.names(), ["x", "y"]);
        assert_eq!(arrays.read("y").unwrap(), Array::new(vec![1], Values::U8(vec![7])).unwrap());
    }

    #[test]
    fn every_truncation_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let mut bytes = Vec::new();
        array![[1.5f32, 2.0], [3.0, 4.0]].write_npy(&mut bytes).unwrap();
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let error = read(&path).unwrap_err();
            assert!(error.to_string().contains("x.npy: the array "), "{length} bytes: {error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    fn with_header(header: &str, payload: usize) -> Vec<u8> {
        let length = (header.len() as u16).to_le_bytes();
        [&MAGIC[..], &[1, 0], &length, header.as_bytes(), &vec![0; payload]].concat()
    }

    #[test]
    fn what_a_header_declares_is_believed_no_further_than_the_file_goes() {
        let message = |bytes: &[u8]| decode(bytes, bytes.len() as u64, "`x`").unwrap_err().to_string();
        let long = [&MAGIC[..], &[2, 0], &[0xff; 4], b"{"].concat();
        assert_eq!(message(&long), "`x` has a damaged header: it has 4294967295 bytes; expected at most 10000");
        let nested = with_header(&format!("{{'descr': {}\n", "(".repeat(9000)), 0);
        assert_eq!(message(&nested), "`x` has a damaged header: it is nested too deeply");
        let shaped = |shape: &str| {
            let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
            message(&with_header(&header, 16))
        };
        assert!(shaped("(4294967296, 4294967296)").ends_with("is too large"));
        assert!(shaped("(4611686018427387904,)").ends_with("is too large"));
        assert!(shaped("(1000000000000,)").ends_with("takes 4000000000000 bytes, 16 are there"));
        assert!(shaped("(3,)").ends_with("takes 12 bytes, more follow"));
        assert!(shaped("(0, 99999999999999)").ends_with("takes 0 bytes, more follow"));
    }
}
