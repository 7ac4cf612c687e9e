//! `.npz` archives, as `numpy.savez` writes them.

use super::named::NamedArrays;
use super::{Format, Found, Parts, npy};
use crate::array::Array;
use crate::memory;
use gnp_base::{Error, Result, files};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use zip::ZipArchive;

/// `.npz` archives.
pub(super) struct NpzArchives;

impl Format for NpzArchives {
    fn name(&self) -> &str {
        "an .npz archive"
    }

    fn recognises(&self, found: &Found<'_>) -> bool {
        !found.is_folder() && (found.start().starts_with(b"PK") || found.has_extension("npz"))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Parts>> {
        Ok(Box::new(Npz::open(path)?))
    }
}

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
        let file = files::open(path).map_err(|error| Error::io("open the file", path, &error))?;
        let archive = ZipArchive::new(BufReader::new(file)).map_err(|error| {
            Error::format(format!("not a readable .npz archive: {error}"))
                .in_file(path)
                .help("save the arrays again with numpy.savez, or download the file again")
        })?;
        if archive.has_duplicate_names() {
            return Err(Error::format("two arrays in the archive have one name")
                .in_file(path)
                .help("save the arrays again with numpy.savez, each under a name of its own"));
        }
        Ok(Self { path: path.to_owned(), archive })
    }
}

impl NamedArrays for Npz {
    fn path(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> Vec<String> {
        let files = self.archive.file_names().flatten();
        files.filter_map(|file| file.strip_suffix(".npy").map(str::to_owned)).collect()
    }

    fn decode(&mut self, name: &str) -> Result<Array> {
        match self.archive.by_name(&format!("{name}.npy")) {
            Ok(entry) => {
                let (length, packed) = (entry.size(), entry.compressed_size());
                if length > memory::inflated(packed).max(packed) {
                    return Err(Error::format(format!(
                        "array `{name}` is damaged: it cannot have {length} bytes, packed into {packed}"
                    )));
                }
                npy::decode(entry, length, &format!("array `{name}`"))
            }
            Err(error) => Err(Error::input(format!("array `{name}`: {error}"))),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Values;
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
    fn reads_either_memory_order_and_booleans() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let fortran = Array2::from_shape_vec((2, 3).f(), vec![1i16, 4, 2, 5, 3, 6]).unwrap();
        let writer = NpzWriter::create(&path).add("c", array![[0.5f64, 1.0]].into_dyn()).add("f", fortran.into_dyn());
        writer.add("t", array![true, false].into_dyn()).finish();
        let mut npz = Npz::open(&path).unwrap();
        assert_eq!(npz.read("c").unwrap(), Array::new(vec![1, 2], Values::F32(vec![0.5, 1.0])).unwrap());
        assert_eq!(npz.read("t").unwrap(), Array::new(vec![2], Values::I64(vec![1, 0])).unwrap());
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
        let mut complex = Vec::new();
        array![1f64].write_npy(&mut complex).unwrap();
        let at = complex.windows(3).position(|three| three == b"<f8").unwrap();
        complex[at + 1] = b'c';
        writer.add_bytes("complex", &complex);
        writer.finish();
        let mut npz = Npz::open(&path).unwrap();
        let mut message = |name| npz.read(name).unwrap_err().to_string();
        assert!(message("short").contains("takes 3 bytes, 2 are there"));
        assert!(message("long").contains("takes 3 bytes, more follow"));
        assert!(message("headless").contains("damaged header"));
        assert!(message("complex").contains("cannot be trained on"));
    }

    /// An archive of arrays of three bytes, its bytes changed.
    fn changed(names: [&str; 2], content: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let mut writer = NpzWriter::create(&path);
        names.iter().for_each(|name| writer.add_bytes(name, content));
        writer.finish();
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        Npz::open(&path).and_then(|mut npz| npz.read(names[0])).unwrap_err().to_string()
    }

    /// Where the entries of the archive's directory begin.
    fn entries(bytes: &[u8]) -> Vec<usize> {
        (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b"PK\x01\x02")).collect()
    }

    #[test]
    fn members_are_looked_at_before_they_are_unpacked() {
        let mut three = Vec::new();
        array![1u8, 2, 3].write_npy(&mut three).unwrap();
        let bomb = [&*three, &vec![0; 1 << 25]].concat();
        let message = changed(["x", "y"], &bomb, |_| {});
        assert!(message.ends_with("takes 3 bytes, more follow"), "{message}");

        let message = changed(["x", "y"], &three, |bytes| {
            let length = entries(bytes)[0] + 24;
            bytes[length..length + 4].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
        });
        assert!(message.contains("array `x` is damaged: it cannot have 2147483647 bytes, packed into"), "{message}");

        let message = changed(["x", "y"], &three, |bytes| {
            for at in (0..bytes.len() - 5).filter(|&at| bytes[at..].starts_with(b"y.npy")).collect::<Vec<_>>() {
                bytes[at] = b'x';
            }
        });
        assert!(message.ends_with("two arrays in the archive have one name"), "{message}");

        let message = changed(["x", "y"], &three, |bytes| {
            for entry in entries(bytes) {
                bytes[entry + 8] |= 1;
            }
        });
        assert!(message.contains("array `x`: ") && message.contains("Password required"), "{message}");
    }
}
