//! The whole way of a rewrite: read, recognise, penalise, write.
//!
//! ```no_run
//! use gnp_step::emit::artifact::Settings;
//! use gnp_step::rewrite::{rewrite, Options};
//! let options = Options { settings: Settings { metrics: true, ..Default::default() }, ..Default::default() };
//! let report = rewrite("artifacts".as_ref(), "artifacts_gnp".as_ref(), &options)?;
//! println!("{} of {} nodes are shared by both passes", report.shared_nodes, report.nodes_before);
//! # Ok::<(), gnp_base::Error>(())
//! ```

mod folder;
mod forward;
mod report;
mod restore;
mod step_report;
mod verify;

pub use forward::{
    Destination, StepConfig, StepOptions, TakenBy, make_artifacts, make_step, rewrite_forward, write_artifacts,
};
pub use report::{OperatorCount, Report};
pub use restore::{make_evaluation, restore};
pub use step_report::{ArtifactsReport, StepCount, StepReport};
pub use verify::{verify, verify_names};

use crate::emit::artifact::{self, Settings};
use crate::objective::Artifact;
use folder::{check_folder, fill_folder};
use gnp_base::contract::artifacts::{CHECKPOINT, EVAL_MODEL, OPTIMIZER_MODEL, TRAINING_MODEL};
use gnp_base::files;
use gnp_base::{Error, Result};
use gnp_model::onnx::{self, ExternalData, Model, Placement, Watch, WriteOptions, Written};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

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

/// Puts the penalty into `input`, a training model or a folder of artifacts, and writes the result to `output`, a file
/// or a folder likewise. In a folder the other artifacts are copied as they are.
///
/// # Errors
/// Where the input is no training artifact, the settings are out of range, or the output is the input, exists (without
/// `force`) or cannot be written. What existed is then as it was.
pub fn rewrite(input: &Path, output: &Path, options: &Options) -> Result<Report> {
    rewrite_watched(input, output, options, &mut |_| {})
}

/// The same, and tells `watch` of data that is copied.
///
/// # Errors
/// As [`rewrite()`].
pub fn rewrite_watched(input: &Path, output: &Path, options: &Options, watch: Watch<'_>) -> Result<Report> {
    if input.is_dir() {
        rewrite_folder(input, output, options, watch)
    } else {
        rewrite_file(input, output, options, watch)
    }
}

/// Whether a model is a training artifact or belongs to one, in place of a forward model.
pub fn is_training_model(model: &Model) -> bool {
    let training = ["InPlaceAccumulatorV2", "InPlaceAccumulator", "AdamWOptimizer", "SGDOptimizerV2"];
    model.graph.node.iter().any(|node| training.contains(&node.op_type()))
        || model.graph.input.iter().any(|input| input.name() == "lazy_reset_grad")
}

fn rewrite_file(input: &Path, output: &Path, options: &Options, watch: Watch<'_>) -> Result<Report> {
    let output = if output.is_dir() { output.join(input.file_name().unwrap_or_default()) } else { output.to_owned() };
    let (model, mut report) = penalise(input, options)?;
    report.output = output.clone();
    files::ensure_no_input(&output, onnx::external_files(&model)?.iter().map(PathBuf::as_path).chain([input]))?;
    if options.dry_run {
        files::ensure_free(&output, options.force)?;
        report.external = onnx::data_beside(&model, &output, options.external_data)?;
    } else {
        report.written(&write(model, &output, options, watch)?);
    }
    Ok(report)
}

fn rewrite_folder(input: &Path, output: &Path, options: &Options, watch: Watch<'_>) -> Result<Report> {
    let training_model = input.join(TRAINING_MODEL);
    if !training_model.is_file() {
        return Err(Error::format(format!("the folder has no {TRAINING_MODEL}"))
            .help("name the folder that onnxruntime.training.artifacts.generate_artifacts wrote, or a training model itself")
            .in_file(input));
    }
    check_folder(output, Some(input))?;
    let (model, mut report) = penalise(&training_model, options)?;
    report.output = output.join(TRAINING_MODEL);
    let others = other_files(input, output, &model, options.external_data)?;
    for name in others.keys().map(PathBuf::as_path).chain([Path::new(TRAINING_MODEL)]) {
        files::ensure_no_input(&output.join(name), [&training_model, &input.join(name)])?;
        files::ensure_free(&output.join(name), options.force)?;
    }
    if options.dry_run {
        report.external = onnx::external_locations(&model)?;
        return Ok(report);
    }
    fill_folder(output, |into| {
        for (name, placement) in others {
            onnx::place_file(&input.join(&name), &into.join(&name), placement, options.force, watch)?;
        }
        let in_place = Options { external_data: ExternalData::Keep, ..*options };
        report.written(&write(model, &into.join(TRAINING_MODEL), &in_place, watch)?);
        Ok(report)
    })
}

fn write(model: Model, output: &Path, options: &Options, watch: Watch<'_>) -> Result<Written> {
    let write_options =
        WriteOptions { force: options.force, external_data: options.external_data, ..WriteOptions::default() };
    onnx::write_watched(model, output, &write_options, watch)
}

fn penalise(input: &Path, options: &Options) -> Result<(Model, Report)> {
    options.settings.penalty.validate()?;
    let mut model = onnx::read(input)?;
    let artifact = Artifact::recognise(&model)?;
    artifact::penalise(&mut model, &artifact, &options.settings)?;
    verify(&model).and_then(|()| verify_names(&model)).map_err(|e| e.in_file(input))?;
    let report = Report::new(&model, &artifact, &options.settings);
    Ok((model, report))
}

/// The files that belong to the training model in `folder`, relative to it, and how each may come to the folder
/// `output`. Data files may be shared: by models of the folder, and with the copy. The names of those are the models'
/// choice, and so may be no other file's.
fn other_files(
    folder: &Path,
    output: &Path,
    training_model: &Model,
    external: ExternalData,
) -> Result<BTreeMap<PathBuf, Placement>> {
    let mut files = BTreeMap::new();
    let mut data = onnx::external_locations(training_model)?;
    for name in [EVAL_MODEL, OPTIMIZER_MODEL] {
        if folder.join(name).is_file() {
            files.insert(name.into(), Placement::OwnCopy);
            data.extend(onnx::external_locations(&onnx::read(folder.join(name))?)?);
        }
    }
    if let Some(placement) = external.placement() {
        for file in &data {
            let refused = |what: &str, help: &str| {
                Err(Error::input(format!("external data `{}` {what}", file.display())).in_file(folder).help(help))
            };
            if !onnx::may_be_chosen(file) {
                let what = "has the name of a hidden file or a program";
                return refused(what, "leave it where it is: --external-data keep");
            }
            if onnx::is_taken(&folder.join(file), &output.join(file)) {
                let what = format!("would replace another file of this name in {}", output.display());
                return refused(&what, "choose a folder with -o that is new, or remove that file");
            }
        }
        files.extend(data.into_iter().map(|file| (file, placement)));
    }
    for name in entries(folder)?.into_iter().filter(|name| name.to_string_lossy().starts_with(CHECKPOINT)) {
        let path = folder.join(&name);
        if path.is_dir() {
            let parts = entries(&path)?.into_iter().filter(|part| path.join(part).is_file());
            files.extend(parts.map(|part| (name.join(part), Placement::OwnCopy)));
        } else {
            files.insert(name, Placement::OwnCopy);
        }
    }
    Ok(files)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let names = fs::read_dir(folder).and_then(|entries| entries.map(|e| Ok(e?.file_name().into())).collect());
    names.map_err(|e| Error::io("read the folder", folder, &e))
}
