//! External data: tensors whose bytes are in files beside the model (ONNX, "External Data").
//!
//! A location is a path relative to the model's folder. One that leads out of the folder (absolute, through `..`, or through
//! a symbolic link) is refused: a model from elsewhere must not read, or have copied, any file of the machine.

use super::proto::TensorProto;
use super::proto::tensor_proto::DataLocation;
use super::visit::for_each_tensor;
use super::{Model, place};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Where the bytes of one tensor are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalLocation {
    /// The file, relative to the model's folder.
    pub file: PathBuf,
    /// The first byte.
    pub offset: u64,
    /// The number of bytes; to the end of the file where the model does not say.
    pub length: Option<u64>,
}

impl ExternalLocation {
    /// The location that `tensor` names, if its data is external.
    ///
    /// # Errors
    /// Where the location is missing, no number where one is due, or leads out of the model's folder.
    pub fn of(tensor: &TensorProto) -> Result<Option<Self>> {
        if tensor.data_location() != DataLocation::External as i32 {
            return Ok(None);
        }
        let entry = |key| tensor.external_data.iter().find(|e| e.key() == key).map(|e| e.value());
        let error = |what: String| Error::input(format!("tensor `{}`: {what}", tensor.name()));
        let number = |key| match entry(key).map(|v| v.parse::<u64>().map_err(|_| v)) {
            None => Ok(None),
            Some(Ok(n)) => Ok(Some(n)),
            Some(Err(v)) => Err(error(format!("the external data's {key} is `{v}`; expected a number of bytes"))),
        };
        let file = PathBuf::from(entry("location").ok_or_else(|| error("external data without a location".into()))?);
        if !file.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
            return Err(outside(tensor, &file));
        }
        Ok(Some(Self { file, offset: number("offset")?.unwrap_or(0), length: number("length")? }))
    }
}

fn outside(tensor: &TensorProto, file: &Path) -> Error {
    Error::input(format!(
        "tensor `{}`: its external data `{}` is outside the model's folder",
        tensor.name(),
        file.display()
    ))
    .help("put the data file into the folder of the model and name it by a relative path")
}

/// The distinct files that the model's external data is in, relative to its folder, in order of name.
///
/// # Errors
/// As [`ExternalLocation::of`].
pub fn external_locations(model: &Model) -> Result<Vec<PathBuf>> {
    Ok(needed_bytes(model)?.into_keys().collect())
}

/// For each external file, the first tensor that reaches furthest into it and how many bytes that takes.
fn needed_bytes(model: &Model) -> Result<BTreeMap<PathBuf, (&TensorProto, u64)>> {
    let mut files: BTreeMap<PathBuf, (&TensorProto, u64)> = BTreeMap::new();
    let mut first_error = None;
    for_each_tensor(model, &mut |tensor| match ExternalLocation::of(tensor) {
        Ok(None) => {}
        Ok(Some(at)) => {
            let end = at.offset.saturating_add(at.length.unwrap_or(0));
            let reach = files.entry(at.file).or_insert((tensor, end));
            if end > reach.1 {
                *reach = (tensor, end);
            }
        }
        Err(e) => _ = first_error.get_or_insert(e),
    });
    match first_error {
        Some(e) => Err(e.in_file(model.path())),
        None => Ok(files),
    }
}

/// Checks that every external file is there, inside the model's folder, and long enough.
pub(super) fn check(model: &Model) -> Result<()> {
    for (file, (tensor, end)) in needed_bytes(model)? {
        let path = model.folder().join(&file);
        let real = path.canonicalize().map_err(|e| {
            Error::input(format!("tensor `{}`: cannot open its external data `{}`: {e}", tensor.name(), file.display()))
                .help("put the data file that came with the model beside it")
                .in_file(model.path())
        })?;
        let folder = model.folder().canonicalize().map_err(|e| Error::io("open the folder", model.folder(), &e))?;
        if !real.starts_with(&folder) {
            return Err(outside(tensor, &file).in_file(model.path()));
        }
        let length = real.metadata().map_err(|e| Error::io("read the file", &path, &e))?.len();
        if end > length {
            return Err(Error::input(format!(
                "tensor `{}`: its external data ends at byte {end} of `{}`, which has only {length}",
                tensor.name(),
                file.display()
            ))
            .help("the data file is cut short or belongs to another model")
            .in_file(model.path()));
        }
    }
    Ok(())
}

/// Puts the model's external files, but `there`, beside `output`, sharing their blocks where the file system can.
pub(super) fn bring_along(
    model: &Model,
    output_folder: &Path,
    there: Option<&Path>,
    force: bool,
) -> Result<Vec<PathBuf>> {
    let files = external_locations(model)?;
    for file in files.iter().filter(|file| Some(file.as_path()) != there) {
        let (from, to) = (model.folder().join(file), output_folder.join(file));
        place::place_file(&from, &to, place::Placement::MayLink, force)?;
    }
    Ok(files)
}
