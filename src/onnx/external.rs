//! External data: tensors whose bytes are in files beside the model (ONNX, "External Data").
//!
//! A location is a path relative to the model's folder. One that leads out of it (absolute, through `..`, or through a
//! symbolic link) is refused: a model from elsewhere must not read, or have copied, any file of the machine. Where the
//! model file is a symbolic link itself, its data may also lie where it does: so Hugging Face's cache has both, in a
//! folder of blobs. ONNX Runtime has the same rule.

use super::place::{Placement, Watch};
use super::proto::TensorProto;
use super::proto::tensor_proto::DataLocation;
use super::read::folder_of;
use super::visit::{for_each_tensor, for_each_tensor_mut};
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
    .help("put the data file itself into the folder of the model and name it by a relative path")
}

/// The folders that external data may lie in: the model's own, and the one where the model file lies where that is a
/// link.
fn allowed_folders(model: &Model) -> Result<Vec<PathBuf>> {
    let own = model.folder().canonicalize().map_err(|e| Error::io("open the folder", model.folder(), &e))?;
    let real = model.path().canonicalize().ok().and_then(|path| path.parent().map(Path::to_owned));
    Ok([own].into_iter().chain(real).collect())
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
            let length = at.length.or(tensor.byte_count()).unwrap_or(0);
            let end = at.offset.saturating_add(length);
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
    let needed = needed_bytes(model)?;
    if needed.is_empty() {
        return Ok(());
    }
    let folders = allowed_folders(model)?;
    for (file, (tensor, end)) in needed {
        let path = model.folder().join(&file);
        let real = path.canonicalize().map_err(|e| {
            Error::input(format!("tensor `{}`: cannot open its external data `{}`: {e}", tensor.name(), file.display()))
                .help("put the data file that came with the model beside it")
                .in_file(model.path())
        })?;
        if !folders.iter().any(|folder| real.starts_with(folder)) {
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

/// Puts the model's external files, but `there`, beside `output`, sharing their blocks where the file system can. Where
/// another file has the name already, which may be another model's, or a symbolic link out of the folder, which engines
/// would refuse to follow from `output`, a file gets a name that is `output`'s own. Returns the names of all.
pub(super) fn bring_along(
    model: &mut Model,
    output: &Path,
    there: Option<&Path>,
    placement: Placement,
    force: bool,
    watch: Watch<'_>,
) -> Result<Vec<PathBuf>> {
    let mut files = external_locations(model)?;
    let folder = folder_of(output);
    for file in files.iter_mut().filter(|file| Some(file.as_path()) != there) {
        let (from, mut to) = (model.folder().join(&*file), folder.join(&*file));
        let stays = place::same_place(&from, &to);
        if if stays { leads_out(&to, folder) } else { place::is_taken(&from, &to) } {
            let name = own_name(output, file);
            to = folder.join(&name);
            for_each_tensor_mut(model, &mut |tensor| relocate(tensor, file, &name));
            *file = name;
        }
        place::place_file(&from, &to, placement, force, watch)?;
    }
    Ok(files)
}

/// Whether a file does not really lie in `folder`.
fn leads_out(file: &Path, folder: &Path) -> bool {
    !matches!((file.canonicalize(), folder.canonicalize()), (Ok(file), Ok(folder)) if file.starts_with(&folder))
}

/// The name of a data file that is `output`'s own: `step.onnx` and `model.onnx_data` make `step.onnx.model.onnx_data`.
fn own_name(output: &Path, file: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(file.file_name().unwrap_or_default());
    name.into()
}

fn relocate(tensor: &mut TensorProto, from: &Path, to: &Path) {
    if tensor.data_location() == DataLocation::External as i32 {
        let locations = tensor.external_data.iter_mut().filter(|entry| entry.key() == "location");
        for entry in locations.filter(|entry| Path::new(entry.value()) == from) {
            entry.value = Some(to.to_string_lossy().into_owned());
        }
    }
}
