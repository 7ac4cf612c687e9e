//! `.npz` archives, as `numpy.savez` writes them.

use super::array::{Array, ByteOrder, Dtype, Values, element_count};
use crate::{Error, Result};
use ndarray_npy::npy::header::Header;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use zip::ZipArchive;

/// An archive of named arrays, opened.
pub struct Npz {
    path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
}

impl Npz {
    /// Opens the archive at `path`.
    ///
    /// # Errors
    /// Where the file cannot be read or is no `.npz` archive.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io("open the file", path, &error))?;
        let archive = ZipArchive::new(BufReader::new(file)).map_err(|error| {
            Error::input(format!("not a readable .npz archive: {error}"))
                .in_file(path)
                .help("save the arrays again with numpy.savez, or download the file again")
        })?;
        Ok(Self { path: path.to_owned(), archive })
    }

    /// The names of the arrays, in the archive's order.
    pub fn names(&self) -> Vec<String> {
        let files = self.archive.file_names().flatten();
        files.filter_map(|file| file.strip_suffix(".npy").map(str::to_owned)).collect()
    }

    /// Whether there is an array of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.archive.index_for_name(&format!("{name}.npy")).is_some()
    }

    /// Reads the array of this name: integers or floats of any width, either byte order, either memory order.
    ///
    /// # Errors
    /// Where there is no such array (the message lists those there are), or it is damaged or of another type.
    pub fn read(&mut self, name: &str) -> Result<Array> {
        let Some(index) = self.archive.index_for_name(&format!("{name}.npy")) else {
            return Err(Error::input(format!("there is no array `{name}`; there are: {}", self.names().join(", ")))
                .in_file(&self.path));
        };
        let array = match self.archive.by_index(index) {
            Ok(entry) => decode(entry, name),
            Err(error) => Err(Error::input(format!("array `{name}`: {error}"))),
        };
        array.map_err(|error| error.in_file(&self.path))
    }
}

fn decode(mut from: impl Read, name: &str) -> Result<Array> {
    let header = Header::from_reader(&mut from)
        .map_err(|error| Error::input(format!("array `{name}` has a damaged header: {error}")))?;
    let descriptor = header.type_descriptor.as_string().map(String::as_str).unwrap_or_default();
    let (order, dtype) = parse_descriptor(descriptor).ok_or_else(|| {
        Error::input(format!("array `{name}`: elements of type {} cannot be trained on", header.type_descriptor))
            .help("save integers or floats, e.g. with .astype(numpy.float32)")
    })?;
    let shape = header.shape;
    let expected = element_count(&shape)
        .and_then(|count| count.checked_mul(dtype.size()))
        .ok_or_else(|| Error::input(format!("array `{name}`: the shape {shape:?} is too large")))?;

    // Grows with what is there rather than with what a damaged header promises.
    let mut bytes = Vec::new();
    from.take(expected as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::input(format!("array `{name}` is damaged: {error}")))?;
    if bytes.len() != expected {
        let found = if bytes.len() < expected { format!("{} are there", bytes.len()) } else { "more follow".into() };
        return Err(Error::input(format!(
            "array `{name}` is damaged: shape {shape:?} takes {expected} bytes, {found}"
        )));
    }
    let values = Values::decode(bytes, dtype, order)?;
    let values = if header.layout.is_fortran() { values.into_row_major(&shape)? } else { values };
    Array::new(shape, values)
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
        "i1" => Dtype::I8,
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
pub(super) mod tests {
    use super::*;
    use ndarray::{Array2, ArrayD, ShapeBuilder, array};
    use ndarray_npy::{WritableElement, WriteNpyExt};
    use std::io::Write;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    /// Writes `.npz` archives for tests.
    pub struct NpzWriter(ZipWriter<File>);

    impl NpzWriter {
        pub fn create(path: &Path) -> Self {
            Self(ZipWriter::new(File::create(path).unwrap()))
        }

        pub fn add<T: WritableElement>(mut self, name: &str, array: impl Into<ArrayD<T>>) -> Self {
            let array: ArrayD<T> = array.into();
            let mut bytes = Vec::new();
            array.write_npy(&mut bytes).unwrap();
            self.add_bytes(name, &bytes);
            self
        }

        pub fn add_bytes(&mut self, name: &str, bytes: &[u8]) {
            self.0.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
            self.0.write_all(bytes).unwrap();
        }

        pub fn finish(self) {
            self.0.finish().unwrap();
        }
    }

    #[test]
    fn reads_either_memory_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let fortran = Array2::from_shape_vec((2, 3).f(), vec![1i16, 4, 2, 5, 3, 6]).unwrap();
        NpzWriter::create(&path).add("c", array![[0.5f64, 1.0]].into_dyn()).add("f", fortran.into_dyn()).finish();
        let mut npz = Npz::open(&path).unwrap();
        assert_eq!(npz.read("c").unwrap(), Array::new(vec![1, 2], Values::F32(vec![0.5, 1.0])).unwrap());
        assert_eq!(npz.read("f").unwrap(), Array::new(vec![2, 3], Values::I64(vec![1, 2, 3, 4, 5, 6])).unwrap());
    }

    #[test]
    fn lists_the_arrays_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        NpzWriter::create(&path).add("images", array![1u8].into_dyn()).add("targets", array![1u8].into_dyn()).finish();
        let error = Npz::open(&path).unwrap().read("x_train").unwrap_err().to_string();
        assert!(error.ends_with("there is no array `x_train`; there are: images, targets"), "{error}");
    }

    #[test]
    fn damage_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        std::fs::write(&path, b"PK\x03\x04 and no more").unwrap();
        assert!(Npz::open(&path).is_err());

        let mut npy = Vec::new();
        array![1u8, 2, 3].write_npy(&mut npy).unwrap();
        let mut writer = NpzWriter::create(&path);
        writer.add_bytes("short", &npy[..npy.len() - 1]);
        writer.add_bytes("long", &[npy.as_slice(), &[0]].concat());
        writer.add_bytes("headless", b"no header");
        writer = writer.add("bool", array![true].into_dyn());
        writer.finish();
        let mut npz = Npz::open(&path).unwrap();
        let mut message = |name| npz.read(name).unwrap_err().to_string();
        assert!(message("short").contains("takes 3 bytes, 2 are there"));
        assert!(message("long").contains("takes 3 bytes, more follow"));
        assert!(message("headless").contains("damaged header"));
        assert!(message("bool").contains("cannot be trained on"));
    }
}
