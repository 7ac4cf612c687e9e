//! Puts the Gradient Norm Penalty into ONNX training graphs.

mod artifact;
mod step;
mod training;

use crate::check::{Loaded, Trial};
use crate::cli;
use crate::cli::arguments::named::named;
use crate::cli::arguments::{Given, PenaltyArguments, StepArguments};
use crate::contract::artifacts::FileNames;
use crate::emit::artifact::{Inside, Settings};
use crate::engine::Device;
use crate::engine::runtime::{self, Runtime};
use crate::named::Named as _;
use crate::onnx::{self, ExternalData};
use crate::rewrite::{self, Options, StepOptions};
use crate::transform::OptimizerKind;
use crate::{Error, Result, escaped, files};
use clap::{CommandFactory, Parser, ValueEnum};
use serde::Serialize;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use strum::{EnumMessage, IntoStaticStr, VariantArray};
use tempfile::TempDir;

const EXAMPLES: &str = "\
Examples:
  gnp-rewrite model.onnx -o step.onnx --loss cross-entropy --optimizer momentum
      One model that takes a whole training step, in standard operators, for any ONNX runtime
  gnp-rewrite model.onnx -o step.onnx --freeze 'backbone.*' --optimizer adamw --clip-norm 1
      Fine-tune all but the backbone, which is evaluated once a step
  gnp-rewrite model.onnx --emit ort-training -o artifacts/ --loss cross-entropy --optimizer momentum
      Artifacts for ONNX Runtime's training API, with the penalty and the momentum in the training model
  gnp-rewrite artifacts/ -o artifacts_gnp/
      The paper's recipe, r = 0.1 and alpha = 0.8; the application changes the path and nothing else
  gnp-rewrite artifacts/ -o artifacts_gnp/ --optimizer momentum --gr-warmup zero --gr-warmup-steps 1000
      The same with momentum and a warm-up of the penalty, which the checkpoint keeps
  gnp-rewrite artifacts/ -o artifacts_sam/ --r 0.05 --alpha 1
      Sharpness-aware minimisation
  gnp-rewrite training_model.onnx -o training_model_gnp.onnx --expose r,alpha --metrics --check
      r and alpha as inputs of the graph, the gradient's norm and the perturbed loss as outputs; then try to load it
  gnp-rewrite model.onnx -o step.onnx --dry-run
      Show what would be done

Exit codes: 0 done, 2 something the user can mend (the message says what), 1 a defect of the program";

/// Put the Gradient Norm Penalty into an ONNX model or an ONNX Runtime training artifact
///
/// The gradient that the training follows becomes
///
/// g = (1 - alpha) * grad L(w)  +  alpha * grad L(w + r * grad L(w) / |grad L(w)|),
///
/// as nodes of the graph (Zhao, Zhang, Hu: ICML 2022). Of an ordinary (forward) model it makes a step model, which
/// takes a whole training step: loss, gradients, update; or, with --emit ort-training, the artifacts of ONNX Runtime's
/// training API. In artifacts that are there it replaces the gradient, and nothing else that was not asked for.
#[derive(Parser)]
#[command(name = "gnp-rewrite", version, styles = cli::STYLES, after_help = EXAMPLES, max_term_width = 100, arg_required_else_help = true)]
struct Arguments {
    /// An ONNX model; or a folder of artifacts, or a training_model.onnx
    input: PathBuf,
    /// The folder or file to write
    #[arg(short, long)]
    output: PathBuf,

    #[command(flatten)]
    penalty: PenaltyArguments,
    #[command(flatten)]
    step: Given<StepArguments>,

    /// The learning rate where none is fed [default: 0.001; 0.01 with rmsprop]
    #[arg(long, value_name = "RATE", allow_negative_numbers = true, help_heading = "Optimizer")]
    lr: Option<f32>,

    /// What to make of a forward model
    #[arg(long, value_name = "FORM", value_parser = named::<Emitted>(), default_value = Emitted::default().name(), help_heading = "Interface of the graph")]
    emit: Emitted,
    /// Make these numbers inputs of the graph, `gnp.r` and `gnp.alpha` (float scalars after the labels); in a step
    /// model they are
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        value_enum,
        help_heading = "Interface of the graph (artifacts)"
    )]
    expose: Vec<Exposed>,
    /// Return `gnp.grad_norm`, `gnp.loss_perturbed`, `gnp.mixed_grad_norm` and `gnp.param_norm` after the outputs that
    /// the application knows; a step model does
    #[arg(long, help_heading = "Interface of the graph (artifacts)")]
    metrics: bool,
    /// With --emit ort-training, return the loss without the predictions
    #[arg(long, help_heading = "Interface of the graph (artifacts)")]
    loss_alone: bool,
    /// What the names of the artifacts' files begin with
    #[arg(long, value_name = "PREFIX", help_heading = "Files")]
    artifact_prefix: Option<String>,

    /// Replace existing files
    #[arg(short, long, help_heading = "Files")]
    force: bool,
    /// What becomes of external data when the output is in another folder
    #[arg(long, value_parser = named::<ExternalData>(), default_value = ExternalData::default().name(), help_heading = "Files")]
    external_data: ExternalData,
    /// Do everything but write
    #[arg(short = 'n', long, help_heading = "Files")]
    dry_run: bool,

    /// Read the result again and check its structure and types; load it in an engine that is found and try a step on
    /// made-up data
    #[arg(long, help_heading = "Checks and messages")]
    check: bool,
    /// The ONNX Runtime library to load it in, rather than the first that is found
    #[arg(long, value_name = "PATH", help_heading = "Checks and messages")]
    ort_lib: Option<PathBuf>,
    /// Print a report for programs
    #[arg(long, help_heading = "Checks and messages")]
    json: bool,
    /// Print nothing but errors
    #[arg(short, long, conflicts_with_all = ["verbose", "json"], help_heading = "Checks and messages")]
    quiet: bool,
    /// Print more: what trains; of artifacts, what is shared by the passes, operator by operator; with --check each
    /// library before it is loaded
    #[arg(short, long, help_heading = "Checks and messages")]
    verbose: bool,
}

/// What becomes of a forward model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, VariantArray, IntoStaticStr, EnumMessage)]
#[strum(serialize_all = "kebab-case")]
enum Emitted {
    /// One model that takes a whole training step, for any ONNX runtime
    #[default]
    Step,
    /// A folder of artifacts for ONNX Runtime's training API: training_model.onnx, eval_model.onnx,
    /// optimizer_model.onnx, checkpoint
    OrtTraining,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Exposed {
    R,
    Alpha,
}

/// `gnp-rewrite`: makes a training step of a model, or puts the penalty into artifacts. The words are its command line.
pub fn gnp_rewrite(words: impl IntoIterator<Item = OsString>) -> u8 {
    cli::run(words, |arguments| cli::print(run(arguments)?))
}

/// The arguments of `gnp-rewrite`, for who makes words of settings.
pub fn rewrite_command() -> clap::Command {
    Arguments::command()
}

/// Does what `gnp-rewrite` does with the words of its command line, and returns its report for programs, as JSON.
///
/// # Errors
/// As the program, which would say so and end.
pub fn rewrite_reported(words: impl IntoIterator<Item = OsString>) -> Result<String> {
    let arguments = Arguments::try_parse_from(words).map_err(cli::usage)?;
    run(Arguments { json: true, quiet: true, ..arguments })
}

fn run(arguments: Arguments) -> Result<String> {
    if arguments.verbose {
        cli::name_libraries();
    }
    let others = [arguments.step.class_weights_file(), arguments.ort_lib.as_deref()];
    files::ensure_no_input(&arguments.output, others.into_iter().flatten())?;
    if arguments.input.is_dir() {
        return artifact::run(&arguments);
    }
    let model = onnx::read(&arguments.input)?;
    match arguments.emit {
        _ if rewrite::is_training_model(&model) => artifact::run(&arguments),
        Emitted::Step => step::run(&arguments, model),
        Emitted::OrtTraining => training::run(&arguments, model),
    }
}

impl Arguments {
    fn file_names(&self) -> Result<FileNames> {
        FileNames::new(self.artifact_prefix.as_deref().unwrap_or_default())
    }

    fn artifact_options(&self) -> Result<Options> {
        let refused = |what: String, help: &str| Err(Error::input(what).in_file(&self.input).help(help));
        let of_forward = |flag: &&str| !BEFORE_ACCUMULATORS.contains(flag) && !OPTIMIZER.contains(flag);
        if let Some(flag) = self.step.flags().find(of_forward).or(self.lr.map(|_| "--lr")) {
            return refused(
                format!("{flag} is for forward models; a training artifact has its loss and its parameters"),
                "leave it out, or start from the forward model",
            );
        }
        if self.emit == Emitted::OrtTraining || self.loss_alone {
            let flag = if self.loss_alone { "--loss-alone" } else { "--emit" };
            return refused(format!("{flag} is for forward models; artifacts become artifacts"), "leave it out");
        }
        let replaces = self.step.flags().any(|flag| flag == "--optimizer");
        if let Some(flag) = self.step.flags().find(|flag| OPTIMIZER.contains(flag)).filter(|_| !replaces) {
            return refused(
                format!("{flag} is a part of an optimizer, and the artifacts have one of their own"),
                "name the optimizer that is to take its place: --optimizer",
            );
        }
        let settings = Settings {
            penalty: self.penalty.penalty()?,
            expose_r: self.expose.contains(&Exposed::R),
            expose_alpha: self.expose.contains(&Exposed::Alpha),
            metrics: self.metrics,
        };
        let StepOptions { mut optimizer, warmup, warmup_steps, .. } = self.step.options(settings.penalty, None)?;
        if !replaces {
            optimizer.kind = OptimizerKind::Sgd;
        }
        let has_transforms = replaces || optimizer.clip_norm.is_some();
        let inside = Inside { optimizer: has_transforms.then_some(optimizer), replaces, warmup, warmup_steps };
        let names = self.file_names()?;
        let external_data = self.external_data;
        Ok(Options { settings, inside, names, force: self.force, external_data, dry_run: self.dry_run })
    }
}

/// What may stand before the accumulators of artifacts, whatever their optimizer is.
const BEFORE_ACCUMULATORS: [&str; 4] = ["--optimizer", "--clip-norm", "--gr-warmup", "--gr-warmup-steps"];
/// What belongs to an optimizer that takes the place of theirs.
const OPTIMIZER: [&str; 6] =
    ["--momentum", "--weight-decay", "--decay", "--decay-skip-1d", "--lr-scale", "--decay-scale"];

/// The runtime that `--check` loads artifacts in; why there is none, where the user named none.
fn training_runtime(arguments: &Arguments) -> Result<Result<Runtime>> {
    match runtime::for_training(arguments.ort_lib.as_deref(), Device::Cpu) {
        Err(error) if arguments.ort_lib.is_some() => Err(error),
        found => Ok(found),
    }
}

/// A folder for what a dry run checks.
fn scratch() -> Result<TempDir> {
    tempfile::tempdir().map_err(|e| Error::io("make a temporary folder", std::env::temp_dir(), &e))
}

/// From which file to which, as a line.
fn way(input: &Path, output: &Path, arguments: &Arguments) -> String {
    let dry_run = if arguments.dry_run { " (dry run: nothing was written)" } else { "" };
    format!("{} → {}{dry_run}\n", input.display(), output.display())
}

/// The report in the form that is wanted, if one is.
fn told<R: Serialize>(
    arguments: &Arguments,
    report: &R,
    checked: Option<&Loaded>,
    text: impl FnOnce(&R, Option<&Loaded>, &Arguments) -> String,
) -> Result<String> {
    match (arguments.json, arguments.quiet) {
        (true, _) => json(report, checked),
        (_, true) => Ok(String::new()),
        _ => Ok(text(report, checked, arguments)),
    }
}

fn json(report: &impl Serialize, checked: Option<&Loaded>) -> Result<String> {
    #[derive(Serialize)]
    struct Output<'a, R> {
        #[serde(flatten)]
        report: &'a R,
        checked: Option<&'a Loaded>,
    }
    let json = serde_json::to_string_pretty(&Output { report, checked })
        .map_err(|e| Error::internal(format!("cannot encode the report: {e}")))?;
    Ok(json + "\n")
}

/// Which files of data lie beside the output, as a line.
fn data_line(files: &[PathBuf], arguments: &Arguments) -> String {
    if files.is_empty() {
        return String::new();
    }
    let files: Vec<String> = files.iter().map(|file| escaped::line(&file.to_string_lossy()).into_owned()).collect();
    let verb = match (arguments.external_data, arguments.dry_run) {
        (ExternalData::Keep, _) => "Its data are looked for beside it",
        (_, true) => "Its data would be placed beside it",
        (_, false) => "Its data lie beside it",
    };
    format!("{verb}: {}.\n", files.join(", "))
}

/// The outcome of the check, as a line.
fn check_line(checked: Option<&Loaded>) -> String {
    match checked {
        Some(Loaded { runtime: Some(runtime), step, .. }) => {
            let step = step.as_ref().map(|step| format!("; {}", trial(step))).unwrap_or_default();
            format!("Checked: structure and types; loads in {runtime}{step}.\n")
        }
        Some(Loaded { why_not: Some(why), .. }) => format!("Checked: structure and types. Not loaded: {why}.\n"),
        _ => String::new(),
    }
}

fn trial(step: &Trial) -> String {
    let sizes: Vec<String> =
        step.sizes.iter().map(|(name, size)| format!("{} = {size}", escaped::line(name))).collect();
    let sizes = if sizes.is_empty() { String::new() } else { format!(" ({})", sizes.join(", ")) };
    let number =
        |x: f32| if x == 0.0 || (1e-3..1e6).contains(&x.abs()) { format!("{x:.4}") } else { format!("{x:.3e}") };
    let norm = step.grad_norm.map(|norm| format!(", ‖∇L‖ = {}", number(norm))).unwrap_or_default();
    format!("a step on made-up data{sizes} gives L = {}{norm}", number(step.loss))
}
