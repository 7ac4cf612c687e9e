//! The bytes of a tensor, wherever they lie: in the message or in a file of their own.

use super::proto::TensorProto;
use super::{DataType, ExternalLocation, map};
use crate::{Error, Result};
use bytes::Bytes;
use foldhash::HashMap;
use std::path::{Path, PathBuf};

/// Reads payloads of tensors; a file is mapped once.
#[derive(Debug)]
pub struct Payloads {
    folder: PathBuf,
    files: HashMap<PathBuf, Bytes>,
}

impl Payloads {
    /// Of tensors whose external data is relative to `folder`.
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
            let path = self.folder.join(&location.file);
            let file = match self.files.get(&location.file) {
                Some(file) => file.clone(),
                None => self.files.entry(location.file).insert_entry(map(&path)?).get().clone(),
            };
            let begin = usize::try_from(location.offset).unwrap_or(usize::MAX);
            let end =
                location.length.map_or(Some(file.len()), |length| begin.checked_add(usize::try_from(length).ok()?));
            let bytes = end.filter(|&end| begin <= end && end <= file.len()).map(|end| file.slice(begin..end));
            return bytes.map(Some).ok_or_else(|| ends_beyond(tensor, &path));
        }
        Ok(match (&tensor.raw_data, tensor.element(), &tensor.float_data[..]) {
            (Some(raw), ..) => Some(raw.clone()),
            (None, Some(DataType::Float), [piece]) => Some(piece.clone()),
            (None, Some(DataType::Float), pieces) => Some(pieces.concat().into()),
            (None, Some(DataType::Double), _) => Some(tensor.double_data.concat().into()),
            _ => None,
        })
    }
}

fn ends_beyond(tensor: &TensorProto, file: &Path) -> Error {
    Error::input(format!("the initializer `{}` ends beyond its file", tensor.name())).in_file(file)
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
        assert!(payloads.of(&beyond).unwrap_err().to_string().contains("ends beyond its file"));

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
