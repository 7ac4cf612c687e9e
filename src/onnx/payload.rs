//! The bytes of tensors, wherever they lie: in the model or in files beside it.

use super::proto::TensorProto;
use super::visit::for_each_tensor_mut;
use super::{ExternalLocation, Model, map};
use crate::{Error, Result};
use bytes::Bytes;
use foldhash::HashMap;
use std::path::{Path, PathBuf};

/// Reads the payloads of one model's tensors; each file is mapped once.
#[derive(Debug)]
pub(crate) struct Payloads {
    folder: PathBuf,
    maps: HashMap<PathBuf, Bytes>,
}

impl Payloads {
    /// Those of a model whose external data is relative to `folder`, and was found to be where it may be.
    pub(crate) fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), maps: HashMap::default() }
    }

    /// The little-endian elements of a tensor; none where the model holds them in another form.
    ///
    /// # Errors
    /// Where a file cannot be read, or is too short.
    pub(crate) fn bytes(&mut self, tensor: &TensorProto) -> Result<Option<Bytes>> {
        if let Some(location) = ExternalLocation::of(tensor)? {
            return self.slice(tensor, &location).map(Some);
        }
        let floats = || match (&tensor.float_data[..], &tensor.double_data[..]) {
            ([floats], []) | ([], [floats]) => Some(floats.clone()),
            _ => None,
        };
        Ok(tensor.raw_data.clone().or_else(floats))
    }

    /// Has `model` hold all its external data itself, as slices of the files.
    ///
    /// # Errors
    /// As [`Payloads::bytes`].
    pub(crate) fn bring_in(&mut self, model: &mut Model) -> Result<()> {
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
        let map = self.file(&location.file)?;
        let begin = usize::try_from(location.offset).unwrap_or(usize::MAX);
        let end = location.length.map_or(Some(map.len()), |length| begin.checked_add(usize::try_from(length).ok()?));
        match end.filter(|&end| begin <= end && end <= map.len()) {
            Some(end) => Ok(map.slice(begin..end)),
            None => {
                Err(Error::input(format!("tensor `{}`: it ends beyond the file of its external data", tensor.name()))
                    .in_file(self.folder.join(&location.file)))
            }
        }
    }

    /// The bytes of a file of external data, by its location.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub(crate) fn file(&mut self, file: &Path) -> Result<Bytes> {
        if let Some(map) = self.maps.get(file) {
            return Ok(map.clone());
        }
        let map = map(&self.folder.join(file))?;
        self.maps.insert(file.to_owned(), map.clone());
        Ok(map)
    }
}
