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
mod others;
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

use crate::emit::artifact::{self, Inside, Needs, Settings};
use crate::emit::training;
use crate::objective::Artifact;
use crate::objective::artifact::ACCUMULATOR;
use folder::{check_folder, fill_folder};
use gnp_base::contract::artifacts::{FileNames, RESET};
use gnp_base::files;
use gnp_base::{Error, Result};
use gnp_model::graph::tensor_type;
use gnp_model::onnx::proto::ValueInfoProto;
use gnp_model::onnx::{self, DataType, ExternalData, Model, Watch, WriteOptions, Written};
use std::path::{Path, PathBuf};

/// How to rewrite.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What to put into the training model.
    pub settings: Settings,
    /// What else to put there, which changes the other artifacts too.
    pub inside: Inside,
    /// What the files of a folder are called.
    pub names: FileNames,
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
    let training = [ACCUMULATOR, "InPlaceAccumulator", "AdamWOptimizer", "SGDOptimizerV2"];
    model.graph.node.iter().any(|node| training.contains(&node.op_type()))
        || model.graph.input.iter().any(|input| input.name() == RESET && is_bool(input))
}

fn is_bool(value: &ValueInfoProto) -> bool {
    tensor_type(value).is_some_and(|tensor| tensor.elem_type() == DataType::Bool as i32)
}

fn rewrite_file(input: &Path, output: &Path, options: &Options, watch: Watch<'_>) -> Result<Report> {
    let output = if output.is_dir() { output.join(input.file_name().unwrap_or_default()) } else { output.to_owned() };
    let (model, mut report, needs) = penalise(input, options)?;
    if needs != Needs::default() {
        return Err(Error::input("the checkpoint and the other models change with what is kept from step to step")
            .in_file(input)
            .help("name the folder of artifacts, and one for the result with -o"));
    }
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
    let name = options.names.training_model();
    let training_model = input.join(&name);
    if !training_model.is_file() {
        return Err(Error::format(format!("the folder has no {name}"))
            .help("name the folder that onnxruntime.training.artifacts.generate_artifacts wrote, or a training model itself")
            .in_file(input));
    }
    check_folder(output, Some(input))?;
    let (model, mut report, needs) = penalise(&training_model, options)?;
    report.output = output.join(&name);
    let others = others::belonging(input, output, &model, options, &needs)?;
    report.lowered.extend(others.lowered);
    for name in others.files.keys().map(PathBuf::as_path).chain([Path::new(&name)]) {
        files::ensure_no_input(&output.join(name), [&training_model, &input.join(name)])?;
        files::ensure_free(&output.join(name), options.force)?;
    }
    if options.dry_run {
        report.external = onnx::external_locations(&model)?;
        return Ok(report);
    }
    fill_folder(output, |into| {
        for (name, file) in others.files {
            file.write(&input.join(&name), &into.join(&name), options.force, watch)?;
        }
        let in_place = Options { external_data: ExternalData::Keep, ..options.clone() };
        report.written(&write(model, &into.join(&name), &in_place, watch)?);
        Ok(report)
    })
}

fn write(model: Model, output: &Path, options: &Options, watch: Watch<'_>) -> Result<Written> {
    let write_options =
        WriteOptions { force: options.force, external_data: options.external_data, ..WriteOptions::default() };
    onnx::write_watched(model, output, &write_options, watch)
}

fn penalise(input: &Path, options: &Options) -> Result<(Model, Report, Needs)> {
    options.settings.penalty.validate()?;
    let mut model = onnx::read(input)?;
    let artifact = Artifact::recognise(&model)?;
    let needs = artifact::penalise(&mut model, &artifact, &options.settings, &options.inside)?;
    let lowered = training::lower(&mut model)?;
    verify(&model).and_then(|()| verify_names(&model)).map_err(|e| e.in_file(input))?;
    let mut report = Report::new(&model, &artifact, &options.settings, &options.inside, &needs);
    report.lower(&options.names.training_model(), lowered);
    Ok((model, report, needs))
}
