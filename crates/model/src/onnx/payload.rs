//! The bytes of tensors, wherever they lie: in the message or in a file of their own.

use super::proto::TensorProto;
use super::visit::for_each_tensor_mut;
use super::{DataType, ExternalLocation, Model};
use bytes::Bytes;
use foldhash::HashMap;
use gnp_base::files::map;
use gnp_base::{Error, Result};
use std::path::{Path, PathBuf};

/// Reads payloads of tensors; a file is mapped once.
#[derive(Debug)]
pub struct Payloads {
    folder: PathBuf,
    files: HashMap<PathBuf, Bytes>,
}

impl Payloads {
    /// Of tensors whose external data is relative to `folder`, and was found to be where it may be.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), files: HashMap::default() }
    }

    /// The little-endian bytes of `tensor` in row-major order, without a copy where they are one piece; none where the
    /// elements stand in a field of their own that is packed otherwise.
    ///
    /// # Errors
    /// Where the file of external data cannot be read, or ends before the tensor does.
    pub fn of(&mut self, tensor: &TensorProto) -> Result<Option<Bytes>> {
        if let Some(location) = ExternalLocation::of(tensor)? {
            return self.slice(tensor, &location).map(Some);
        }
        Ok(match (&tensor.raw_data, tensor.element(), &tensor.float_data[..]) {
            (Some(raw), ..) => Some(raw.clone()),
            (None, Some(DataType::Float), [piece]) => Some(piece.clone()),
            (None, Some(DataType::Float), pieces) => Some(pieces.concat().into()),
            (None, Some(DataType::Double), _) => Some(tensor.double_data.concat().into()),
            _ => None,
        })
    }

    /// The bytes of a file of external data, by its location.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn file(&mut self, file: &Path) -> Result<Bytes> {
        if let Some(map) = self.files.get(file) {
            return Ok(map.clone());
        }
        let map = map(&self.folder.join(file))?;
        self.files.insert(file.to_owned(), map.clone());
        Ok(map)
    }

    /// Has `model` hold all its external data itself, as slices of the files.
    ///
    /// # Errors
    /// As [`Payloads::of`].
    pub fn bring_in(&mut self, model: &mut Model) -> Result<()> {
        let mut failed = None;
        for_each_tensor_mut(model, &mut |tensor| {
            if failed.is_none() && tensor.is_external() {
                failed = self.bring_in_one(tensor).err();
            }
        });
        failed.map_or(Ok(()), |e| Err(e.in_file(model.path())))
    }

    fn bring_in_one(&mut self, tensor: &mut TensorProto) -> Result<()> {
        if let Some(location) = ExternalLocation::of(tensor)? {
            tensor.raw_data = Some(self.slice(tensor, &location)?);
            tensor.external_data.clear();
            tensor.data_location = None;
        }
        Ok(())
    }

    fn slice(&mut self, tensor: &TensorProto, location: &ExternalLocation) -> Result<Bytes> {
        if tensor.is_zeros() {
            let length = location.length.and_then(|length| usize::try_from(length).ok());
            return Ok(vec![0; length.unwrap_or_default()].into());
        }
        let file = self.file(&location.file)?;
        let begin = usize::try_from(location.offset).unwrap_or(usize::MAX);
        let end = location.length.map_or(Some(file.len()), |length| begin.checked_add(usize::try_from(length).ok()?));
        match end.filter(|&end| begin <= end && end <= file.len()) {
            Some(end) => Ok(file.slice(begin..end)),
            None => {
                Err(Error::format(format!("tensor `{}`: it ends beyond the file of its external data", tensor.name()))
                    .in_file(self.folder.join(&location.file)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::StringStringEntryProto;
    use crate::onnx::proto::tensor_proto::DataLocation;

    fn external(entries: &[(&str, &str)]) -> TensorProto {
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
            key: Some((*key).into()),
            value: Some((*value).into()),
        };
        TensorProto {
            data_location: Some(DataLocation::External as i32),
            external_data: entries.iter().map(entry).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn bytes_come_from_the_message_or_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("w.bin"), [1, 2, 3, 4, 5, 6]).unwrap();
        let mut payloads = Payloads::new(folder.path());
        let part = external(&[("location", "w.bin"), ("offset", "1"), ("length", "4")]);
        assert_eq!(payloads.of(&part).unwrap().unwrap()[..], [2, 3, 4, 5]);
        let rest = external(&[("location", "w.bin"), ("offset", "4")]);
        assert_eq!(payloads.of(&rest).unwrap().unwrap()[..], [5, 6]);
        let beyond = external(&[("location", "w.bin"), ("offset", "4"), ("length", "4")]);
        assert!(payloads.of(&beyond).unwrap_err().to_string().contains("ends beyond the file"));

        let raw = TensorProto::raw("w", DataType::Float, &[1], vec![7; 4].into());
        assert_eq!(payloads.of(&raw).unwrap().unwrap()[..], [7; 4]);
        let pieces = vec![Bytes::from(vec![1; 4]), Bytes::from(vec![2; 4])];
        let typed = TensorProto {
            data_type: Some(DataType::Float as i32),
            float_data: pieces,
            dims: vec![2],
            ..Default::default()
        };
        assert_eq!(payloads.of(&typed).unwrap().unwrap()[..], [1, 1, 1, 1, 2, 2, 2, 2]);
    }
}
