//! Puts the Gradient Norm Penalty into ONNX training graphs.

use clap::{Parser, ValueEnum};
use comfy_table::Table;
use gnp::cli;
use gnp::emit::artifact::Settings;
use gnp::engine::runtime;
use gnp::onnx::ExternalData;
use gnp::penalty::{Mix, Penalty, Perturbation};
use gnp::rewrite::{self, Loaded, Options, Report};
use gnp::{Error, Result};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXAMPLES: &str = "\
Examples:
  gnp-rewrite artifacts/ -o artifacts_gnp/
      The paper's recipe, r = 0.1 and alpha = 0.8; the application changes the path and nothing else
  gnp-rewrite artifacts/ -o artifacts_sam/ --r 0.05 --alpha 1
      Sharpness-aware minimisation
  gnp-rewrite training_model.onnx -o training_model_gnp.onnx --expose r,alpha --metrics --check
      r and alpha as inputs of the graph, the gradient's norm and the perturbed loss as outputs; then try to load it
  gnp-rewrite artifacts/ -o out/ --dry-run
      Show what would be done

Exit codes: 0 done, 2 something the user can mend (the message says what), 1 a defect of the program";

/// Put the Gradient Norm Penalty into an ONNX Runtime training artifact
///
/// The gradient that the training model accumulates becomes
///   g = (1 - alpha) * grad L(w)  +  alpha * grad L(w + r * grad L(w) / |grad L(w)|),
/// as nodes of the graph (Zhao, Zhang, Hu: ICML 2022). Inputs, outputs and the other artifacts stay as they are.
#[derive(Parser)]
#[command(name = "gnp-rewrite", version, styles = cli::STYLES, after_help = EXAMPLES, max_term_width = 100, arg_required_else_help = true)]
struct Arguments {
    /// A folder of artifacts, or a training_model.onnx
    input: PathBuf,
    /// The folder or file to write
    #[arg(short, long)]
    output: PathBuf,

    /// The radius r of the perturbation; 0 is plain training
    #[arg(long, value_name = "R", default_value_t = Penalty::default().r, allow_negative_numbers = true, help_heading = "Penalty")]
    r: f32,
    /// The weight of the perturbed gradient: 1 is SAM, 0 is plain training [default: 0.8]
    #[arg(long, value_name = "ALPHA", allow_negative_numbers = true, help_heading = "Penalty")]
    alpha: Option<f32>,
    /// The weight of the penalty in the loss, in place of alpha, which is then lambda/r
    #[arg(
        long,
        value_name = "LAMBDA",
        allow_negative_numbers = true,
        conflicts_with = "alpha",
        help_heading = "Penalty"
    )]
    lambda: Option<f32>,
    /// How the gradient at w enters the mix
    #[arg(long, value_enum, default_value_t, help_heading = "Penalty")]
    mix: Mix,
    /// The direction in which the second gradient is taken
    #[arg(long, value_enum, default_value_t, help_heading = "Penalty")]
    perturb: Perturbation,

    /// Make these numbers inputs of the graph, `gnp.r` and `gnp.alpha` (float scalars after the labels)
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_enum, help_heading = "Interface of the graph")]
    expose: Vec<Exposed>,
    /// Return `gnp.grad_norm` and `gnp.loss_perturbed` after the outputs that the application knows
    #[arg(long, help_heading = "Interface of the graph")]
    metrics: bool,

    /// Replace existing files
    #[arg(short, long, help_heading = "Files")]
    force: bool,
    /// What becomes of external data when the output is in another folder
    #[arg(long, value_enum, default_value_t = External::Place, help_heading = "Files")]
    external_data: External,
    /// Do everything but write
    #[arg(short = 'n', long, help_heading = "Files")]
    dry_run: bool,

    /// Read the result again and check structure, names and types; load it where a training runtime is found
    #[arg(long, help_heading = "Checks and messages")]
    check: bool,
    /// The ONNX Runtime library to load it in
    #[arg(long, value_name = "PATH", help_heading = "Checks and messages")]
    ort_lib: Option<PathBuf>,
    /// Print a report for programs
    #[arg(long, help_heading = "Checks and messages")]
    json: bool,
    /// Print nothing but errors
    #[arg(short, long, conflicts_with_all = ["verbose", "json"], help_heading = "Checks and messages")]
    quiet: bool,
    /// Print what is shared by the passes, operator by operator
    #[arg(short, long, help_heading = "Checks and messages")]
    verbose: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Exposed {
    R,
    Alpha,
}

#[derive(Clone, Copy, ValueEnum)]
enum External {
    /// Bring the data files along: as a reflink, else a hard link, else a copy
    Place,
    /// Name them as they are named now
    Keep,
}

fn main() -> ExitCode {
    cli::run(run)
}

fn run(arguments: Arguments) -> Result<()> {
    let options = Options {
        settings: arguments.settings()?,
        force: arguments.force,
        external_data: match arguments.external_data {
            External::Place => ExternalData::Place,
            External::Keep => ExternalData::Keep,
        },
        dry_run: arguments.dry_run,
    };
    let report = rewrite::rewrite(&arguments.input, &arguments.output, &options)?;
    let checked = if arguments.check { Some(check(&arguments, &options, &report)?) } else { None };
    if arguments.quiet {
        return Ok(());
    }
    cli::print(if arguments.json {
        json(&report, checked.as_ref())?
    } else {
        text(&report, checked.as_ref(), &arguments)
    })
}

impl Arguments {
    fn settings(&self) -> Result<Settings> {
        let alpha = match (self.alpha, self.lambda) {
            (_, Some(_)) if self.r == 0.0 => {
                return Err(Error::input("--lambda needs a radius: alpha is lambda/r, and r is 0")
                    .help("give --r above 0, or --alpha in place of --lambda"));
            }
            (_, Some(lambda)) if lambda.is_finite() && lambda >= 0.0 => lambda / self.r,
            (_, Some(lambda)) => {
                return Err(Error::input(format!("lambda is {lambda}; expected a finite number, zero or above"))
                    .help("the paper's recipe for CIFAR has lambda = 0.08 at r = 0.1"));
            }
            (Some(alpha), None) => alpha,
            (None, None) => Penalty::default().alpha,
        };
        Ok(Settings {
            penalty: Penalty { r: self.r, alpha, mix: self.mix, perturb: self.perturb },
            expose_r: self.expose.contains(&Exposed::R),
            expose_alpha: self.expose.contains(&Exposed::Alpha),
            metrics: self.metrics,
        })
    }
}

/// Checks what was written; after a dry run, what would have been.
fn check(arguments: &Arguments, options: &Options, report: &Report) -> Result<Loaded> {
    let runtime = match runtime::for_training(arguments.ort_lib.as_deref()) {
        Err(error) if arguments.ort_lib.is_some() => return Err(error),
        found => found,
    };
    let check = |model: &Path| rewrite::check(model, folder_of(&report.input), runtime.as_ref());
    if !options.dry_run {
        return check(&report.output);
    }
    let scratch = tempfile::tempdir().map_err(|e| Error::io("make a temporary folder", std::env::temp_dir(), &e))?;
    let model = scratch.path().join(report.output.file_name().unwrap_or_default());
    rewrite::rewrite(&report.input, &model, &Options { dry_run: false, ..*options })?;
    check(&model)
}

fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

fn json(report: &Report, checked: Option<&Loaded>) -> Result<String> {
    #[derive(serde::Serialize)]
    struct Output<'a> {
        #[serde(flatten)]
        report: &'a Report,
        checked: Option<&'a Loaded>,
    }
    let json = serde_json::to_string_pretty(&Output { report, checked })
        .map_err(|e| Error::internal(format!("cannot encode the report: {e}")))?;
    Ok(json + "\n")
}

fn text(report: &Report, checked: Option<&Loaded>, arguments: &Arguments) -> String {
    let Settings { penalty, expose_r, expose_alpha, .. } = report.settings;
    let number = |exposed: bool, input: &str, value: f32| {
        if exposed { format!("the input {input}") } else { value.to_string() }
    };
    let method = match (report.plain, penalty.alpha) {
        (true, _) => "plain training",
        (false, 1.0) if !expose_alpha => "SAM",
        _ => "GNP",
    };
    let mut text = format!(
        "{} → {}{}\n{method}: r = {}, alpha = {}, mix {}, perturbation {}; {} trainable parameters\n\n{}\n",
        report.input.display(),
        report.output.display(),
        if arguments.dry_run { " (dry run: nothing was written)" } else { "" },
        number(expose_r, "gnp.r", penalty.r),
        number(expose_alpha, "gnp.alpha", penalty.alpha),
        value_name(penalty.mix),
        value_name(penalty.perturb),
        report.trainable_parameters,
        table(report, arguments.verbose)
    );
    text += "\n";
    text += &passes(report);
    if let Some(bytes) = report.bytes {
        let _ = writeln!(text, "Wrote {}.", indicatif::HumanBytes(bytes as u64));
    }
    match checked {
        Some(Loaded { runtime: Some(runtime), .. }) => {
            _ = writeln!(text, "Checked: structure, names and types; loads in {runtime}.")
        }
        Some(Loaded { why_not: Some(why), .. }) => {
            _ = writeln!(text, "Checked: structure, names and types. Not loaded: {why}.");
        }
        _ => {}
    }
    text
}

/// What is evaluated once and what twice, in words.
fn passes(report: &Report) -> String {
    if report.plain {
        return "r or alpha is the constant 0, so this is plain training: the gradient is what it was.\n".into();
    }
    let accumulators = report.trainable_parameters;
    let shared = report.shared_nodes;
    let repeated = report.nodes_before.saturating_sub(shared + accumulators);
    let mut text = format!(
        "Of {} nodes, {repeated} depend on a trainable parameter and are evaluated in both passes, {accumulators} add up \
         gradients,\nand {shared} {} evaluated once for both.\n",
        report.nodes_before,
        if shared == 1 { "is" } else { "are" }
    );
    let shared = report.operators.iter().filter(|(_, count)| count.shared > 0);
    let shared: Vec<_> = shared.map(|(operator, count)| format!("{} {operator}", count.shared)).collect();
    if !shared.is_empty() {
        let _ = writeln!(text, "Shared: {}.", shared.join(", "));
    }
    text
}

fn value_name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
}

/// Operators before and after; a row a kind, the sums last.
fn table(report: &Report, verbose: bool) -> Table {
    let mut header = vec!["operator", "before", "second pass", "penalty", "after"];
    if verbose {
        header.insert(2, "shared");
    }
    let mut table = cli::table(header);
    for (operator, count) in report.operators.iter().map(|(o, c)| (o.as_str(), *c)).chain([("all", report.total())]) {
        let mut numbers = vec![count.before, count.perturbed, count.penalty, count.after];
        if verbose {
            numbers.insert(1, count.shared);
        }
        let cells = numbers.into_iter().map(|n| if n == 0 { "·".to_owned() } else { n.to_string() });
        table.add_row([operator.to_owned()].into_iter().chain(cells));
    }
    table
}
