//! A training artifact: what was done to it, in words and for programs.

use super::Arguments;
use crate::check::{self, Loaded};
use crate::cli::{CopyingBar, describe};
use crate::contract::{ALPHA, R};
use crate::emit::artifact::Settings;
use crate::onnx::Copying;
use crate::penalty::Warmup;
use crate::rewrite::{self, Options, Report};
use crate::{Result, cli, escaped};
use comfy_table::Table;
use std::fmt::Write as _;
use std::path::Path;

/// Puts the penalty into the artifact.
pub fn run(arguments: &Arguments) -> Result<String> {
    let options = arguments.artifact_options()?;
    let mut copying = CopyingBar::new(arguments.quiet);
    let watch = &mut |copy: &Copying<'_>| copying.show(copy);
    let report = rewrite::rewrite_watched(&arguments.input, &arguments.output, &options, watch)?;
    let checked = if arguments.check { Some(check(arguments, &options, &report)?) } else { None };
    super::told(arguments, &report, checked.as_ref(), text)
}

/// Checks what was written; after a dry run, what would have been. A training model by itself belongs to the artifacts
/// beside the one that was read.
fn check(arguments: &Arguments, options: &Options, report: &Report) -> Result<Loaded> {
    let runtime = super::training_runtime(arguments)?;
    let is_folder = arguments.input.is_dir();
    let check = |model: &Path| {
        let beside = if is_folder { folder_of(model) } else { folder_of(&report.input) };
        check::check(model, beside, &options.names, runtime.as_ref())
    };
    if !options.dry_run {
        return check(&report.output);
    }
    let scratch = super::scratch()?;
    let name = report.output.file_name().unwrap_or_default();
    let (output, model) = if is_folder {
        let folder = scratch.path().join("artifacts");
        (folder.clone(), folder.join(name))
    } else {
        (scratch.path().join(name), scratch.path().join(name))
    };
    let written = rewrite::rewrite(&arguments.input, &output, &Options { dry_run: false, ..options.clone() });
    written.and_then(|_| check(&model)).map_err(|error| error.in_place_of(scratch.path(), &report.input))
}

fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

fn text(report: &Report, checked: Option<&Loaded>, arguments: &Arguments) -> String {
    let Settings { penalty, expose_r, expose_alpha, .. } = report.settings;
    let number = |exposed: bool, input: &str, value: f32| {
        if exposed { format!("the input {input}") } else { value.to_string() }
    };
    let method = match report.plain {
        true => "plain training",
        false if expose_alpha => "GNP",
        false => penalty.method(),
    };
    let mut text = format!(
        "{}{method}: r = {}, alpha = {}, mix {}, perturbation {}; {} trainable parameters\n\n{}\n",
        super::way(&report.input, &report.output, arguments),
        number(expose_r, R, penalty.r),
        number(expose_alpha, ALPHA, penalty.alpha),
        describe::value_name(penalty.mix),
        describe::value_name(penalty.perturb),
        report.trainable_parameters,
        table(report, arguments.verbose)
    );
    text += "\n";
    text += &passes(report);
    text += &inside(report);
    if let Some(bytes) = report.bytes {
        let _ = writeln!(text, "Wrote {}.", indicatif::HumanBytes(bytes as u64));
    }
    text += &super::data_line(&report.external, arguments);
    text + &super::check_line(checked)
}

/// What else stands before the accumulators, and what was lowered, in words.
fn inside(report: &Report) -> String {
    let mut text = String::new();
    if let Some(inside) = &report.inside {
        let mut what = Vec::new();
        if let Some(optimizer) = &inside.optimizer {
            what.extend(optimizer.clip_norm.map(|norm| format!("clipping to {norm}")));
            what.extend(inside.replaces.then(|| format!("{} in place of their own optimizer", optimizer.kind.name())));
        }
        if inside.warmup != Warmup::None {
            what.push(format!("a warm-up ({}) of {} steps", describe::value_name(inside.warmup), inside.warmup_steps));
        }
        let _ = writeln!(text, "Before the accumulators: {}.", what.join("; "));
    }
    if !report.kept.is_empty() {
        let kept = report.kept.len();
        let (one, s) = (kept == 1, if kept == 1 { "" } else { "s" });
        let _ = writeln!(
            text,
            "The checkpoint has {kept} more parameter{s}, which {} not train. A step of the optimizer after every step of \
             the\ntraining model: what is kept moves with each of these, so gradients are not added up over several.",
            if one { "does" } else { "do" }
        );
    }
    if !report.lowered.is_empty() {
        let _ = writeln!(
            text,
            "Lowered to what ONNX Runtime's training API reads: {}.",
            escaped::line(&report.lowered.join("; "))
        );
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
    let shared: Vec<_> =
        shared.map(|(operator, count)| format!("{} {}", count.shared, escaped::line(operator))).collect();
    if !shared.is_empty() {
        let _ = writeln!(text, "Shared: {}.", shared.join(", "));
    }
    text
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
        table.add_row([escaped::line(operator).into_owned()].into_iter().chain(cells));
    }
    table
}
