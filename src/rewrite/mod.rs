//! The whole way of a rewrite: read, recognise, penalise, write.
//!
//! ```no_run
//! use gnp::emit::artifact::Settings;
//! use gnp::rewrite::{Options, rewrite};
//! let options = Options { settings: Settings { metrics: true, ..Default::default() }, ..Default::default() };
//! let report = rewrite("artifacts".as_ref(), "artifacts_gnp".as_ref(), &options)?;
//! println!("{} of {} nodes are shared by both passes", report.shared_nodes, report.nodes_before);
//! # Ok::<(), gnp::Error>(())
//! ```

mod check;
mod report;

pub use check::{Loaded, check};
pub use report::{OperatorCount, Report};

use crate::emit::artifact::{self, Settings};
use crate::objective::Artifact;
use crate::onnx::{self, ExternalData, Model, Placement, WriteOptions, Written};
use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The file of an artifact folder that holds the gradient.
pub const TRAINING_MODEL: &str = "training_model.onnx";
const EVAL_MODEL: &str = "eval_model.onnx";
const OPTIMIZER_MODEL: &str = "optimizer_model.onnx";
/// A file, a folder in old versions, and `checkpoint.data` beside it where it is large.
const CHECKPOINT: &str = "checkpoint";

/// How to rewrite.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What to put into the training model.
    pub settings: Settings,
    /// Replace existing files.
    pub force: bool,
    /// What becomes of external data.
    pub external_data: ExternalData,
    /// Do everything but write.
    pub dry_run: bool,
}

/// Puts the penalty into `input`, a training model or a folder of artifacts, and writes the result to `output`, a file or
/// a folder likewise. In a folder the other artifacts are copied as they are. `input` and `output` may be the same.
///
/// # Errors
/// Where the input is no training artifact, the settings are out of range, or the output exists (without `force`) or
/// cannot be written. What existed is then as it was.
pub fn rewrite(input: &Path, output: &Path, options: &Options) -> Result<Report> {
    if input.is_dir() { rewrite_folder(input, output, options) } else { rewrite_file(input, output, options) }
}

fn rewrite_file(input: &Path, output: &Path, options: &Options) -> Result<Report> {
    let output = if output.is_dir() { output.join(input.file_name().unwrap_or_default()) } else { output.to_owned() };
    let (model, mut report) = penalise(input, options)?;
    report.output = output.clone();
    if options.dry_run {
        onnx::ensure_free(&output, options.force)?;
    } else {
        report.written(&write(model, &output, options)?);
    }
    Ok(report)
}

fn rewrite_folder(input: &Path, output: &Path, options: &Options) -> Result<Report> {
    let training_model = input.join(TRAINING_MODEL);
    if !training_model.is_file() {
        return Err(Error::input(format!("the folder has no {TRAINING_MODEL}"))
            .help("name the folder that onnxruntime.training.artifacts.generate_artifacts wrote, or a training model itself")
            .in_file(input));
    }
    if output.is_file() {
        return Err(Error::input("is a file; artifacts in a folder are rewritten into a folder").in_file(output));
    }
    let (model, mut report) = penalise(&training_model, options)?;
    report.output = output.join(TRAINING_MODEL);
    let others = other_artifacts(input)?;
    for name in others.iter().chain([&PathBuf::from(TRAINING_MODEL)]) {
        if !same_folder(input, output) || name.as_os_str() == TRAINING_MODEL {
            onnx::ensure_free(&output.join(name), options.force)?;
        }
    }
    if options.dry_run {
        return Ok(report);
    }
    // A folder that is new appears with everything in it or not at all.
    let parent = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let staging = if output.exists() {
        None
    } else {
        let folder = tempfile::Builder::new().prefix(".gnp-").tempdir_in(parent);
        Some(folder.map_err(|e| {
            Error::io("write to the folder", parent, &e)
                .help("choose an output in a folder that exists and is writable")
        })?)
    };
    let into = staging.as_ref().map_or(output, |s| s.path());
    for name in &others {
        onnx::place_file(&input.join(name), &into.join(name), Placement::OwnCopy, options.force)?;
    }
    report.written(&write(model, &into.join(TRAINING_MODEL), options)?);
    if let Some(staging) = staging {
        let path = staging.keep();
        publish(&path, output).map_err(|e| Error::io("make the folder", output, &e))?;
    }
    Ok(report)
}

/// Lets a finished folder appear under its name.
fn publish(staging: &Path, output: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(staging, fs::Permissions::from_mode(0o755))?;
    }
    fs::rename(staging, output).inspect_err(|_| _ = fs::remove_dir_all(staging))
}

fn write(model: Model, output: &Path, options: &Options) -> Result<Written> {
    let write_options =
        WriteOptions { force: options.force, external_data: options.external_data, ..WriteOptions::default() };
    onnx::write(model, output, &write_options)
}

fn penalise(input: &Path, options: &Options) -> Result<(Model, Report)> {
    options.settings.penalty.validate()?;
    let mut model = onnx::read(input)?;
    let artifact = Artifact::recognise(&model)?;
    let before = model.graph.node.iter().map(|n| n.operator()).collect();
    artifact::penalise(&mut model, &artifact, &options.settings)?;
    check::verify(&model).map_err(|e| e.in_file(input))?;
    let report = Report::new(&model, &artifact, before, &options.settings);
    Ok((model, report))
}

/// The files of a folder that belong to its training model, relative to it.
fn other_artifacts(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for name in [EVAL_MODEL, OPTIMIZER_MODEL] {
        if folder.join(name).is_file() {
            files.push(name.into());
            files.extend(onnx::external_locations(&onnx::read(folder.join(name))?)?);
        }
    }
    let io = |e| Error::io("read the folder", folder, &e);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        names.push(PathBuf::from(entry.map_err(io)?.file_name()));
    }
    names.retain(|name| name.to_string_lossy().starts_with(CHECKPOINT));
    names.sort();
    for name in names {
        let path = folder.join(&name);
        if path.is_dir() {
            for entry in fs::read_dir(&path).map_err(|e| Error::io("read the folder", &path, &e))? {
                let entry = entry.map_err(|e| Error::io("read the folder", &path, &e))?;
                if entry.path().is_file() {
                    files.push(name.join(entry.file_name()));
                }
            }
        } else {
            files.push(name);
        }
    }
    files.dedup();
    Ok(files)
}

fn same_folder(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
