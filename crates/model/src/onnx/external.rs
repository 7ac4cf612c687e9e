//! External data: tensors whose bytes are in files beside the model (ONNX, "External Data").
//!
//! A location is a path relative to the model's folder. One that leads out of it (absolute, through `..`, or through a
//! symbolic link) is refused: a model from elsewhere must not read, or have copied, any file of the machine. Where the
//! model file is a symbolic link itself, its data may also lie where it does: so Hugging Face's cache has both, in a
//! folder of blobs. ONNX Runtime has the same rule.

use super::place::{Placement, Watch};
use super::proto::TensorProto;
use super::proto::tensor_proto::DataLocation;
use super::visit::{for_each_tensor, for_each_tensor_mut};
use super::{Model, place};
use gnp_base::files::{self, folder_of, same_place};
use gnp_base::{Error, Result};
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
        let error = |what: String| Error::format(format!("tensor `{}`: {what}", tensor.name()));
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
    Error::format(format!(
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
        if tensor.is_zeros() {
            let what = format!("tensor `{}`: gnp makes a file `{}` itself", tensor.name(), file.display());
            return Err(Error::input(what).help("give the data file another name").in_file(model.path()));
        }
        let real = path.canonicalize().map_err(|e| {
            let file = file.display();
            Error::os(format!("tensor `{}`: cannot open its external data `{file}`: {e}", tensor.name()), &e)
                .help("put the data file that came with the model beside it")
                .in_file(model.path())
        })?;
        if !folders.iter().any(|folder| real.starts_with(folder)) {
            return Err(outside(tensor, &file).in_file(model.path()));
        }
        let length = files::open(&real).and_then(|file| file.metadata());
        let length = length.map_err(|e| Error::io("read the external data", &path, &e))?.len();
        if end > length {
            return Err(Error::format(format!(
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

/// The files that the model's external data is in.
///
/// # Errors
/// As [`ExternalLocation::of`].
pub fn external_files(model: &Model) -> Result<Vec<PathBuf>> {
    Ok(external_locations(model)?.into_iter().map(|file| model.folder().join(file)).collect())
}

/// The names that the model's external files get beside `output`, each with the one that it has in the model. A model
/// chooses no name that another file has already, which may be another model's; none of a hidden file or of a program;
/// none that a link leads out of the folder, which engines would refuse to follow. Then a file gets a name that is
/// `output`'s own.
pub(super) fn names_beside(model: &Model, output: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let folder = folder_of(output);
    let name = |file: PathBuf| {
        let (from, to) = (model.folder().join(&file), folder.join(&file));
        let stays = same_place(&from, &to);
        let is_refused = || !may_be_chosen(&file) || leads_out(folder_of(&to), folder) || place::is_taken(&from, &to);
        let name = if if stays { leads_out(&to, folder) } else { is_refused() } {
            own_name(output, &file)?
        } else {
            file.clone()
        };
        Ok((file, name))
    };
    external_locations(model)?.into_iter().map(name).collect()
}

/// Puts the model's external files, but `there`, beside `output`, sharing their blocks where the file system can, under
/// the names of [`names_beside`]. Returns the names of all.
pub(super) fn bring_along(
    model: &mut Model,
    output: &Path,
    there: Option<&Path>,
    placement: Placement,
    force: bool,
    watch: Watch<'_>,
) -> Result<Vec<PathBuf>> {
    let (folder, sources) = (folder_of(output), external_files(model)?);
    let mut names = Vec::new();
    for (file, name) in names_beside(model, output)? {
        if Some(file.as_path()) == there {
            names.push(file);
            continue;
        }
        let (from, to) = (model.folder().join(&file), folder.join(&name));
        if name != file {
            files::ensure_no_input(&to, &sources)?;
            for_each_tensor_mut(model, &mut |tensor| relocate(tensor, &file, &name));
        }
        place::place_file(&from, &to, placement, force, watch)?;
        names.push(name);
    }
    Ok(names)
}

/// Whether a model may choose this name of a file that is written: no hidden file, and no program.
pub fn may_be_chosen(file: &Path) -> bool {
    const PROGRAMS: [&str; 29] = [
        "app", "bash", "bat", "class", "cmd", "com", "csh", "desktop", "dll", "dylib", "exe", "fish", "jar", "js",
        "lnk", "lua", "msi", "php", "pl", "ps1", "pth", "py", "pyc", "pyd", "rb", "sh", "so", "vbs", "zsh",
    ];
    let is_hidden =
        |part: Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b".") && part != Component::CurDir;
    // `libonnxruntime.so.1` is a library, too.
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let is_version = |ending: &&str| ending.bytes().all(|byte| byte.is_ascii_digit());
    let ending = name.split('.').skip(1).collect::<Vec<_>>().into_iter().rev().find(|ending| !is_version(ending));
    !file.components().any(is_hidden) && !ending.is_some_and(|ending| PROGRAMS.contains(&ending))
}

/// Whether a file or folder, or the folder that it would be made in, does not really lie in `folder`.
fn leads_out(file: &Path, folder: &Path) -> bool {
    let existing = file.ancestors().find_map(|part| folder_of(&part.join("x")).canonicalize().ok());
    !matches!((existing, folder.canonicalize()), (Some(file), Ok(folder)) if file.starts_with(&folder))
}

/// The name of a data file that is `output`'s own: `step.onnx` and `model.onnx_data` make `step.onnx.model.onnx_data`.
fn own_name(output: &Path, file: &Path) -> Result<PathBuf> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let name = name.trim_start_matches('.');
    let ending = if may_be_chosen(Path::new(name)) { "" } else { ".data" };
    files::name_beside(output, &format!(".{name}{ending}"))
}

fn relocate(tensor: &mut TensorProto, from: &Path, to: &Path) {
    if tensor.data_location() == DataLocation::External as i32 {
        let locations = tensor.external_data.iter_mut().filter(|entry| entry.key() == "location");
        for entry in locations.filter(|entry| Path::new(entry.value()) == from) {
            entry.value = Some(to.to_string_lossy().into_owned());
        }
    }
}
