//! Files in the format *safetensors* with the arrays of a data set.

use super::named::NamedArrays;
use super::{Format, Found, Parts};
use crate::array::{Array, ByteOrder, Dtype, Values};
use crate::memory;
use bytes::Bytes;
use gnp_base::files;
use gnp_base::{Error, Result};
use safetensors::{Dtype as StoredDtype, SafeTensors};
use std::path::{Path, PathBuf};

/// `.safetensors` files.
pub(super) struct SafetensorsFiles;

impl Format for SafetensorsFiles {
    fn name(&self) -> &str {
        "a .safetensors file"
    }

    fn recognises(&self, found: &Found<'_>) -> bool {
        !found.is_folder() && found.has_extension("safetensors")
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Parts>> {
        Ok(Box::new(SafetensorsFile::open(path)?))
    }
}

/// A file of named arrays, mapped.
pub(super) struct SafetensorsFile {
    path: PathBuf,
    bytes: Bytes,
    names: Vec<String>,
}

impl SafetensorsFile {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// Where it cannot be read or is no whole safetensors file.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let bytes = files::map(path)?;
        let mut names: Vec<String> =
            parse(&bytes).map_err(|error| error.in_file(path))?.names().into_iter().map(String::from).collect();
        names.sort_unstable();
        Ok(Self { path: path.to_owned(), bytes, names })
    }
}

fn parse(bytes: &[u8]) -> Result<SafeTensors<'_>> {
    SafeTensors::deserialize(bytes).map_err(|error| {
        Error::format(format!("not a readable safetensors file: {error}"))
            .help("save the arrays again with safetensors.numpy.save_file, or download the file again")
    })
}

impl NamedArrays for SafetensorsFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn decode(&mut self, name: &str) -> Result<Array> {
        let file = parse(&self.bytes)?;
        let tensor = file.tensor(name).map_err(|error| Error::format(format!("array `{name}`: {error}")))?;
        let dtype = match tensor.dtype() {
            StoredDtype::U8 => Dtype::U8,
            StoredDtype::I8 | StoredDtype::BOOL => Dtype::I8,
            StoredDtype::U16 => Dtype::U16,
            StoredDtype::I16 => Dtype::I16,
            StoredDtype::U32 => Dtype::U32,
            StoredDtype::I32 => Dtype::I32,
            StoredDtype::U64 => Dtype::U64,
            StoredDtype::I64 => Dtype::I64,
            StoredDtype::F32 => Dtype::F32,
            StoredDtype::F64 => Dtype::F64,
            other => {
                return Err(Error::unsupported(format!(
                    "array `{name}`: elements of type {other} cannot be trained on"
                ))
                .help("save integers or 32-bit floats"));
            }
        };
        let held = dtype.bytes(tensor.shape()).and_then(|[stored, held]| stored.checked_add(held));
        memory::ensure(format!("array `{name}`"), held.map(|bytes| bytes as u64))?;
        let values = Values::decode(tensor.data().to_vec(), dtype, ByteOrder::Little)
            .map_err(|error| Error::format(format!("array `{name}`: {error}")))?;
        Array::new(tensor.shape().to_vec(), values)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Chosen, Part};
    use super::*;
    use safetensors::tensor::TensorView;

    fn file(dtype: StoredDtype) -> Vec<u8> {
        let labels: Vec<u8> = [3i64, 1].iter().flat_map(|label| label.to_le_bytes()).collect();
        let samples = [1, 2, 3, 4];
        let samples = match dtype {
            StoredDtype::BF16 => TensorView::new(dtype, vec![2, 1], &samples),
            _ => TensorView::new(dtype, vec![2, 2], &samples),
        };
        let labels = TensorView::new(StoredDtype::I64, vec![2], &labels);
        safetensors::serialize([("x_train", samples.unwrap()), ("y_train", labels.unwrap())], None).unwrap()
    }

    fn open(bytes: &[u8]) -> (tempfile::TempDir, Result<SafetensorsFile>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.safetensors");
        std::fs::write(&path, bytes).unwrap();
        let opened = SafetensorsFile::open(&path);
        (folder, opened)
    }

    #[test]
    fn reads_what_was_written() {
        let (_folder, opened) = open(&file(StoredDtype::U8));
        let mut opened = opened.unwrap();
        assert_eq!(opened.names(), ["x_train", "y_train"]);
        let data = opened.part(Part::Train, &Chosen::default()).unwrap().unwrap();
        assert_eq!(data.labels().classes().unwrap(), [3, 1]);
        assert_eq!(data.samples().shape().unwrap(), [2]);
        assert_eq!(opened.part(Part::Test, &Chosen::default()).unwrap(), None);
    }

    #[test]
    fn damage_names_the_file() {
        let whole = file(StoredDtype::U8);
        for length in [0, 7, 20, whole.len() - 1] {
            let error = open(&whole[..length]).1.err().unwrap();
            assert!(error.to_string().contains("data.safetensors: "), "{error}");
        }
        let (_folder, opened) = open(&file(StoredDtype::BF16));
        let error = opened.unwrap().read("x_train").unwrap_err().to_string();
        assert!(error.ends_with("array `x_train`: elements of type BF16 cannot be trained on"), "{error}");
    }
}
